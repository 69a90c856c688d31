"""Logging: JSON for journald, console for a person; a level that can change while it runs.

Rooms use structlog's own door and know nothing of this module:

    _log = structlog.get_logger(__name__)
    _log.warning("a sentence for people", action="what_happened", webhook_id=webhook.id)

Every line has an `action` (`prynt_relay.telemetry.actions` lists them). A line below the level
costs one comparison, and nothing else is built for it.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import structlog
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from prynt_relay.telemetry.masking import MASK, SECRET_KEYS, mask

Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
# sd-daemon(3): a line that begins with <N> gets that syslog priority in the journal.
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
# Libraries say nothing useful below a warning, and aiosqlite would log each statement with its
# parameters: payloads and secrets.
_LIBRARY_LEVEL: Final = logging.WARNING


class _Now:
    """What all loggers share; read at every call, so that a change needs no new loggers."""

    threshold = _NUMBERS["info"]
    descriptor = 2
    dropped = 0


class RelayLogger(structlog.BoundLoggerBase):
    """A bound logger whose calls below the level return at once."""

    def debug(self, event: str, **fields: Any) -> None:
        """Log what only someone who looks for a fault wants to see."""
        if _Now.threshold <= 10:
            self._proxy_to_logger("debug", event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log a step in the program's life."""
        if _Now.threshold <= 20:
            self._proxy_to_logger("info", event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what somebody should know of."""
        if _Now.threshold <= 30:
            self._proxy_to_logger("warning", event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log what somebody should do something about."""
        self._proxy_to_logger("error", event, **fields)

    def critical(self, event: str, **fields: Any) -> None:
        """Log why the program leaves."""
        self._proxy_to_logger("critical", event, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        fields.setdefault("exc_info", True)
        self._proxy_to_logger("error", event, **fields)


class LineWriter:
    """Writes whole lines to the log's descriptor; one that can't be written is dropped and counted.

    A log that stops the relay (a full disk behind stderr, a journal that went away) would turn a
    small trouble into a large one. The next line that can be written says how many were dropped.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def _write(self, line: bytes) -> None:
        if _Now.dropped:
            line += b"(%d log lines before this one could not be written)\n" % _Now.dropped
        try:
            # One call a line: lines from several threads or processes don't mix.
            os.write(_Now.descriptor, line)
        except OSError:
            _Now.dropped += 1
        else:
            _Now.dropped = 0

    debug = info = warning = error = critical = _write


def configure(level: Level, format: LogFormat, *, descriptor: int = 2) -> None:
    """Send all logs, the libraries' too, to `descriptor` in `format` from `level` on.

    May be called again, at any time: loggers that are in use follow.
    """
    set_level(level)
    _Now.descriptor = descriptor
    terminal = os.isatty(descriptor)
    console = format == "console" or (format == "auto" and terminal)
    render = _console(colors=terminal and "NO_COLOR" not in os.environ) if console else _json
    finish = _Finish(priorities=is_journal(descriptor))
    # In place: loggers that were used before hold on to the list, not to the configuration.
    processors = structlog.get_config()["processors"]
    processors[:] = [
        structlog.contextvars.merge_contextvars,
        _describe,
        structlog.processors.ExceptionRenderer(_traceback),
        *([_printable] if console else []),
        render,
        finish,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=RelayLogger,
        logger_factory=LineWriter,
        cache_logger_on_first_use=True,
    )
    _route_libraries()
    sys.excepthook = _last_words
    threading.excepthook = lambda args: _last_words(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def set_level(level: Level) -> None:
    """Change the level of all loggers at once."""
    _Now.threshold = _NUMBERS[level]


def enabled(level: Level) -> bool:
    """Whether a line of this level would be written; for callers with something costly to say."""
    return _Now.threshold <= _NUMBERS[level]


def is_journal(descriptor: int) -> bool:
    """Whether the descriptor is the journal's (systemd.exec(5), $JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _describe(logger: WrappedLogger, method_name: str, fields: EventDict) -> EventDict:
    """Put what every line has first: time, level, action, message, and who says it."""
    message = fields.pop("event", "")
    line: EventDict = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": method_name,
        "action": fields.pop("action", None) or message,
        "message": message,
        "logger": fields.pop("logger", None) or getattr(logger, "name", ""),
    }
    for name, value in fields.items():
        line[name] = MASK if name.lower() in SECRET_KEYS else value
    return line


def _traceback(exc_info: ExcInfo) -> str:
    """Return a traceback without local variables, which may hold secrets."""
    return "".join(traceback.format_exception(*exc_info)).rstrip("\n")


def _json(_logger: WrappedLogger, method_name: str, line: EventDict) -> tuple[str, str]:
    try:
        text = msgspec.json.encode(line, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # Lone surrogates, odd values: rare, and slower is better than lost.
        text = json.dumps({name: _plain(value) for name, value in line.items()})
    return method_name, text


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else repr(value)


def _console(*, colors: bool) -> Callable[[WrappedLogger, str, EventDict], tuple[str, str]]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors,
        event_key="message",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render(logger: WrappedLogger, method_name: str, line: EventDict) -> tuple[str, str]:
        line.pop("logger", None)
        local = datetime.fromisoformat(line["timestamp"]).astimezone()
        line["timestamp"] = local.strftime("%H:%M:%S.") + f"{local.microsecond // 1000:03}"
        return method_name, str(renderer(logger, method_name, line))

    return render


def _printable(_logger: WrappedLogger, _method_name: str, line: EventDict) -> EventDict:
    """Escape control characters: a peer's text must not drive the reader's terminal."""
    for name, value in line.items():
        if not isinstance(value, int | float | None):
            text = value if isinstance(value, str) else repr(value)
            if name == "exception":
                line[name] = "\n".join(map(_escaped, text.split("\n")))
            else:
                line[name] = _escaped(text)
    return line


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class _Finish:
    """Mask what looks like a secret in the finished line, and put journald's priority before."""

    def __init__(self, *, priorities: bool) -> None:
        self._prefixes = {
            name: f"<{number}>" if priorities else "" for name, number in _PRIORITIES.items()
        }

    def __call__(self, _logger: WrappedLogger, _method_name: str, rendered: Any) -> bytes:
        level, text = rendered
        prefix = self._prefixes[level]
        text = prefix + mask(text).replace("\n", "\n" + prefix) + "\n"
        return text.encode(errors="backslashreplace")


class _LibraryHandler(logging.Handler):
    """Routes the standard library's log records, and so aiohttp's and asyncio's, into ours."""

    _log = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under the action `library`."""
        log = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        try:
            message = record.getMessage().rstrip()
        except (TypeError, ValueError, LookupError) as error:
            message = f"{record.msg!r} (its values don't fit: {error!r})"
        log(message, action="library", logger=record.name, exc_info=record.exc_info)


def _route_libraries() -> None:
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(_LIBRARY_LEVEL)
    logging.captureWarnings(capture=True)


def _last_words(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Log an exception that nobody caught as one line too."""
    structlog.get_logger(__name__).critical(
        "an exception that nobody caught", action="crashed", exc_info=(kind, error, trace)
    )

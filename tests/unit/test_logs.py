import ast
import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import timeit
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.model import ids
from prynt_relay.model.delivery import AttemptResult, Message, Settlement
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import DeliveryState, Outcome, Trigger
from prynt_relay.model.webhook import Secrets, Webhook
from prynt_relay.telemetry import logs
from prynt_relay.telemetry.actions import ACTIONS, table
from prynt_relay.telemetry.attempts import attempt_finished
from prynt_relay.telemetry.masking import mask
from prynt_relay.transport.outcomes import status_text
from tests.docs_blocks import docs_text

ROOT = Path(__file__).parents[2]
SECRET = "whsec_YTFiMmMzZDRlNWY2ZzdoOGk5"
ATTEMPT_MS = 1_771_069_532_341  # 2026-02-14T11:45:32.341Z


class Stream:
    """A file that the log goes to, and what was written to it since it was last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._read = 0

    def text(self) -> str:
        raw = self._path.read_bytes()
        fresh, self._read = raw[self._read :], len(raw)
        return fresh.decode()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    """Everything that `configure` changes is put back afterwards."""
    config = structlog.get_config()
    processors = list(config["processors"])
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    stream = Stream(tmp_path / "log")
    yield stream
    config["processors"][:] = processors
    structlog.configure(**(config | {"processors": config["processors"]}))
    for name, module in list(sys.modules.items()):
        if name.startswith("prynt_relay.") and hasattr(module, "_log"):
            # A logger keeps what it was first used with: this test's file.
            vars(module._log).pop("bind", None)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook = hooks
    logs.set_level("info")
    os.close(stream.descriptor)
    logs._Now.descriptor = 2
    logs._Now.dropped = 0


@pytest.fixture
def as_json(stream: Stream) -> Stream:
    logs.configure("debug", "json", descriptor=stream.descriptor)
    return stream


@pytest.fixture
def as_console(stream: Stream) -> Stream:
    logs.configure("debug", "console", descriptor=stream.descriptor)
    return stream


def test_a_line_is_json_with_what_every_line_has(as_json: Stream) -> None:
    """Time, level, action, message and logger come first, the fields as they are after them."""
    structlog.get_logger("a.room").warning("it rains", action="rain", count=3, where=None)
    text = as_json.text()
    line = json.loads(text)
    assert text.endswith("}\n")
    assert list(line) == ["timestamp", "level", "action", "message", "logger", "count", "where"]
    assert line["timestamp"].endswith("Z")
    assert len(line["timestamp"]) == len("2026-02-14T11:45:22.341Z")
    del line["timestamp"]
    assert line == {
        "level": "warning",
        "action": "rain",
        "message": "it rains",
        "logger": "a.room",
        "count": 3,
        "where": None,
    }


def test_a_line_without_an_action_has_its_message_for_one(as_json: Stream) -> None:
    """No line is without an action."""
    structlog.get_logger().info("something")
    assert as_json.lines()[0]["action"] == "something"


def test_the_level_changes_in_loggers_that_are_in_use(as_json: Stream) -> None:
    """set_level holds from the next call on, up and down, for bound loggers too."""
    log = structlog.get_logger()
    bound = log.bind(webhook_id="wh_1")
    written = []
    for level in ("debug", "info", "warning", "error", "debug"):
        logs.set_level(level)
        for one in (log, bound):
            for name in ("debug", "info", "warning", "error", "critical"):
                getattr(one, name)("x")
        written.append([line["level"] for line in as_json.lines()])
        assert logs.enabled("debug") == (level == "debug")
        assert logs.enabled("error")
    names = ["debug", "info", "warning", "error", "critical"]
    assert written == [2 * names[number:] for number in (0, 1, 2, 3, 0)]


def test_a_line_below_the_level_costs_next_to_nothing(as_json: Stream) -> None:
    """Nothing is built for it: it takes a small part of a line's time."""
    logs.set_level("info")
    log = structlog.get_logger()
    log.debug("x")
    off = min(timeit.repeat(lambda: log.debug("x", action="y", a=1), number=2000, repeat=5))
    on = min(timeit.repeat(lambda: log.info("x", action="y", a=1), number=2000, repeat=5))
    assert off < on / 4
    assert "debug" not in as_json.text()


def test_an_exception_is_one_line_with_its_traceback_and_no_variables(as_json: Stream) -> None:
    """The traceback is in `exception`; local variables, which may be secrets, are not."""
    log = structlog.get_logger()

    def fail(password: str) -> None:
        raise ValueError(f"bad {len(password)}")

    hidden = "sesame"  # not in the call itself: the source's lines are in a traceback
    try:
        fail(hidden)
    except ValueError:
        log.exception("it broke", action="broke")
    [line] = as_json.lines()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: bad 6")
    assert hidden not in json.dumps(line)


class Chatty:
    """A value whose repr gives a secret away."""

    def __repr__(self) -> str:
        return f"Chatty({SECRET})"


@pytest.mark.parametrize(
    "fields",
    [
        {"note": f"the secret is {SECRET}."},
        {"note": ["list", SECRET]},
        {"note": {"deep": {"er": SECRET}}},
        {"note": Chatty()},
        {"note": SECRET.encode()},
        {"password": "sesame-open"},
        {"Authorization": "sesame-open"},
        {"headers": {"X": "sesame-open"}},
        {"data": '{"a": "sesame-open"}'},
        {"url": "https://hooks.slack.com/services/sesame-open"},
        {"url": "https://user:sesame-open@example.com"},
        {"error": "Cannot connect to https://example.com/sesame-open?x=sesame-open"},
        {"error": "{'Authorization': 'Basic c2VzYW1lLW9wZW4='}"},
        {"error": "[(b'Authorization', b'Basic c2VzYW1lLW9wZW4=')]"},
        {"error": 'authorization="Bearer sk_live_sesame-open"'},
        {"error": "Authorization: sesame-open"},
        {"error": "token sk_live_c2VzYW1lLW9wZW4"},
        {"error": "sent Bearer c2VzYW1lLW9wZW4 and failed"},
    ],
)
@pytest.mark.parametrize("format_name", ["json", "console"])
def test_nothing_that_looks_like_a_secret_leaves(
    stream: Stream, fields: dict[str, Any], format_name: Any
) -> None:
    """Wherever it stands in a line, it is masked, in both formats."""
    logs.configure("info", format_name, descriptor=stream.descriptor)
    structlog.get_logger().info("x", **fields)
    structlog.get_logger().info(f"x {fields.get('note', '')}")
    text = stream.text()
    for secret in (SECRET[6:], "sesame", "c2VzYW1lLW9wZW4"):
        assert secret not in text
    assert "***" in text


@pytest.mark.parametrize(
    "text",
    [
        "prynt_relay.store.writer",
        "http://127.0.0.1:9420/metrics",
        "https://example.com",
        "https://example.com/",
        "basic things, bearer of news",
        "/var/lib/prynt-relay/relay.db",
        "verdict.block evt_9fJ3kL7mNpR2x wh_3kR8mNqT7xP2v",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    """Hosts, our own addresses, ids and plain words stay readable."""
    assert mask(text) == text


def test_a_url_keeps_its_host() -> None:
    """The host and port stay, so that one knows whom it is about."""
    assert mask("at https://a.example:8443/x/y?z#f.") == "at https://a.example:8443/***"
    assert mask("https://u:p@a.example") == "https://a.example/***"


@given(st.text(max_size=200))
def test_masking_takes_any_text(text: str) -> None:
    """It never fails, and a second time changes nothing."""
    once = mask(text)
    assert mask(once) == once


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name not in ("event", "self")),
        st.one_of(
            st.text(), st.binary(), st.floats(), st.integers(), st.none(), st.lists(st.text())
        ),
        max_size=4,
    )
)
def test_any_values_make_one_line(fields: dict[str, Any]) -> None:
    """Whatever is logged, surrogates and odd types included, comes out as one line of JSON."""
    method, text = logs._json(None, "info", dict(fields))
    assert method == "info"
    assert "\n" not in text
    assert isinstance(json.loads(text), dict)
    line = logs._Finish(priorities=False)(None, "info", (method, text))
    assert line.count(b"\n") == 1


def test_lone_surrogates_are_written_escaped(as_json: Stream) -> None:
    """Text that is no UTF-8 is no reason to lose the line."""
    structlog.get_logger().info("x", name="a\ud800b")
    assert "a\\ud800b" in as_json.text()


def test_the_console_is_for_people(as_console: Stream) -> None:
    """Local time, level, message, then the fields; no colours off a terminal."""
    structlog.get_logger("room").warning("it rains", action="rain", count=3)
    text = as_console.text()
    assert "\x1b" not in text
    assert "[warning  ] it rains" in text
    assert text.endswith("action=rain count=3\n")
    assert text[2] == text[5] == ":"


def test_a_peers_text_can_not_drive_the_terminal(as_console: Stream) -> None:
    """Control characters, line breaks and bidirectional marks are escaped on the console."""
    structlog.get_logger().info("a\x1b[2Jb\nc", error="\x1b]0;t\x07", mark="\u202e", b=b"\x1b")
    text = as_console.text()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert "\\x1b[2Jb\\nc" in text


def test_a_traceback_on_the_console_keeps_its_lines(as_console: Stream) -> None:
    """Only within its lines is it escaped."""
    try:
        raise ValueError("bad\x1b[31m")
    except ValueError:
        structlog.get_logger().exception("it broke")
    text = as_console.text()
    assert "\nTraceback" in text
    assert text.endswith("\nValueError: bad\\x1b[31m\n")
    assert "warning" not in text


def test_libraries_are_routed_in(as_json: Stream) -> None:
    """What aiohttp, asyncio or a warning says becomes a line; below a warning nothing does."""
    # Once more, since pytest has put its own handlers in place meanwhile.
    logs.configure("debug", "json", descriptor=as_json.descriptor)
    logging.getLogger("aiohttp.server").error("request %s", f"with {SECRET}")
    logging.getLogger("aiosqlite").debug("executing INSERT %s", "payload")
    logging.getLogger("asyncio").warning("slow\n")
    logging.getLogger("odd").warning("%d", "no number")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    lines = as_json.lines()
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("error", "aiohttp.server"),
        ("warning", "asyncio"),
        ("warning", "odd"),
        ("warning", "py.warnings"),
    ]
    assert {line["action"] for line in lines} == {"library"}
    assert lines[0]["message"] == "request with whsec_***"
    assert lines[1]["message"] == "slow"
    assert "don't fit" in lines[2]["message"]
    assert "careful" in lines[3]["message"]


async def test_what_asyncio_hands_to_nobody_is_logged(as_json: Stream) -> None:
    """The loop's own complaints arrive with their traceback."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": "lost", "exception": ValueError("inner")}
    )
    [line] = as_json.lines()
    assert (line["action"], line["logger"]) == ("library", "asyncio")
    assert "ValueError: inner" in line["exception"]


def test_a_thread_that_dies_is_logged(as_json: Stream) -> None:
    """An exception that ends a thread is a line, not a print past the log."""

    def die() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    [line] = as_json.lines()
    assert (line["level"], line["action"]) == ("critical", "crashed")
    assert "ValueError: in a thread" in line["exception"]


def test_a_log_that_can_not_be_written_stops_nothing(stream: Stream) -> None:
    """Lines for a full disk are dropped, and the next one that is written says how many."""
    full = os.open("/dev/full", os.O_WRONLY)
    logs.configure("info", "json", descriptor=full)
    log = structlog.get_logger()
    for _ in range(3):
        log.info("lost")
    logs.configure("info", "json", descriptor=stream.descriptor)
    log.info("found")
    log.info("again")
    os.close(full)
    first, notice, second = stream.text().splitlines()
    assert json.loads(first)["message"] == "found"
    assert notice == "(3 log lines before this one could not be written)"
    assert json.loads(second)["message"] == "again"


def test_the_journal_gets_priorities(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stream is the journal's, every line begins with its priority, a traceback's too."""
    found = os.fstat(stream.descriptor)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    logs.configure("debug", "auto", descriptor=stream.descriptor)
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)("x")
    lines = stream.text().splitlines()
    assert [line[:4] for line in lines] == ["<7>{", "<6>{", "<4>{", "<3>{", "<2>{"]
    assert json.loads(lines[0][3:])["level"] == "debug"

    logs.configure("debug", "console", descriptor=stream.descriptor)
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("it broke")
    lines = stream.text().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("value", ["", "1:2", "nonsense", ":", "0:0"])
def test_another_stream_is_not_the_journal(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """$JOURNAL_STREAM counts only where it names this very stream."""
    monkeypatch.setenv("JOURNAL_STREAM", value)
    assert not logs.is_journal(stream.descriptor)
    assert not logs.is_journal(999_999)


def test_the_format_follows_the_terminal() -> None:
    """`auto` is the console on a terminal, with colours unless NO_COLOR, and JSON elsewhere."""
    code = (
        "import structlog; from prynt_relay.telemetry import logs;"
        "logs.configure('info', 'auto'); structlog.get_logger().info('hello')"
    )
    piped = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(piped.stderr)["message"] == "hello"
    assert piped.stdout == ""
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        master, terminal = os.openpty()
        subprocess.run(
            [sys.executable, "-c", code],
            stderr=terminal,
            check=True,
            timeout=60,
            env=kept | environ,
        )
        os.close(terminal)
        shown = os.read(master, 10_000).decode()
        os.close(master)
        assert "hello" in shown
        assert "{" not in shown
        assert ("\x1b[" in shown) == coloured


def settlement(outcome: Outcome, **changes: Any) -> Settlement:
    failed = outcome is not Outcome.SUCCESS
    result = AttemptResult(
        outcome=outcome,
        started_at_ms=ATTEMPT_MS,
        duration_ms=20,
        slot_s=0.02,
        signature=b"sig",
        status=503 if failed else 200,
        error=status_text(503, "yourapp.com") if failed else None,
        response_headers=b"Set-Cookie: hidden",
        response_body=b"hidden",
    )
    fields: dict[str, Any] = {
        "delivery_row": 42,
        "webhook_row": 1,
        "revision_row": 1,
        "number": 1,
        "trigger": Trigger.SCHEDULE,
        "result": result,
        "state": DeliveryState.SCHEDULED if failed else DeliveryState.DELIVERED,
        "failures": int(failed),
        "next_attempt_ms": ATTEMPT_MS + 20 + 300_000 if failed else None,
    }
    return Settlement(**(fields | changes))


WEBHOOK = Webhook(
    row=1,
    id="wh_3kR8mNqT7xP2v",
    url="https://yourapp.com/services/hidden?hidden",
    events=("*",),
    secrets=Secrets(SECRET),
    created_at_ms=0,
    updated_at_ms=0,
    description="hidden",
    headers=(("X-Key", "hidden"),),
)
EVENT = StoredEvent(
    row=7,
    event_id="evt_9fJ3kL7mNpR2x",
    event_type="verdict.block",
    api_version="2026-01-15",
    event_source="urn:x",
    created_at_ms=0,
    received_at_ms=0,
    idempotency_key="idk_000000000000",
    data=b'{"hidden": 1}',
)


def test_a_message_that_carried_many_deliveries_is_one_line(as_json: Stream) -> None:
    """About the first of them, with how many they were."""
    message = Message(42, 44, 3, EVENT.event_id, EVENT.event_type, b"{}")
    for row in (42, 43, 44):
        attempt_finished(
            settlement(Outcome.HTTP_ERROR, delivery_row=row, message=message), WEBHOOK, EVENT
        )
    [line] = as_json.lines()
    assert (line["delivery_id"], line["deliveries"]) == (ids.delivery_id(42), 3)


def test_a_failed_attempt_is_one_wide_line_as_documented(as_json: Stream) -> None:
    """Ids, outcome, status, duration, what is next: what docs/logs.md shows, and nothing hidden."""
    attempt_finished(settlement(Outcome.HTTP_ERROR), WEBHOOK, EVENT)
    [line] = as_json.lines()
    documented = json.loads(docs_text("logs-attempt"))
    assert list(line) == list(documented)
    assert line | {"timestamp": 0} == documented | {"timestamp": 0}
    assert line["delivery_id"] == ids.delivery_id(42)
    assert "hidden" not in json.dumps(line)


def test_a_success_is_a_line_at_debug_only(as_json: Stream) -> None:
    """Successes cost nothing at info; at debug they have the same fields, where they apply."""
    attempt_finished(settlement(Outcome.SUCCESS), WEBHOOK, EVENT)
    [line] = as_json.lines()
    assert (line["level"], line["outcome"], line["state"]) == ("debug", "success", "delivered")
    assert "next_attempt_at" not in line
    assert "error" not in line
    logs.set_level("info")
    attempt_finished(settlement(Outcome.SUCCESS), WEBHOOK, EVENT)
    assert as_json.text() == ""
    logs.set_level("error")
    attempt_finished(settlement(Outcome.TIMEOUT), WEBHOOK, EVENT)
    assert as_json.text() == ""


def test_an_attempt_for_a_deleted_webhook_is_logged_without_it(as_json: Stream) -> None:
    """A webhook that was deleted meanwhile leaves the line without its id and host."""
    attempt_finished(settlement(Outcome.TIMEOUT), None, EVENT)
    [line] = as_json.lines()
    assert "webhook_id" not in line
    assert line["event_id"] == EVENT.event_id


def log_calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of a logger in the package: where, its level, the call."""
    levels = {"debug", "info", "warning", "error", "critical", "exception"}
    for file in sorted((ROOT / "prynt_relay").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            logger = ast.unparse(node.func.value)
            if node.func.attr in levels and logger.rpartition(".")[2] in ("_log", "log"):
                level = "error" if node.func.attr == "exception" else node.func.attr
                yield f"{file.relative_to(ROOT)}:{node.lineno}", level, node


# Logged through a variable, so that the level isn't in the call.
INDIRECT = {"library": {"warning", "error"}, "crashed": {"critical"}}


def test_every_line_of_the_code_has_a_listed_action_at_its_level() -> None:
    """Each logger's call names an action that the list has, with that level; none is unused."""
    used: dict[str, set[str]] = {}
    wrong = []
    for place, level, call in log_calls():
        named = [one.value for one in call.keywords if one.arg == "action"]
        action = ast.literal_eval(named[0]) if named else None
        if action not in ACTIONS or level not in ACTIONS[action].levels:
            wrong.append(f"{place}: {action!r} at {level}")
        else:
            used.setdefault(action, set()).add(level)
    assert wrong == []
    used |= INDIRECT
    assert used == {name: set(action.levels) for name, action in ACTIONS.items()}


def test_the_list_of_actions_is_the_documents() -> None:
    """docs/logs.md ends with the table that `python -m prynt_relay.telemetry.actions` prints."""
    printed = subprocess.run(
        [sys.executable, "-m", "prynt_relay.telemetry.actions"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed == table()
    assert (ROOT / "docs/logs.md").read_text().endswith(f"## Actions\n\n{table()}")

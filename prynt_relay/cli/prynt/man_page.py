"""The manual page of `prynt`, made from the commands themselves.

python -m prynt_relay.cli.prynt.man_page > docs/man/prynt.1
"""

import sys
from collections.abc import Iterator
from typing import Final

import click

from prynt_relay.cli.prynt import prynt
from prynt_relay.cli.prynt.lazy_group import LazyGroup
from prynt_relay.version import __version__

_SHARED: Final = frozenset({"json", "api_url", "api_key"})

_ENVIRONMENT: Final = (
    ("PRYNT_API_URL", "The API's address, where --api-url isn't given."),
    ("PRYNT_API_KEY", "The API key, where --api-key isn't given."),
    ("PRYNT_API_KEY_FILE", "A file that holds the API key, where neither of those is given."),
    ("PRYNT_WEBHOOK_SECRET", "What test --url signs with and listen verifies with."),
    ("PRYNT_BASIC_AUTH_PASSWORD", "The password that goes with --basic-auth."),
    ("NO_COLOR", "Set to anything, it keeps colours off a terminal."),
    ("COLUMNS", "The width of tables, instead of the terminal's."),
)
_FILES: Final = (
    ("~/.config/prynt/api-key", "A key of one's own, looked at first."),
    (
        "~/.local/state/prynt-relay/api-key",
        "A daemon's that one runs oneself; below $STATE_DIRECTORY or $XDG_STATE_HOME where set.",
    ),
    ("/var/lib/prynt-relay/api-key", "The key of the system's daemon, for those who may read it."),
)
_STATUS: Final = (
    ("0", "Done; for stream and listen, ended with Ctrl-C."),
    ("1", "Failed; a test whose answer wasn't 2xx; a question answered with no."),
    ("2", "Wrong usage."),
    ("130", "Interrupted."),
)


def man_page() -> str:
    """Return the page in man(7)'s language."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    context = click.Context(prynt, info_name="prynt")
    yield f'.TH PRYNT 1 "" "prynt-relay {__version__}" "User Commands"'
    yield ".nh"
    yield ".ad l"
    yield ".SH NAME"
    yield r"prynt \- manage prynt-relay: webhooks, deliveries and events"
    yield ".SH SYNOPSIS"
    yield ".B prynt"
    yield r"[\fIoptions\fR] \fIcommand\fR [\fIarguments\fR]"
    yield ".SH DESCRIPTION"
    yield _text(
        "prynt talks to a running prynt-relay(1) through its HTTP API. It shows tables to people"
        " and, with --json, the API's own answers to programs. What destroys or sends in bulk asks"
        " on a terminal; --yes answers beforehand, and off a terminal nothing is asked."
    )
    yield ".SH OPTIONS"
    yield "Every command takes these, before or after its name."
    for option in prynt.params:
        yield from _option(option)
    yield from (".TP", r"\fB\-h\fR, \fB\-\-help\fR", "Show how to use the command and exit.")
    yield ".SH COMMANDS"
    for inner, command in _commands(prynt, context):
        yield from _command(inner, command)
    for title, rows in (
        ("ENVIRONMENT", _ENVIRONMENT),
        ("FILES", _FILES),
        ("EXIT STATUS", _STATUS),
    ):
        yield f".SH {title}"
        for name, meaning in rows:
            yield from (".TP", rf"\fB{_text(name)}\fR", _text(meaning))
    yield ".SH EXAMPLES"
    yield from _examples(prynt)
    yield ".SH SEE ALSO"
    yield ".BR prynt-relay (1)"


def _commands(
    group: LazyGroup, context: click.Context
) -> Iterator[tuple[click.Context, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, parent=context, info_name=name)
        if isinstance(command, LazyGroup):
            yield from _commands(command, inner)
        else:
            yield inner, command


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context)[1:])
    yield f".SS {_text(context.command_path)} {_text(usage)}".rstrip()
    paragraphs = (command.help or "").strip().split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))
    for option in command.params:
        if option.name not in _SHARED:
            yield from _option(option)
    yield from _examples(command)


def _option(option: click.Parameter) -> Iterator[str]:
    if not isinstance(option, click.Option):
        return
    names = ", ".join(rf"\fB{_text(name)}\fR" for name in option.opts)
    if not option.is_flag and not option.count:
        names += rf" \fI{_text(option.make_metavar(click.Context(prynt)))}\fR"
    default = f" [default: {option.default}]" if option.show_default is True else ""
    yield from (".TP", names, _text(f"{option.help or ''}{default}".strip()))


def _examples(command: click.Command) -> Iterator[str]:
    lines = (command.epilog or "").split("\n")[2:]
    if lines:
        yield from (".PP", ".nf", ".RS 4")
        yield from (_text(line.removeprefix("  ")) for line in lines)
        yield from (".RE", ".fi")


def _text(text: str) -> str:
    r"""Escape what roff would take for its own; hyphens stay hyphens that can be copied."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = escaped.replace("`", r"\(ga").replace("…", r"\&...").replace("~", r"\(ti")
    return r"\&" + escaped if escaped.startswith(".") else escaped


if __name__ == "__main__":
    sys.stdout.write(man_page())

"""The options that describe a webhook, and the API's fields that they stand for."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from prynt_relay.cli.prynt.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])
_DEFAULT: Final = "default"
_NONE: Final = "none"

_SHARED: Final = (
    click.option(
        "--events", multiple=True, metavar="TYPE,…",
        help="Event types, separated by commas, or '*' for all.",
    ),
    click.option("--description", metavar="TEXT", help="What it is for."),
    click.option(
        "--basic-auth", metavar="USER",
        help="Send HTTP basic authentication. The password is read from $PRYNT_BASIC_AUTH_PASSWORD,"
        " from stdin with --password-stdin, or asked for.",
    ),
    click.option(
        "--password-stdin", is_flag=True, help="Read --basic-auth's password from standard input."
    ),
    click.option(
        "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
        help="Send this header along; give it again for more.",
    ),
    click.option(
        "--headers-file", type=click.File("r", encoding="utf-8"), metavar="FILE",
        help="Read such headers from a file, one a line; keeps secrets off the command line.",
    ),
    click.option(
        "--format", type=click.Choice(["prynt", "fingerprint", "cloudevents", "slack"]),
        help="What the body is.",
    ),
    click.option(
        "--signature", "signatures", multiple=True, metavar="SCHEME,…",
        help="Signature headers to send: prynt, standard, fingerprint.",
    ),
    click.option(
        "--timeout", metavar="DURATION", help="How long a delivery may take, 1s to 30s, or default."
    ),
    click.option(
        "--retry-schedule", metavar="DURATION,…",
        help="Waits before the retries, such as 5m,30m; none for no retry, or default.",
    ),
    click.option(
        "--filter", "filter_", metavar="JMESPATH",
        help="Deliver only events for which this is true, such as 'data.scores.suspect > `50`'.",
    ),
)  # fmt: skip


def field_options(command: _F) -> _F:
    """Add the options that creating and changing a webhook share."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


def fields(session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API's fields for the options of `field_options` that were given, and no others.

    Raises click.UsageError where an option's form is wrong; whether a value is acceptable is the
    API's to say.
    """
    found: dict[str, Any] = {}
    if given["events"]:
        found["events"] = _listed(given["events"], "--events")
    if given["description"] is not None:
        found["description"] = given["description"]
    if given["basic_auth"] is not None:
        user = given["basic_auth"]
        password = _password(session, user, from_stdin=given["password_stdin"])
        found["auth"] = {"type": "basic", "username": user, "password": password}
    elif given["password_stdin"]:
        raise click.UsageError("--password-stdin needs --basic-auth USER")
    lines = [*given["headers"], *(line.strip() for line in given["headers_file"] or ())]
    if any(lines):
        found["headers"] = _headers([line for line in lines if line])
    return found | _dialect_fields(given)


def _dialect_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of section 9."""
    found: dict[str, Any] = {}
    if given["format"] is not None:
        found["format"] = given["format"]
    if given["signatures"]:
        found["signatures"] = _listed(given["signatures"], "--signature")
    if given["timeout"] is not None:
        found["timeout"] = None if given["timeout"] == _DEFAULT else given["timeout"]
    if given["retry_schedule"] is not None:
        found["retrySchedule"] = _schedule(given["retry_schedule"])
    if given["filter_"] is not None:
        found["filter"] = given["filter_"] or None
    return found


def _listed(values: tuple[str, ...], option: str) -> list[str]:
    parts = [part.strip() for value in values for part in value.split(",")]
    if not all(parts):
        raise click.UsageError(f"{option}: an empty name between the commas")
    return list(dict.fromkeys(parts))


def _schedule(text: str) -> list[str] | None:
    if text == _DEFAULT:
        return None
    if text in ("", _NONE):
        return []
    return [part.strip() for part in text.split(",")]


def _headers(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            # The line may be a secret whose name was forgotten: it isn't repeated.
            raise click.UsageError("--header: give it as 'Name: value'")
        if name.strip().lower() in (known.lower() for known in found):
            raise click.UsageError(f"--header: {name.strip()} is given twice")
        found[name.strip()] = value.strip()
    return found


def _password(session: Session, user: str, *, from_stdin: bool) -> str:
    """Read the password from where no list of processes and no history shows it."""
    if ":" in user:
        raise click.UsageError(
            "--basic-auth takes the user's name alone; the password comes from "
            "$PRYNT_BASIC_AUTH_PASSWORD, from stdin with --password-stdin, or is asked for"
        )
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given = os.environ.get("PRYNT_BASIC_AUTH_PASSWORD")
    if given is not None:
        return given
    if not session.asks():
        raise click.UsageError(
            "--basic-auth: no password; set $PRYNT_BASIC_AUTH_PASSWORD or give --password-stdin"
        )
    asked: str = click.prompt(f"Password of {user}", hide_input=True, err=sys.stderr.isatty())
    return asked

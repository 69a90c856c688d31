"""Attempts as they happen, two lines each: what was sent and what came of it."""

import time
from collections.abc import Mapping
from typing import Any, Final

from prynt_relay.cli.prynt.delivery_view import SHORT_OUTCOMES
from prynt_relay.cli.prynt.moments import clock_time, milliseconds, until
from prynt_relay.cli.prynt.terminal import Cell, Terminal, cut
from prynt_relay.escape import safe_line

_COMFORTABLE: Final = 24  # cells for an address before anything else gives way to it
_LEAST: Final = 8


def show_attempt(
    terminal: Terminal, attempt: Mapping[str, Any], where: str, *, whose: str = ""
) -> None:
    """Print an attempt of a stream.

    `where` is the receiver's address as far as it may be shown, `whose` the webhook, where that
    isn't clear.
    """
    time_of_day = clock_time(attempt["startedAt"]) + "  "
    details = (f" {whose}" if whose else "") + _which(attempt)
    _sent(terminal, time_of_day, attempt, details)
    _answered(terminal, time_of_day, attempt, where)


def show_test(terminal: Terminal, attempt: Mapping[str, Any], where: str) -> None:
    """Print an attempt that the command itself asked for, without its time of day."""
    _sent(terminal, "", attempt, "")
    _answered(terminal, "", attempt, where)


def _sent(terminal: Terminal, time_of_day: str, attempt: Mapping[str, Any], details: str) -> None:
    terminal.say(
        Cell(time_of_day, "dim"),
        Cell("--> ", "dim"),
        Cell(attempt["eventType"], "bold"),
        _event(attempt),
        Cell(details, "dim"),
    )


def _event(attempt: Mapping[str, Any]) -> str:
    return f" [{attempt['eventId']}]" if attempt["eventId"] else ""


def _answered(terminal: Terminal, time_of_day: str, attempt: Mapping[str, Any], where: str) -> None:
    event = _event(attempt)
    outcome, status = attempt["outcome"], attempt.get("status")
    style = "green" if outcome == "success" else "red"
    duration, retry = " " + milliseconds(attempt["durationMs"]), _retry(attempt)
    label = str(status) if status is not None else outcome
    where = safe_line(where)
    free = terminal.out.width - len(f"{time_of_day}<-- [] POST {event}{retry}")
    wanted = min(len(where), _COMFORTABLE)
    # The address gives way first, then the duration, then the failure's long name.
    if free - len(label + duration) < wanted:
        duration = ""
        if free - len(label) < wanted:
            label = SHORT_OUTCOMES.get(label, label)
    terminal.say(
        Cell(time_of_day, "dim"),
        Cell("<-- ", "dim"),
        Cell(f"[{label}]", style),
        f" POST {cut(where, max(free - len(label + duration), _LEAST))}{event}",
        Cell(duration, "dim"),
        Cell(retry, "yellow"),
    )


def _which(attempt: Mapping[str, Any]) -> str:
    trigger, number = attempt.get("trigger", "schedule"), attempt.get("number", 1)
    by_hand = f", {trigger}" if trigger != "schedule" else ""
    return f" try {number}{by_hand}" if number > 1 or by_hand else ""


def _retry(attempt: Mapping[str, Any]) -> str:
    moment = attempt.get("nextAttemptAt")
    if attempt["outcome"] == "success":
        return ""
    if not moment:
        return " no retry left" if attempt.get("state") == "failed" else ""
    return f" retry {until(moment, time.time())}"

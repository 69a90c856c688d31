"""Attempts as they happen, two lines each: what was sent and what came of it."""

import time
from collections.abc import Mapping
from typing import Any, Final

from prynt_relay.cli.prynt.delivery_view import SHORT_OUTCOMES
from prynt_relay.cli.prynt.moments import clock_time, milliseconds, parse_moment, rough
from prynt_relay.cli.prynt.terminal import Cell, Terminal, cut

_LEAST_ADDRESS: Final = 24


def show_attempt(
    terminal: Terminal, attempt: Mapping[str, Any], where: str, *, stream: bool = True
) -> None:
    """Print an attempt; `where` is the receiver's address as far as it may be shown."""
    time_of_day = clock_time(attempt["startedAt"]) + "  " if stream else ""
    event_id = attempt["eventId"]
    event = f" [{event_id}]" if event_id else ""
    terminal.say(
        Cell(time_of_day, "dim"),
        Cell("--> ", "dim"),
        Cell(attempt["eventType"], "bold"),
        event,
        Cell(_which(attempt) if stream else "", "dim"),
    )
    outcome, status = attempt["outcome"], attempt.get("status")
    style = "green" if outcome == "success" else "red"
    duration, retry = " " + milliseconds(attempt["durationMs"]), _retry(attempt)
    label = str(status) if status is not None else outcome
    taken = len(f"{time_of_day}<-- [] POST {event}{retry}")
    # The address gives way first, then the duration, then the failure's long name.
    if taken + len(label + duration) + _LEAST_ADDRESS > terminal.out.width:
        duration = ""
        where = where.removeprefix("https://")
        if taken + len(label) + _LEAST_ADDRESS > terminal.out.width:
            label = SHORT_OUTCOMES.get(label, label)
    terminal.say(
        Cell(time_of_day, "dim"),
        Cell("<-- ", "dim"),
        Cell(f"[{label}]", style),
        f" POST {cut(where, max(terminal.out.width - taken - len(label + duration), 8))}{event}",
        Cell(duration, "dim"),
        Cell(retry, "yellow"),
    )


def _which(attempt: Mapping[str, Any]) -> str:
    trigger, number = attempt.get("trigger", "schedule"), attempt.get("number", 1)
    by_hand = f", {trigger}" if trigger != "schedule" else ""
    return f" attempt {number}{by_hand}" if number > 1 or by_hand else ""


def _retry(attempt: Mapping[str, Any]) -> str:
    moment = attempt.get("nextAttemptAt")
    if not moment or attempt["outcome"] == "success":
        return ""
    wait_s = parse_moment(moment) - time.time()
    return f" retry in {rough(max(wait_s, 0))}"

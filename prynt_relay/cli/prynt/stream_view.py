"""Attempts as they happen, two lines each: what was sent and what came of it."""

from collections.abc import Mapping
from typing import Any

from prynt_relay.cli.prynt.moments import clock_time, milliseconds, parse_moment, rough
from prynt_relay.cli.prynt.terminal import Cell, Terminal


def show_attempt(
    terminal: Terminal, attempt: Mapping[str, Any], where: str, *, clock: bool = True
) -> None:
    """Print an attempt; `where` is the receiver's address as far as it may be shown."""
    time_of_day = clock_time(attempt["startedAt"]) + "  " if clock else ""
    event_id = attempt["eventId"]
    event = f" [{event_id}]" if event_id else ""
    trigger = attempt.get("trigger", "schedule")
    again = attempt.get("number", 1) > 1 or trigger != "schedule"
    terminal.say(
        Cell(time_of_day, "dim"),
        Cell("--> ", "dim"),
        Cell(attempt["eventType"], "bold"),
        event,
        Cell(f" attempt {attempt['number']}, {trigger}" if again and clock else "", "dim"),
    )
    outcome, status = attempt["outcome"], attempt.get("status")
    label = str(status) if status is not None else outcome
    terminal.say(
        Cell(time_of_day, "dim"),
        Cell("<-- ", "dim"),
        Cell(f"[{label}]", "green" if outcome == "success" else "red"),
        f" POST {where}{event} ",
        Cell(milliseconds(attempt["durationMs"]), "dim"),
        Cell(_next(attempt), "yellow"),
    )


def _next(attempt: Mapping[str, Any]) -> str:
    moment = attempt.get("nextAttemptAt")
    if not moment or attempt["outcome"] == "success":
        return ""
    wait_s = parse_moment(moment) - parse_moment(attempt["startedAt"])
    return f", next attempt in {rough(max(wait_s, 0))}"

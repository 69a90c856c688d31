"""Deliveries as people read them in a list."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prynt_relay.cli.prynt.moments import ago, until
from prynt_relay.cli.prynt.terminal import Cell, Column, Terminal

STATE_STYLES: Final = {"delivered": "green", "failed": "red", "held": "cyan", "cancelled": "dim"}
_TYPE_LEAST: Final = len("identification.complete")
"""So that one long type of somebody's own costs no other column its place."""
SHORT_OUTCOMES: Final = {
    "connection_refused": "refused",
    "connection_error": "conn error",
    "blocked_address": "blocked",
    "dns_error": "dns error",
    "tls_error": "tls error",
}


def state_cell(delivery: Mapping[str, Any]) -> Cell:
    """Return a delivery's state; one that waits after a failure looks different."""
    state = delivery["state"]
    waiting = "yellow" if delivery["lastOutcome"] not in (None, "success") else ""
    return Cell(state, STATE_STYLES.get(state, waiting))


def next_cell(delivery: Mapping[str, Any], now_s: float) -> Cell:
    """Return when the next attempt is made; a dash where none is planned."""
    moment = delivery["nextAttemptAt"]
    return Cell(until(moment, now_s)) if moment else Cell("-", "dim")


def _plan_cell(delivery: Mapping[str, Any], now_s: float) -> Cell:
    """Return state and next attempt in one, for where there is little room."""
    if delivery["attemptCount"] and delivery["nextAttemptAt"]:
        return Cell("retry " + until(delivery["nextAttemptAt"], now_s), "yellow")
    return state_cell(delivery)


def outcome_cell(outcome: str | None, status: int | None, *, short: bool = False) -> Cell:
    """Return what an attempt came to: a status, or the contract's name of the failure."""
    if outcome is None:
        return Cell("-", "dim")
    if outcome == "success":
        return Cell(str(status), "green")
    if outcome == "http_error":
        return Cell(str(status) if short else f"http_error {status}", "red")
    return Cell(SHORT_OUTCOMES.get(outcome, outcome) if short else outcome, "red")


def list_deliveries(
    terminal: Terminal, deliveries: Sequence[Mapping[str, Any]], *, of_all: bool
) -> None:
    """Print a table of deliveries; `of_all` webhooks, or of one."""
    now_s = time.time()

    def last(*, short: bool) -> Column:
        cells = [outcome_cell(d["lastOutcome"], d["lastStatus"], short=short) for d in deliveries]
        return Column("LAST", cells)

    ids = Column("DELIVERY", [Cell(d["id"]) for d in deliveries])
    hooks = [Column("WEBHOOK", [Cell(d["webhookId"]) for d in deliveries])] if of_all else []
    events = Column("EVENT", [Cell(d["eventId"]) for d in deliveries])
    types = Column("TYPE", [Cell(d["eventType"]) for d in deliveries], _TYPE_LEAST)
    states = Column("STATE", [state_cell(d) for d in deliveries])
    plans = Column("STATE", [_plan_cell(d, now_s) for d in deliveries])
    tries = Column("TRIES", [Cell(str(d["attemptCount"])) for d in deliveries], right=True)
    next_ = Column("NEXT", [next_cell(d, now_s) for d in deliveries])
    made = Column("CREATED", [Cell(ago(d["createdAt"], now_s), "dim") for d in deliveries])
    age = Column("AGE", [Cell(ago(d["createdAt"], now_s, suffix=""), "dim") for d in deliveries])
    head, brief = [ids, *hooks], last(short=True)
    terminal.table(
        [
            [*head, events, types, states, tries, last(short=False), next_, made],
            [*head, types, states, tries, last(short=False), next_, made],
            [*head, types, states, tries, brief, next_, age],
            [*head, types, states, brief, next_, age],
            [*head, types, plans, brief, age],
            [*head, types._replace(least=12), plans, brief],
        ]
    )

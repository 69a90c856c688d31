"""The database after the run: its log tells what happened, and only that."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from prynt_relay.model.states import TRANSITIONS, DeliveryState, Trigger
from tests.simulation.check_health import HealthRule
from tests.simulation.sim_disk import Disk
from tests.simulation.sim_journal import Attempt, Journal
from tests.simulation.sim_plan import Plan

Logged = tuple[int, int, int, int]  # number, started_at_ms, duration_ms, outcome


def check_log(journal: Journal, path: Path, plan: Plan, rule: HealthRule, disk: Disk) -> None:
    """Hold the log against what receivers saw, and states against the state machine."""
    allowed = {(int(old), int(new)) for old, new in TRANSITIONS}
    for old, new in sorted(disk.transitions - allowed):
        names = f"{DeliveryState(old).label} to {DeliveryState(new).label}"
        journal.wrong("states", f"a delivery went from {names}")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        _check_rows(journal, database)
        _check_attempts(journal, database, whole=plan.history_s is None)
        if plan.history_s is None:
            _check_events(journal, database)
            _check_mails(journal, database, rule)


def _check_rows(journal: Journal, database: sqlite3.Connection) -> None:
    """What must be true of every row by itself."""
    for what, query in (
        ("scheduled without a time, or a time without it", """
            SELECT count(*) FROM deliveries
            WHERE (state = 0) <> (next_attempt_ms IS NOT NULL)"""),
        ("manual or to be resumed, but not scheduled", """
            SELECT count(*) FROM deliveries
            WHERE state <> 0 AND (manual OR resume_ms IS NOT NULL)"""),
        ("in no known state", "SELECT count(*) FROM deliveries WHERE state NOT BETWEEN 0 AND 4"),
        ("scheduled after everything was mended", """
            SELECT count(*) FROM deliveries WHERE state = 0"""),
        ("open although the webhook is gone", """
            SELECT count(*) FROM deliveries JOIN webhooks ON webhooks.id = webhook
            WHERE deleted_at_ms IS NOT NULL AND state IN (0, 3)"""),
        ("bulk jobs left", "SELECT count(*) FROM bulk_jobs"),
        ("large fan-outs left", "SELECT count(*) FROM fanouts"),
    ):  # fmt: skip
        count = database.execute(query).fetchone()[0]
        if count:
            journal.wrong("the log", f"{count} {what}")
    problem = database.execute("PRAGMA integrity_check").fetchone()[0]
    if problem != "ok":
        journal.wrong("the log", f"the database is damaged: {problem}")


def _check_attempts(journal: Journal, database: sqlite3.Connection, *, whole: bool) -> None:
    logged: dict[int, list[Logged]] = defaultdict(list)
    for delivery, trigger, *columns in database.execute(
        """SELECT delivery, trigger, number, started_at_ms, duration_ms, outcome
           FROM attempts ORDER BY id"""
    ):
        if trigger != Trigger.TEST:
            logged[delivery].append((columns[0], columns[1], columns[2], columns[3]))
    seen: dict[tuple[int, int], list[Attempt]] = defaultdict(list)
    for attempt in journal.attempts:
        if not attempt.is_test:
            seen[attempt.webhook_row, attempt.event_row].append(attempt)
    rows = {key: row for row, key in journal.delivery_rows.items()}
    counts = {
        row: (count, outcome)
        for row, count, outcome in database.execute(
            "SELECT id, attempts, last_outcome FROM deliveries"
        )
    }
    for key, attempts in seen.items():
        row = rows.get(key, -1)
        if row in counts:
            _compare(journal, key, logged.pop(row, []), attempts, counts[row])
        elif whole and any(attempt.fate == "settled" for attempt in attempts):
            journal.wrong("the log", f"delivery {key} is not there any more")
        logged.pop(row, None)
    for row in logged:
        journal.wrong("the log", f"delivery {row} has attempts that no receiver saw")


def _compare(
    journal: Journal,
    key: tuple[int, int],
    logged: list[Logged],
    seen: list[Attempt],
    counted: tuple[int, int],
) -> None:
    """The log has every attempt that was settled, in order, and besides only ones cut off."""
    first = logged[0][0] if logged else 1
    is_sample = key[1] in journal.samples
    if [entry[0] for entry in logged] != list(range(first, first + len(logged))) or (
        first != 1 and not is_sample
    ):
        journal.wrong("the log", f"delivery {key} has attempts {[entry[0] for entry in logged]}")
    left = list(logged)
    for attempt in seen:
        shown = (attempt.started_ms, attempt.duration_ms, attempt.outcome)
        if left and left[0][1:] == shown:
            left.pop(0)
        elif attempt.fate == "settled":
            journal.wrong("the log", f"delivery {key}: {shown} is missing from {logged}")
            return
    if left:
        journal.wrong("the log", f"delivery {key}: no receiver saw {left}")
    if logged and (logged[-1][0], logged[-1][3]) != counted:
        journal.wrong("the log", f"delivery {key} says {counted}, its attempts {logged[-1]}")


def _check_events(journal: Journal, database: sqlite3.Connection) -> None:
    """What was acknowledged is there, once; what was refused is not."""
    stored = database.execute("SELECT count(*) FROM events WHERE is_test = 0").fetchone()[0]
    good = [line for line in journal.lines if line.code is None]
    sure = {
        line.answer["eventId"] for line in good if line.answer is not None and line.answer["ok"]
    }
    perhaps = sum(line.answer is None for line in good)
    # Over a wall that was set forward an id may be another event's again: its window is over.
    new = sum(bool(line.answer and line.answer["ok"]) and not line.answer["duplicate"]
              for line in good if line.answer)  # fmt: skip
    if not len(sure) <= stored <= new + perhaps:
        journal.wrong(
            "nothing lost", f"{stored} events are stored, {len(sure)} acknowledged, {perhaps} not"
        )


def _check_mails(journal: Journal, database: sqlite3.Connection, rule: HealthRule) -> None:
    """One mail for each warning and each disabling; after crashes perhaps one that was repeated."""
    for news, subject in (("disabled", "%was disabled%"), ("warned", "%keeps failing;%")):
        mails = database.execute(
            "SELECT count(*) FROM outbox WHERE subject LIKE ?", (subject,)
        ).fetchone()[0]
        told = rule.told[news]
        if mails > told or (mails < told and not journal.crashes):
            journal.wrong("mails", f"{mails} mails that a webhook was {news}, {told} times it was")

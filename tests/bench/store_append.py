"""How fast the store takes events, against one plain SQLite thread writing the same rows.

    python -m tests.bench.store_append [--events 40000] [--batch 200] [--targets 1] [--keys]

The plain side prepares nothing of its own: it is given finished rows and writes them with
multi-row statements, a transaction a batch, `synchronous=FULL`. The sides alternate.
"""

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from prynt_relay.clock import SystemClock
from prynt_relay.model.delivery import AttemptResult, Settlement
from prynt_relay.model.event import Append, Appended, NewEvent, Target
from prynt_relay.model.states import DeliveryState, Format, Outcome, Trigger
from prynt_relay.model.webhook import NewWebhook, Secrets
from prynt_relay.store import Store

DATA = b'{"visitorId":"pv_8kX2mNqR3jT7p","fill":"' + b"x" * 960 + b'"}'
IN_FLIGHT = 1
"""Batches that wait while one is written: with one, both sides commit the same batches."""


class Commits:
    def __init__(self) -> None:
        self.durations_s: list[float] = []

    def committed(self, duration_s: float, rows: int) -> None:
        self.durations_s.append(duration_s)

    def availability(self, available: bool) -> None:
        pass


async def open_store(folder: Path, commits: Commits | None = None) -> Store:
    return await Store.open(
        folder / "relay.db",
        clock=SystemClock(),
        api_version="2026-01-15",
        event_source="urn:prynt-relay",
        dedup_window_s=86_400,
        observer=commits,
    )


def appends(
    count: int, batch: int, targets: tuple[Target, ...], keys: bool
) -> Iterator[list[Append]]:
    for _ in range(0, count, batch):
        yield [
            Append(
                NewEvent(
                    "identification.complete",
                    DATA,
                    idempotency_key=os.urandom(12).hex() if keys else None,
                ),
                targets,
            )
            for _ in range(batch)
        ]


async def relay_side(
    store: Store, count: int, batch: int, targets: tuple[Target, ...], keys: bool
) -> tuple[float, list[Appended]]:
    batches = list(appends(count, batch, targets, keys))
    futures: list[asyncio.Future[list[Appended]]] = []
    started = time.perf_counter()
    for number, events in enumerate(batches):
        futures.append(store.append(events))
        if number >= IN_FLIGHT:
            await futures[number - IN_FLIGHT]
    done = [appended for future in futures for appended in await future]
    return count / (time.perf_counter() - started), done


EVENTS_HEAD = (
    "INSERT INTO events (id, event_type, context, received_at_ms, created_at_ms, event_id,"
    " idempotency_key, first_delivery, delivery_count, fanout_pending, data) VALUES "
)
DELIVERIES_HEAD = (
    "INSERT INTO deliveries (id, webhook, event, event_type, state, format, created_at_ms,"
    " next_attempt_ms) VALUES "
)


def insert(raw: sqlite3.Connection, head: str, width: int, values: list[object]) -> None:
    row = "(" + ", ".join("?" * width) + ")"
    for start in range(0, len(values), 256 * width):
        part = values[start : start + 256 * width]
        raw.execute(head + ", ".join([row] * (len(part) // width)), part)


def plain_side(path: Path, count: int, batch: int, targets: int) -> float:
    """One thread, nothing but SQL; the rows exist before the clock starts."""
    with closing(sqlite3.connect(path, isolation_level=None, cached_statements=256)) as raw:
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA wal_autocheckpoint = 1000")
        row = raw.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0] + 1
        delivery = raw.execute("SELECT coalesce(max(id), 0) FROM deliveries").fetchone()[0] + 1
        batches = []
        now = time.time_ns() // 1_000_000
        for _ in range(0, count, batch):
            events: list[object] = []
            deliveries: list[object] = []
            for _ in range(batch):
                events += (row, 1, 1, now, None, None, None, delivery, targets, 0, DATA)
                for webhook in range(1, targets + 1):
                    deliveries += (delivery, webhook, row, 1, 0, 0, now, now)
                    delivery += 1
                row += 1
            batches.append((events, deliveries))
        started = time.perf_counter()
        for events, deliveries in batches:
            raw.execute("BEGIN IMMEDIATE")
            insert(raw, EVENTS_HEAD, 11, events)
            insert(raw, DELIVERIES_HEAD, 8, deliveries)
            raw.execute("COMMIT")
        return count / (time.perf_counter() - started)


async def settle_side(
    store: Store, appended: list[Appended], webhook_row: int, revision: int, batch: int
) -> float:
    result = AttemptResult(
        Outcome.SUCCESS,
        1_790_000_000_000,
        12,
        0.012,
        b"s" * 32,
        status=200,
        response_headers=b"Content-Length: 2\r\nServer: test",
        response_body=b"ok",
    )
    made = [
        Settlement(
            a.first_delivery_row,
            webhook_row,
            revision,
            1,
            Trigger.SCHEDULE,
            result,
            DeliveryState.DELIVERED,
            0,
        )
        for a in appended
    ]
    futures: list[asyncio.Future[None]] = []
    started = time.perf_counter()
    for start in range(0, len(made), batch):
        futures.append(store.settle(made[start : start + batch]))
        if len(futures) > IN_FLIGHT:
            await futures[-1 - IN_FLIGHT]
    for future in futures:
        await future
    return len(made) / (time.perf_counter() - started)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--targets", type=int, default=1)
    parser.add_argument("--keys", action="store_true")
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as name:
        commits = Commits()
        (Path(name) / "a").mkdir()
        (Path(name) / "b").mkdir()
        store = await open_store(Path(name) / "a", commits)
        other = await open_store(Path(name) / "b")
        webhook = await store.add_webhook(
            NewWebhook(url="https://receiver.test/hook", events=("*",), secrets=Secrets("whsec_x"))
        )
        revision = await store.set_revision(webhook.row, "{}")
        await other.close()
        targets = tuple(
            Target(row, DeliveryState.SCHEDULED, Format.PRYNT) for row in range(1, args.targets + 1)
        )
        ours, plain, settles = [], [], []
        for _ in range(args.rounds):
            rate, done = await relay_side(store, args.events, args.batch, targets, args.keys)
            ours.append(rate)
            if args.targets:
                settles.append(await settle_side(store, done, webhook.row, revision, args.batch))
            plain.append(
                await asyncio.to_thread(
                    plain_side, Path(name) / "b/relay.db", args.events, args.batch, args.targets
                )
            )
        await store.close()
        durations = sorted(commits.durations_s)
        print(f"store   {statistics.median(ours):9.0f} events/s  {[round(x) for x in ours]}")
        print(f"plain   {statistics.median(plain):9.0f} events/s  {[round(x) for x in plain]}")
        print(f"ratio   {statistics.median(ours) / statistics.median(plain):9.2f}")
        if settles:
            print(f"settle  {statistics.median(settles):9.0f} attempts/s")
        print(
            f"commit  p50 {durations[len(durations) // 2] * 1000:.1f} ms"
            f"  p99 {durations[int(len(durations) * 0.99)] * 1000:.1f} ms"
            f"  max {durations[-1] * 1000:.1f} ms"
        )


if __name__ == "__main__":
    asyncio.run(main())

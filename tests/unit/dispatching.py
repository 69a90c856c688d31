"""What a dispatcher in a test's hands stands on: a store, a sender and webhooks in memory."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from prynt_relay.dispatch.dispatcher import Dispatcher
from prynt_relay.model.delivery import AttemptResult, DueDelivery, Settlement
from prynt_relay.model.event import Append, Appended, NewEvent, StoredEvent, Target
from prynt_relay.model.states import DeliveryState, Format, Outcome
from prynt_relay.model.webhook import Health, Secrets, Webhook
from prynt_relay.schedule.disable import Verdict
from tests.clock import FakeClock


def webhook(row: int) -> Webhook:
    return Webhook(
        row=row,
        id=f"wh_{row:013d}",
        url="https://receiver.test/",
        events=("*",),
        secrets=Secrets("whsec_x"),
        created_at_ms=0,
        updated_at_ms=0,
        revision_row=1,
    )


class MemoryStore:
    """Scheduled rows in a dictionary, with commits and reads that take some turns of the loop."""

    def __init__(self, clock: FakeClock, rng: random.Random | None = None) -> None:
        self.clock = clock
        self.rng = rng or random.Random(0)
        self.rows: dict[int, DueDelivery] = {}
        self.stored: dict[int, StoredEvent] = {}
        self.settlements: list[Settlement] = []
        self.available = True
        self.pages = 0
        self._last_row = 0
        self._commits: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while True:
            commit = await self._commits.get()
            for _ in range(self.rng.randrange(3)):
                await asyncio.sleep(0)
            commit()

    async def close(self) -> None:
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)

    def append(self, targets: tuple[Target, ...]) -> asyncio.Future[tuple[Append, Appended]]:
        future: asyncio.Future[tuple[Append, Appended]] = asyncio.Future()
        due_ms = self.clock.schedule_ms()
        first = self._last_row + 1
        self._last_row += len(targets)
        event = StoredEvent(first, f"evt_{first:013d}", "verdict.block", "v", "s", 0, 0, "k", b"{}")

        def commit() -> None:
            self.stored[first] = event
            for number, target in enumerate(targets):
                self.rows[first + number] = DueDelivery(
                    first + number, target.webhook_row, first, due_ms, due_ms, format=target.format
                )
            append = Append(NewEvent("verdict.block", b"{}"), targets)
            future.set_result((append, Appended(event.event_id, False, event, first, due_ms)))

        self._commits.put_nowait(commit)
        return future

    def settle(self, batch: Sequence[Settlement]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.Future()

        def commit() -> None:
            for settlement in batch:
                self.settlements.append(settlement)
                row = self.rows.pop(settlement.delivery_row)
                if settlement.state is DeliveryState.SCHEDULED:
                    assert settlement.next_attempt_ms is not None
                    self.rows[row.row] = replace(
                        row,
                        due_ms=settlement.next_attempt_ms,
                        failures=settlement.failures,
                        attempts=settlement.number,
                        manual=False,
                        resume_ms=None,
                        event=None,
                    )
            future.set_result(None)

        self._commits.put_nowait(commit)
        return future

    async def due_page(
        self, webhook_row: int, after: tuple[float, float], limit: int
    ) -> list[DueDelivery]:
        self.pages += 1
        for _ in range(self.rng.randrange(3)):
            await asyncio.sleep(0)
        found = sorted(
            (replace(d) for d in self.rows.values() if d.webhook_row == webhook_row),
            key=lambda d: (d.due_ms, d.row),
        )
        page = [d for d in found if (d.due_ms, d.row) > after][:limit]
        for _ in range(self.rng.randrange(4)):
            await asyncio.sleep(0)
        return page

    async def events(self, rows: Sequence[int]) -> dict[int, StoredEvent]:
        await asyncio.sleep(0)
        return {row: self.stored[row] for row in rows if row in self.stored}

    def earliest(self) -> dict[int, int]:
        earliest: dict[int, int] = {}
        for d in self.rows.values():
            earliest[d.webhook_row] = min(d.due_ms, earliest.get(d.webhook_row, d.due_ms))
        return earliest


class Webhooks:
    """A registry of a few webhooks."""

    def __init__(self, count: int) -> None:
        self.all = {row: webhook(row) for row in range(1, count + 1)}
        self.verdicts: list[Verdict] = []

    def by_row(self, row: int) -> Webhook | None:
        return self.all.get(row)

    def set_health(self, row: int, health: Health) -> None:
        self.all[row] = replace(self.all[row], health=health)

    def failing(self, webhook: Webhook, verdict: Verdict, _result: AttemptResult) -> None:
        self.verdicts.append(verdict)
        if verdict is Verdict.DISABLE:
            self.all[webhook.row] = replace(self.all[webhook.row], enabled=False)


Answer = Callable[[Webhook, StoredEvent], Awaitable[Outcome]]


class Sender:
    """Records attempts and answers as the test says."""

    def __init__(self, clock: FakeClock, answer: Answer) -> None:
        self.clock = clock
        self.answer = answer
        self.attempts: list[tuple[int, int, int]] = []
        self.messages: list[tuple[int, list[int]]] = []
        self.in_flight: set[tuple[int, int]] = set()

    def fold(self, events: Sequence[StoredEvent]) -> bytes:
        return " ".join(str(event.row) for event in events).encode()

    async def send(
        self,
        webhook: Webhook,
        event: StoredEvent,
        format: Format,
        *,
        body: bytes | None = None,
    ) -> AttemptResult:
        key = (webhook.row, event.row)
        assert key not in self.in_flight, "one delivery twice in flight"
        self.in_flight.add(key)
        started_ms = self.clock.wall_ms()
        self.attempts.append((started_ms, webhook.row, event.row))
        if format is Format.SLACK:
            rows = str(event.row) if body is None else body.decode()
            self.messages.append((started_ms, [int(row) for row in rows.split()]))
        try:
            outcome = await self.answer(webhook, event)
        finally:
            self.in_flight.discard(key)
        took_ms = self.clock.wall_ms() - started_ms
        return AttemptResult(outcome, started_ms, took_ms, took_ms / 1000, b"")


def dispatcher(
    clock: FakeClock, store: MemoryStore, sender: Sender, webhooks: Webhooks, **options: int
) -> Dispatcher:
    made = Dispatcher(
        clock=clock,
        store=store,
        sender=sender,
        webhooks=webhooks,
        concurrency=options.get("concurrency", 512),
        concurrency_per_webhook=options.get("per_webhook", 64),
        retry_schedule_s=(300.0, 1800.0),
        disable_after_s=86_400.0,
    )
    made.start(list(webhooks.all.values()), store.earliest())
    return made


def targets(*rows: int, format: Format = Format.PRYNT) -> tuple[Target, ...]:
    return tuple(Target(row, DeliveryState.SCHEDULED, format) for row in rows)


async def always(outcome: Outcome) -> Outcome:
    return outcome

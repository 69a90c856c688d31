"""The dispatcher: takes what is due through its slots to the transport and settles the result."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from prynt_relay.clock import Clock, Timer
from prynt_relay.dispatch.attempt import Consequences
from prynt_relay.dispatch.attempts import Attempts
from prynt_relay.dispatch.backlog import Backlog
from prynt_relay.dispatch.doors import (
    AttemptObserver,
    DeliveryStore,
    Sender,
    SettledObserver,
    WebhookSource,
)
from prynt_relay.dispatch.lane import BULK_ROWS, NEVER
from prynt_relay.dispatch.pace import PACED, Pace
from prynt_relay.dispatch.settling import Batch, Settling
from prynt_relay.dispatch.slots import PROVEN_ALLOWANCE, Slots, Turn
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.event import Append, Appended
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.schedule.disable import DisablePolicy

STARTS_PER_TURN: Final = 64
"""Attempts begun before the loop gets its turn again: hundreds of new connections, opened in one
breath, would hold everything else up for a tenth of a second."""

BULK_PAUSE_S: Final = 0.05
"""How long bulk work waits before it looks again whether there is room for more."""


class Dispatcher:
    """Every scheduled delivery, from the moment it is due until its attempt is on disk."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: DeliveryStore,
        sender: Sender,
        webhooks: WebhookSource,
        concurrency: int,
        concurrency_per_webhook: int,
        retry_schedule_s: Sequence[float],
        disable_after_s: float,
        on_attempt: Sequence[AttemptObserver] = (),
        on_settled: Sequence[SettledObserver] = (),
    ) -> None:
        self._clock = clock
        self._store = store
        self._webhooks = webhooks
        self._slots = Slots(concurrency, concurrency_per_webhook)
        self._pace = Pace(clock, self._slots, on_rested=self._pump)
        self._on_settled = list(on_settled)
        self._backlog = Backlog(clock, store, self._slots, on_page=self._page_read)
        self._timer: Timer | None = None
        self._timer_ms = NEVER
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling = Settling(store, on_disk=self._settled)
        # Set while the disk takes nothing.
        self._refused = asyncio.Event()
        self._attempts = Attempts(
            clock=clock,
            store=store,
            sender=sender,
            webhooks=webhooks,
            slots=self._slots,
            pace=self._pace,
            settling=self._settling,
            consequences=Consequences(
                retry_schedule_s=retry_schedule_s, policy=DisablePolicy(disable_after_s)
            ),
            on_attempt=on_attempt,
            on_popped=self._backlog.ask,
            on_freed=self._pump,
        )
        self._most_unsettled = 4 * concurrency
        self._started = self._running = self._pumping = False
        self._ticked_at = clock.monotonic()

    # --- life

    def start(
        self, webhooks: Sequence[Webhook], earliest_due_ms: dict[int, int], *, hold: bool = False
    ) -> None:
        """Begin to send. `earliest_due_ms` says per webhook when its first delivery is due.

        With `hold` everything is taken note of, and nothing sent before `release`.
        """
        self._started = True
        turns = [
            self._backlog.add(webhook, stored_from_ms=earliest_due_ms.get(webhook.row, NEVER))
            for webhook in webhooks
        ]
        self._pace.after_start(
            turn for turn, webhook in zip(turns, webhooks, strict=True) if webhook.format is PACED
        )
        if not hold:
            self.release()

    def release(self) -> None:
        """Begin to send after a start with `hold`."""
        self._running = True
        self._tick()

    async def stop(self, drain_s: float) -> int:
        """Start nothing new, let what is in flight finish for up to `drain_s`, then cut it off.

        Returns how many attempts were cut off; they don't count and are made again after the
        next start. Waits until what did finish is on disk, if the disk takes it.
        """
        self._running = self._started = False
        if self._timer is not None:
            self._timer.cancel()
        await self._backlog.stop()
        tasks = set(self._tasks)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=drain_s)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        else:
            pending = set()
        await self._recorded()
        return len(pending)

    async def _recorded(self) -> None:
        """Return when every result is on disk, or when the disk takes nothing.

        In that case the results are lost with us and those attempts are made again.
        """
        if not self._store.available:
            self._refused.set()
        idle = asyncio.ensure_future(self._settling.idle())
        refused = asyncio.ensure_future(self._refused.wait())
        await asyncio.wait((idle, refused), return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        refused.cancel()

    @contextlib.asynccontextmanager
    async def message_to(self, webhook: Webhook) -> AsyncIterator[None]:
        """Send to a webhook beside the schedule; waits where its format allows only so many."""
        turn = self._backlog.turn(webhook.row)
        if turn is None or webhook.format is not PACED:
            yield
        else:
            async with self._pace.beside(turn):
                yield

    def observe(self, observer: SettledObserver) -> None:
        """Tell one more about every batch of attempts that is on disk."""
        self._on_settled.append(observer)

    # --- what comes in

    def appended(self, batch: Sequence[tuple[Append, Appended]]) -> None:
        """Events are on disk with their deliveries: hand over those that are scheduled."""
        now_ms = self._clock.schedule_ms()
        scheduled = DeliveryState.SCHEDULED
        for append, result in batch:
            stored = result.stored
            if stored is None:
                continue
            row = result.first_delivery_row
            for target in append.targets:
                if target.state is scheduled:
                    delivery = DueDelivery(
                        row,
                        target.webhook_row,
                        stored.row,
                        result.due_ms,
                        stored.received_at_ms,
                        format=target.format,
                        event=stored,
                    )
                    self._backlog.offer(delivery, now_ms, late=result.late)
                row += 1
        self._pump()

    def offer(self, deliveries: Sequence[DueDelivery]) -> None:
        """Rows became scheduled, or were scheduled anew, and that is on disk."""
        now_ms = self._clock.schedule_ms()
        for delivery in deliveries:
            self._backlog.offer(delivery, now_ms)
        self._pump()
        self._arm()

    def webhook_changed(self, row: int) -> None:
        """A webhook was created, changed, disabled, enabled or deleted."""
        webhook = self._webhooks.by_row(row)
        turn = self._backlog.turn(row)
        if webhook is None:
            self._backlog.remove(row)
        elif turn is None:
            if self._started:
                self._backlog.add(webhook)
        elif not webhook.enabled:
            turn.lane.disablings += 1
            self._backlog.pause(turn)
        else:
            self._backlog.resume(turn)

    def reconfigure(
        self,
        *,
        concurrency: int,
        concurrency_per_webhook: int,
        retry_schedule_s: Sequence[float],
        disable_after_s: float,
    ) -> None:
        """Use other settings from the next attempt on."""
        self._slots.resize(concurrency, concurrency_per_webhook)
        self._most_unsettled = 4 * concurrency
        self._attempts.consequences = Consequences(
            retry_schedule_s=retry_schedule_s, policy=DisablePolicy(disable_after_s)
        )
        self._pump()

    def storage_changed(self) -> None:
        """The store became available or unavailable."""
        if self._store.available:
            self._refused.clear()
        else:
            self._refused.set()
        self._pump()

    async def bulk_room(self, webhook_row: int) -> None:
        """Return when a webhook can take more bulk work without its live events waiting for it."""
        while (
            self._running
            and (turn := self._backlog.turn(webhook_row)) is not None
            and len(turn.lane.bulk) >= BULK_ROWS
        ):
            await self._clock.sleep(BULK_PAUSE_S)

    # --- what others may ask

    def busy_rows(self, webhook_row: int) -> frozenset[int]:
        """Deliveries of a webhook that are in flight or being settled."""
        turn = self._backlog.turn(webhook_row)
        return frozenset(turn.lane.busy) if turn is not None else frozenset()

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._slots.taken

    def oldest_due_s(self) -> float:
        """For how long the longest-waiting due delivery has waited, in seconds; 0 if none does."""
        now_ms = self._clock.schedule_ms()
        oldest = self._backlog.oldest_due_ms()
        return max(now_ms - oldest, 0.0) / 1000 if -NEVER < oldest < NEVER else 0.0

    def tick_age_s(self) -> float:
        """How long ago the dispatcher last looked at what is due; it does so every second.

        Told to stop it looks no more, and is not stuck for that.
        """
        return self._clock.monotonic() - self._ticked_at if self._running else 0.0

    # --- time

    def _tick(self) -> None:
        """Move what has become due to the lines, ask for pages, and set the next timer."""
        self._timer = None
        self._timer_ms = NEVER
        self._ticked_at = self._clock.monotonic()
        if not self._running:
            return
        now_ms = self._clock.schedule_ms()
        self._backlog.expire(now_ms)
        self._pump()
        self._arm()

    def _arm(self) -> None:
        """Wake up for the next thing to do, and at least once a second."""
        if not self._running:
            return
        now_ms = self._clock.schedule_ms()
        next_ms = min(now_ms + 1000, self._backlog.next_due_ms())
        if next_ms < self._timer_ms:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_ms = next_ms
            # Never early: the schedule's clock may run a hundredth slower than the timer's.
            delay_s = max(next_ms - now_ms, 1) / 1000
            self._timer = self._clock.call_later(delay_s, self._tick)

    # --- attempts

    def _page_read(self) -> None:
        self._pump()
        self._arm()

    def _pump(self) -> None:
        """Start attempts while there are slots and something to send."""
        started = 0
        while (
            self._running
            and self._store.available
            and self._settling.waiting + self._slots.taken < self._most_unsettled
        ):
            if started == STARTS_PER_TURN:
                self._pump_later()
                return
            started += 1
            work = self._next()
            if work is None:
                return
            task = asyncio.get_running_loop().create_task(self._work(*work))
            self._tasks.add(task)
            task.add_done_callback(self._worker_done)

    def _pump_later(self) -> None:
        """Go on once the loop has had its turn."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump_again)

    def _pump_again(self) -> None:
        self._pumping = False
        self._pump()

    def _next(self) -> tuple[Turn, DueDelivery] | None:
        """Take a slot and a delivery for it."""
        while (turn := self._slots.take()) is not None:
            lane = turn.lane
            delivery = lane.pop_ready()
            if lane.stored_from_ms != NEVER:
                lane.prefetch = turn.allowance >= PROVEN_ALLOWANCE
                self._backlog.ask(lane)
            if delivery is not None:
                if delivery.format is PACED:
                    self._pace.begin(turn)
                return turn, delivery
            self._slots.unused(turn)
        return None

    async def _work(self, turn: Turn, delivery: DueDelivery) -> None:
        """Make attempts one after another for as long as there are some to make."""
        while True:
            if delivery.format is PACED:
                await self._attempts.make_message(turn, delivery)
            else:
                await self._attempts.make(turn, delivery)
            if not (self._running and self._store.available):
                return
            if self._settling.waiting + self._slots.taken >= self._most_unsettled:
                return
            work = self._next()
            if work is None:
                return
            turn, delivery = work

    def _settled(self, batch: Batch) -> None:
        """A batch of attempts is on disk."""
        now_ms = self._clock.schedule_ms()
        scheduled = DeliveryState.SCHEDULED
        for settlement, delivery in batch:
            turn = self._backlog.turn(settlement.webhook_row)
            if turn is None:
                continue
            turn.lane.settled(settlement.delivery_row)
            if settlement.state is scheduled and settlement.next_attempt_ms is not None:
                delivery.due_ms = settlement.next_attempt_ms
                delivery.failures = settlement.failures
                delivery.attempts = settlement.number
                delivery.manual = False
                delivery.resume_ms = None
                self._backlog.offer(delivery, now_ms)
        settlements = [settlement for settlement, _ in batch]
        for observer in self._on_settled:
            observer(settlements)
        self._pump()
        self._arm()

    def _worker_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an attempt ended in an error of ours", "exception": error}
            )

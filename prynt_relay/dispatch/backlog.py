"""What waits, in memory as far as it fits and in the database beyond, for each webhook apart."""

from collections.abc import Callable, Iterable

from prynt_relay.clock import Clock
from prynt_relay.dispatch.doors import DeliveryStore
from prynt_relay.dispatch.lane import NEVER, PAGE_ROWS, Lane, Memory
from prynt_relay.dispatch.pager import Pager
from prynt_relay.dispatch.slots import Slots, Standing, Turn
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.webhook import Webhook
from prynt_relay.schedule.wheel import TimerWheel


class Backlog:
    """Takes what is scheduled, and puts its webhook in line for a slot once it is due.

    A webhook that is disabled is paused: nothing of it is in memory until it goes on.
    """

    def __init__(
        self, clock: Clock, store: DeliveryStore, slots: Slots, *, on_page: Callable[[], None]
    ) -> None:
        """`on_page` is told of every page that was read: something may be due now."""
        self._clock = clock
        self._slots = slots
        self._on_page = on_page
        self._memory = Memory()
        self._turns: dict[int, Turn] = {}
        self._wheel: TimerWheel[tuple[Lane, DueDelivery]] = TimerWheel(clock.schedule_ms())
        self._pager = Pager(store, clock, on_page=self._page_read)

    # --- webhooks

    def add(self, webhook: Webhook, *, stored_from_ms: float = NEVER) -> Turn:
        """A webhook of which the database has nothing that is due before `stored_from_ms`."""
        lane = Lane(webhook.row, self._memory, stored_from_ms=stored_from_ms)
        lane.paused = not webhook.enabled
        if webhook.health.proven:
            standing = Standing.PROVEN
        elif webhook.health.failures:
            standing = Standing.SLOW
        else:
            standing = Standing.UNTRIED
        turn = self._turns[webhook.row] = Turn(lane, standing=standing)
        self._pager.watch(lane)
        return turn

    def turn(self, webhook_row: int) -> Turn | None:
        """A webhook's place; None for one that isn't known."""
        return self._turns.get(webhook_row)

    def pause(self, turn: Turn) -> None:
        """Forget what waits until `resume`: meanwhile the database changes it."""
        turn.lane.paused = True
        turn.lane.forget()
        self._slots.leave(turn)

    def resume(self, turn: Turn) -> None:
        """Go on with what the database has by now."""
        if turn.lane.paused:
            turn.lane.paused = False
            self._pager.watch(turn.lane)
            self._pager.ask(turn.lane)

    def remove(self, webhook_row: int) -> None:
        """A webhook is no more."""
        turn = self._turns.pop(webhook_row, None)
        if turn is not None:
            self.pause(turn)

    # --- deliveries

    def offer(self, delivery: DueDelivery, now_ms: int, *, late: bool = False) -> None:
        """A row is scheduled, and that is on disk; `late` as `Lane.takes` has it."""
        turn = self._turns.get(delivery.webhook_row)
        if turn is None:
            return
        lane = turn.lane
        if lane.paused or delivery.row in lane.busy:
            # Paused: read from the database when it goes on. Busy: its settlement decides.
            return
        if lane.takes(delivery, now_ms, late=late):
            self._admit(turn, delivery, now_ms)
        else:
            self._pager.watch(lane)
            if late:
                self._pager.ask(lane)

    def ask(self, lane: Lane) -> None:
        """Read a page for this lane if it wants one."""
        self._pager.ask(lane)

    def expire(self, now_ms: int) -> None:
        """Move what has become due into line, and read what will be soon."""
        for lane, delivery in self._wheel.expire(now_ms):
            turn = self._turns.get(lane.webhook_row)
            if lane.entries.get(delivery.row) is delivery and turn is not None:
                lane.add_ready(delivery)
                self._slots.join(turn)
        self._pager.ask_for_due(now_ms)

    def _admit(self, turn: Turn, delivery: DueDelivery, now_ms: int) -> None:
        lane = turn.lane
        if not lane.add(delivery):
            self._pager.watch(lane)
        elif delivery.due_ms <= now_ms:
            lane.add_ready(delivery)
            self._slots.join(turn)
        else:
            self._wheel.add(delivery.due_ms, (lane, delivery))

    def _page_read(self, lane: Lane, page: list[DueDelivery]) -> None:
        turn = self._turns.get(lane.webhook_row)
        now_ms = self._clock.schedule_ms()
        added = lane.finish_page(page, now_ms)
        if turn is None or turn.lane is not lane:
            return
        turn.deep = len(page) == PAGE_ROWS
        for delivery in added:
            if (delivery.due_ms, delivery.row) <= lane.mark:
                self._admit(turn, delivery, now_ms)
        self._pager.watch(lane)
        self._on_page()

    async def stop(self) -> None:
        """Read no more from the database."""
        await self._pager.stop()

    # --- what others may ask

    @property
    def rows(self) -> int:
        """How many deliveries are in memory."""
        return self._memory.rows

    def next_due_ms(self) -> float:
        """When the next delivery in memory is due; `NEVER` where there is none."""
        due_ms = self._wheel.next_due_ms()
        return NEVER if due_ms is None else due_ms

    def oldest_due_ms(self) -> float:
        """When the longest-waiting delivery was due; `NEVER` where nothing is."""
        waiting: Iterable[float] = (
            turn.lane.oldest_due_ms() for turn in self._turns.values() if not turn.lane.paused
        )
        return min(waiting, default=NEVER)

"""The life of one attempt: from a slot that was taken to a result that is queued for the disk."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from prynt_relay.clock import Clock
from prynt_relay.dispatch.attempt import Consequences
from prynt_relay.dispatch.doors import AttemptObserver, DeliveryStore, Sender, WebhookSource
from prynt_relay.dispatch.folding import FOLD_MAX, Folding, MissingEventError
from prynt_relay.dispatch.lane import Lane
from prynt_relay.dispatch.pace import Pace
from prynt_relay.dispatch.pager import EventLoader
from prynt_relay.dispatch.settling import Settling
from prynt_relay.dispatch.slots import Slots, Standing, Turn
from prynt_relay.model.delivery import AttemptResult, DueDelivery, Message
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Outcome
from prynt_relay.model.webhook import Health, Webhook
from prynt_relay.schedule.disable import Verdict

DRIP_S: Final = 0.05
"""A body that is cut off longer than this after its headers is a drip.

One that comes late and whole is none: its connection serves again.
"""

DRIP_HOLD_S: Final = 0.6
"""For how much longer a drip holds its slot, which limits how often it can be repeated.

With the time that the transport waits for a 2xx's body a little more than a second.
"""

DRIP_CHARGE_S: Final = 2.0
"""What a drip counts as when its webhook's standing is judged."""


class Attempts:
    """Makes attempts, and decides what came of them."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: DeliveryStore,
        sender: Sender,
        webhooks: WebhookSource,
        slots: Slots,
        pace: Pace,
        settling: Settling,
        consequences: Consequences,
        on_attempt: Sequence[AttemptObserver],
        on_popped: Callable[[Lane], None],
        on_freed: Callable[[], None],
    ) -> None:
        """`on_popped` is told of a lane from which many deliveries were taken at once.

        `on_freed` is told of a slot that comes back later than its attempt ended.
        """
        self.consequences = consequences
        self._clock = clock
        self._sender = sender
        self._webhooks = webhooks
        self._slots = slots
        self._pace = pace
        self._settling = settling
        self.on_attempt = on_attempt
        self._on_popped = on_popped
        self._on_freed = on_freed
        self._events = EventLoader(store)
        self._folding = Folding(store, sender)

    async def make(self, turn: Turn, delivery: DueDelivery) -> None:
        """Make the attempt for which `turn` was given a slot, which comes back in any case.

        Cancelled, it doesn't count: the row is still scheduled.
        """
        disablings = turn.lane.disablings
        try:
            event: StoredEvent | None = delivery.event or await self._events.get(delivery.event_row)
            webhook = self._wanting(turn, disablings)
            if webhook is None:
                turn.lane.busy.discard(delivery.row)
                self._slots.unused(turn)
                return
            if event is None:
                msg = f"scheduled delivery {delivery.row} has no event {delivery.event_row}"
                raise RuntimeError(msg)
            result = await self._sender.send(webhook, event, delivery.format)
        except BaseException:
            turn.lane.busy.discard(delivery.row)
            self._slots.unused(turn)
            raise
        self._give_back(turn, result)
        held = turn.lane.disablings != disablings
        self._finish(turn, webhook, result, ((delivery, event),), held=held)

    async def make_message(self, turn: Turn, delivery: DueDelivery) -> None:
        """The same where the webhook's format allows one message at a time: others go along.

        One request stands for all of them; each has its own attempt in the log.
        """
        deliveries = turn.lane.pop_along(delivery, FOLD_MAX)
        self._on_popped(turn.lane)
        try:
            if len(deliveries) == 1:
                await self.make(turn, delivery)
            else:
                await self._make_for_all(turn, deliveries)
        finally:
            self._pace.end(turn)

    async def _make_for_all(self, turn: Turn, deliveries: Sequence[DueDelivery]) -> None:
        first = deliveries[0]
        rows = [delivery.row for delivery in deliveries]
        disablings = turn.lane.disablings
        try:
            try:
                events, body = await self._folding.fold(deliveries)
            except MissingEventError:
                if self._wanting(turn, disablings) is not None:
                    raise
            webhook = self._wanting(turn, disablings)
            if webhook is None:
                turn.lane.busy.difference_update(rows)
                self._slots.unused(turn)
                return
            result = await self._sender.send(webhook, events[0], first.format, body=body)
        except BaseException:
            turn.lane.busy.difference_update(rows)
            self._slots.unused(turn)
            raise
        self._give_back(turn, result)
        head = events[0]
        message = Message(
            rows[0], rows[-1], len(rows), head.event_id, head.event_type, body
        )  # in the order of their rows: `pop_along`
        carried = list(zip(deliveries, events, strict=True))
        held = turn.lane.disablings != disablings
        self._finish(turn, webhook, result, carried, message, held=held)

    def _wanting(self, turn: Turn, disablings: int) -> Webhook | None:
        """The webhook as it is now, unless it was disabled or deleted since a slot was taken.

        Then its conversion takes care of the rows, also where it is enabled again by now.
        """
        webhook = self._webhooks.by_row(turn.lane.webhook_row)
        if webhook is None or not webhook.enabled or turn.lane.disablings != disablings:
            return None
        return webhook

    def _give_back(self, turn: Turn, result: AttemptResult) -> None:
        """Charge the attempt's time to its webhook and free the slot."""
        success = result.outcome is Outcome.SUCCESS
        if not result.cut_off or result.slot_s - result.duration_ms / 1000 < DRIP_S:
            self._free(turn, success=success, slot_s=result.slot_s)
            return

        def later() -> None:
            self._free(turn, success=success, slot_s=max(result.slot_s, DRIP_CHARGE_S))
            self._on_freed()

        # Hundreds of endpoints that answer and then drip would cost a new connection with every
        # attempt, several a second each: more than a processor has.
        self._clock.call_later(DRIP_HOLD_S, later)

    def _free(self, turn: Turn, *, success: bool, slot_s: float) -> None:
        changed = self._slots.give_back(turn, success=success, slot_s=slot_s)
        if changed and turn.lane.shrink():
            self._on_popped(turn.lane)

    def _finish(
        self,
        turn: Turn,
        webhook: Webhook,
        result: AttemptResult,
        carried: Sequence[tuple[DueDelivery, StoredEvent]],
        message: Message | None = None,
        *,
        held: bool,
    ) -> None:
        """Decide what the result means and queue it for the disk.

        `held` says that the webhook was disabled in the meantime, be it enabled again or not.
        For the 24-hour rule a message is one attempt, however many deliveries it carried, and none
        where they are samples that a person sends again.
        """
        now_ms = self._clock.schedule_ms()
        counts = any(not event.is_test for _, event in carried)
        health = self._judge(turn, webhook.row, result, now_ms) if counts else None
        current = self._webhooks.by_row(webhook.row)
        for delivery, event in carried:
            settlement = self.consequences.settlement(
                delivery,
                result,
                webhook=current,
                revision_row=webhook.revision_row,
                ended_ms=now_ms,
                health=health,
                message=message,
                held=held,
            )
            for observer in self.on_attempt:
                observer(settlement, webhook, event)
            delivery.event = None
            self._settling.add(settlement, delivery)

    def _judge(
        self, turn: Turn, webhook_row: int, result: AttemptResult, now_ms: int
    ) -> Health | None:
        """Apply the 24-hour rule; returns the webhook's health where that changed."""
        webhook = self._webhooks.by_row(webhook_row)
        if webhook is None:
            return None
        success = result.outcome is Outcome.SUCCESS
        proven = turn.standing is Standing.PROVEN
        before = webhook.health
        if success and before.failing_from_ms is None and before.proven is proven:
            return None
        health, verdict = self.consequences.health(
            before,
            success=success,
            proven=proven,
            wall_ms=self._clock.wall_ms(),
            schedule_ms=now_ms,
        )
        self._webhooks.set_health(webhook_row, health)
        if verdict is not Verdict.NOTHING and webhook.enabled:
            self._webhooks.failing(replace(webhook, health=health), verdict, result)
        return health

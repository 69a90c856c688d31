"""What an attempt's result means for its delivery and its webhook: pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from prynt_relay.model.delivery import AttemptResult, DueDelivery, Message, Settlement
from prynt_relay.model.states import DeliveryState, Outcome, Trigger
from prynt_relay.model.webhook import Health, Webhook
from prynt_relay.schedule.disable import DisablePolicy, Verdict
from prynt_relay.schedule.retry import next_attempt_ms


class Consequences:
    """Applies the retry schedule and the 24-hour rule (contract, section 4)."""

    def __init__(self, *, retry_schedule_s: Sequence[float], policy: DisablePolicy) -> None:
        self.retry_schedule_s = retry_schedule_s
        self.policy = policy

    def health(
        self, health: Health, *, success: bool, proven: bool, wall_ms: int, schedule_ms: int
    ) -> tuple[Health, Verdict]:
        """A webhook's health after an attempt, and what follows for the webhook."""
        verdict = Verdict.NOTHING
        if success:
            health = self.policy.after_success(health)
        else:
            health, verdict = self.policy.after_failure(
                health, wall_ms=wall_ms, schedule_ms=schedule_ms
            )
        if health.proven is not proven:
            health = replace(health, proven=proven)
        return health, verdict

    def settlement(
        self,
        delivery: DueDelivery,
        result: AttemptResult,
        *,
        webhook: Webhook | None,
        revision_row: int,
        ended_ms: int,
        health: Health | None,
        message: Message | None = None,
        held: bool = False,
    ) -> Settlement:
        """The delivery's new values.

        `webhook` is as it stands after the attempt (None: deleted while it was in flight);
        `ended_ms` is on the schedule's clock; `message` carried the delivery with others. `held`
        says that the webhook was disabled while it was in flight: then the delivery was held with
        all the others, and stays so though the webhook may be enabled again.
        """
        state, failures, next_ms = self._after(delivery, result, webhook, ended_ms)
        if held and state is DeliveryState.SCHEDULED:
            state, next_ms = DeliveryState.HELD, None
        return Settlement(
            delivery_row=delivery.row,
            webhook_row=delivery.webhook_row,
            revision_row=revision_row,
            number=delivery.attempts + 1,
            trigger=Trigger.MANUAL if delivery.manual else Trigger.SCHEDULE,
            result=result,
            state=state,
            failures=failures,
            next_attempt_ms=next_ms,
            health=health,
            message=message,
        )

    def _after(
        self,
        delivery: DueDelivery,
        result: AttemptResult,
        webhook: Webhook | None,
        ended_ms: int,
    ) -> tuple[DeliveryState, int, int | None]:
        if result.outcome is Outcome.SUCCESS:
            return DeliveryState.DELIVERED, delivery.failures, None
        if webhook is None:
            return DeliveryState.CANCELLED, delivery.failures, None
        if delivery.resume_ms is not None:
            # A manual attempt in the middle of a schedule leaves the schedule as it was.
            failures, next_ms = delivery.failures, max(delivery.resume_ms, ended_ms)
        else:
            failures = delivery.failures + 1
            schedule_s = webhook.retry_schedule_s
            if schedule_s is None:
                schedule_s = tuple(self.retry_schedule_s)
            after = next_attempt_ms(schedule_s, failures, ended_ms)
            if after is None:
                return DeliveryState.FAILED, failures, None
            next_ms = after
        if not webhook.enabled:
            return DeliveryState.HELD, failures, None
        return DeliveryState.SCHEDULED, failures, next_ms

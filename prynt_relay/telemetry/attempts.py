"""The one wide line that the log has for every attempt."""

import structlog

from prynt_relay.model import ids
from prynt_relay.model.delivery import Settlement
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Outcome
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.model.webhook import Webhook
from prynt_relay.telemetry.logs import enabled

_log = structlog.get_logger(__name__)


def attempt_finished(
    settlement: Settlement, webhook: Webhook | None, event: StoredEvent, *, offset_ms: int = 0
) -> None:
    """Log one attempt with its ids, outcome and consequences: failures as warnings.

    A success is logged at debug only, and costs one comparison where that is off. `webhook` is
    None where it was deleted while the attempt was under way. No URL (its host only), header,
    body or secret is in the line. A message that carried several deliveries has one line, the
    first delivery's, with their number. `offset_ms` is what the wall is ahead of the schedule.
    """
    result, message = settlement.result, settlement.message
    if message is not None and message.first_row != settlement.delivery_row:
        return
    success = result.outcome is Outcome.SUCCESS
    if not enabled("debug" if success else "warning"):
        return
    next_ms = settlement.next_attempt_ms
    fields = {
        "webhook_id": webhook.id if webhook else None,
        "event_id": event.event_id,
        "delivery_id": ids.delivery_id(settlement.delivery_row),
        "event_type": event.event_type,
        "host": webhook.host if webhook else None,
        "number": settlement.number,
        "trigger": settlement.trigger.label,
        "outcome": result.outcome.label,
        "status": result.status,
        "duration_ms": result.duration_ms,
        "error": result.error,
        "state": settlement.state.label,
        "next_attempt_at": iso_ms(next_ms + offset_ms) if next_ms is not None else None,
        "deliveries": message.count if message is not None else None,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    if success:
        _log.debug("an attempt succeeded", action="attempt", **known)
    else:
        _log.warning("an attempt failed", action="attempt", **known)

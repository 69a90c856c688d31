"""Deliveries and their attempts."""

import msgspec

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import DeliveryState, Format, Outcome, Trigger
from prynt_relay.model.webhook import Health


class DueDelivery(msgspec.Struct, gc=False):
    """A scheduled delivery, as the dispatcher holds it.

    `due_ms` is `next_attempt_at` on the schedule's clock. `failures` counts the failed attempts
    of the present schedule (it picks the next delay), `attempts` all that were ever made (it
    numbers the next). `manual` says that a person asked for the next attempt; `resume_ms`, only
    set for a manual attempt in the middle of a schedule, is when the schedule goes on if that
    attempt fails, with `failures` as they were. `event` spares a read where there is memory for it.
    """

    row: int
    webhook_row: int
    event_row: int
    due_ms: int
    received_at_ms: int
    failures: int = 0
    attempts: int = 0
    manual: bool = False
    resume_ms: int | None = None
    format: Format = Format.PRYNT
    event: StoredEvent | None = None


class AttemptResult(msgspec.Struct, frozen=True, gc=False):
    """What one attempt came to, as the transport saw it.

    `started_at_ms` is wall time and the request's `X-Prynt-Timestamp` its second.
    `duration_ms` runs to the response's headers (or the failure); `slot_s` to the moment when the
    connection was given up. `signature` is opaque outside the transport: what it needs to show
    the request's signature headers again. `response_headers` are `Name: value` lines joined by
    CRLF. `error` is for people and names neither the URL nor a secret. `truncated` says that not
    all of what came was kept, `cut_off` that the body hadn't ended when it was given up.
    """

    outcome: Outcome
    started_at_ms: int
    duration_ms: int
    slot_s: float
    signature: bytes
    status: int | None = None
    error: str | None = None
    response_headers: bytes | None = None
    response_body: bytes | None = None
    truncated: bool = False
    cut_off: bool = False


class Message(msgspec.Struct, frozen=True, gc=False):
    """One request that carried several deliveries (contract, section 9: a folded burst).

    `first_row` is the delivery whose event the request's headers name (`event_id`, `event_type`),
    `last_row` the newest of the `count` deliveries. `body` is what was sent: it can't be made
    again from one delivery's event.
    """

    first_row: int
    last_row: int
    count: int
    event_id: str
    event_type: str
    body: bytes


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """An attempt with its consequences, for the store to write in one piece.

    `state`, `next_attempt_ms`, `resume_ms` and `failures` are the delivery's new values;
    `number` counts this attempt in. `health`, where set, replaces the webhook's. `message` is one
    object for all attempts that one request stands for; they are settled in one batch, one after
    the other.
    """

    delivery_row: int
    webhook_row: int
    revision_row: int
    number: int
    trigger: Trigger
    result: AttemptResult
    state: DeliveryState
    failures: int
    next_attempt_ms: int | None = None
    health: Health | None = None
    message: Message | None = None

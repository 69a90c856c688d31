"""For the receiving end: verify a delivery, read it, handle it once.

    from prynt_relay.receiver import SQLiteGuard, WebhookError, receive

    guard = SQLiteGuard("webhooks.db")

    def handle(raw_body: bytes, headers: Mapping[str, str]) -> int:
        try:
            event = receive(raw_body, headers, [SECRET])
        except WebhookError as error:
            return 401
        if guard.first(event.idempotency_key):
            queue.put(event)            # answer at once, work afterwards
        return 200

Nothing here needs more than the standard library.
"""

from prynt_relay.receiver.errors import (
    MalformedEventError,
    MalformedHeaderError,
    MissingHeaderError,
    SignatureMismatchError,
    TimestampError,
    WebhookError,
)
from prynt_relay.receiver.event import Event, parse
from prynt_relay.receiver.idempotency import Guard, KeyValueGuard, SQLiteGuard
from prynt_relay.receiver.signature import TOLERANCE_S, receive, verify

__all__ = [
    "TOLERANCE_S",
    "Event",
    "Guard",
    "KeyValueGuard",
    "MalformedEventError",
    "MalformedHeaderError",
    "MissingHeaderError",
    "SQLiteGuard",
    "SignatureMismatchError",
    "TimestampError",
    "WebhookError",
    "parse",
    "receive",
    "verify",
]

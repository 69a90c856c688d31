"""A client for the intake socket: for programs that hand events to the relay.

    from prynt_relay.publisher import Publisher

    with Publisher("/run/prynt-relay/events.sock") as publisher:
        accepted = publisher.publish("verdict.block", {"visitorId": "pv_8kX2mNqR3jT7p"})
        print(accepted.event_id)

`Publisher` blocks, `AsyncPublisher` awaits; otherwise they are the same. Both keep one connection,
send without waiting for answers, reconnect when the relay restarts, and send again, with the same
idempotency key, what was not answered. Of every event the caller learns the truth: `Accepted`, or
an error that says whether the relay may have taken it.

Standard library only. Nothing is loaded before it is used, so importing this costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prynt_relay.publisher.aio import AsyncPublisher
    from prynt_relay.publisher.blocking import Publisher
    from prynt_relay.publisher.outcomes import (
        Accepted,
        BufferFullError,
        ClosedError,
        PublishError,
        RefusedError,
        UnansweredError,
    )

__all__ = [
    "Accepted",
    "AsyncPublisher",
    "BufferFullError",
    "ClosedError",
    "PublishError",
    "Publisher",
    "RefusedError",
    "UnansweredError",
]

_HOMES = {"AsyncPublisher": "aio", "Publisher": "blocking"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'outcomes')}"), name)

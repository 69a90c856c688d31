"""What becomes of a published event."""

from typing import NamedTuple


class Accepted(NamedTuple):
    """The relay has the event and its deliveries on disk.

    `duplicate` says that it had the key (or the id) before. Where `resent` is true too, that may
    have been this very event, sent before a connection was lost. `idempotency_key` is the one that
    was sent: the caller's, or the one made for it.
    """

    event_id: str
    duplicate: bool
    idempotency_key: str
    resent: bool = False


class PublishError(Exception):
    """The event was not accepted, or nobody knows whether it was."""


class RefusedError(PublishError):
    """The relay refused the event, and has nothing of it.

    `code` is the relay's: `invalid_json`, `invalid_event`, `unknown_event_type` and
    `payload_too_large` won't change by trying again. `storage_unavailable` and `shutting_down`
    may; the client has tried them again until the event's time was over.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class UnansweredError(PublishError):
    """The event's time was over before the relay answered.

    `maybe_accepted` is False where it certainly was not accepted: it was never sent. Where it is
    True, publish it again with the same `idempotency_key` to be sure of it without a second event.
    """

    def __init__(self, why: str, *, maybe_accepted: bool, idempotency_key: str) -> None:
        sent = "sent, but not answered" if maybe_accepted else "not sent"
        super().__init__(f"{sent}: {why}")
        self.maybe_accepted = maybe_accepted
        self.idempotency_key = idempotency_key


class BufferFullError(PublishError):
    """The buffer is full and the publisher was told not to wait; nothing was taken."""


class ClosedError(PublishError):
    """The publisher is closed; nothing was taken."""

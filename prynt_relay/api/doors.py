"""What the API asks of the other rooms, as protocols.

Whatever goes wrong comes as one of the family of `prynt_relay.errors`: InvalidFieldError (400),
NotFoundError (404), ConflictError (409), RefusedEventError (400 or 413), StorageUnavailableError
and ShuttingDownError (503).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from prynt_relay.model.event import Appended, NewEvent, StoredEvent
from prynt_relay.model.states import DeliveryState, Format
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput

T = TypeVar("T")


class Storage(Protocol):
    """The store's two seams for functions of a connection."""

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` in a read-only transaction; it must be short, for it pins the log."""
        ...

    def write(self, fn: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run `fn` inside the writer's next transaction; done once that is synced."""
        ...


class WebhookRegistry(Protocol):
    """The live set of webhooks, without those that were deleted."""

    def __iter__(self) -> Iterator[Webhook]:
        """All webhooks, oldest first."""
        ...

    def by_id(self, public_id: str, /) -> Webhook | None:
        """Return the webhook with this public id, or None."""
        ...


class Rotation(Protocol):
    """A new signing secret and when it takes over."""

    @property
    def secret(self) -> str:
        """The secret, in clear."""
        ...

    @property
    def active_from_ms(self) -> int:
        """From when on it signs (wall)."""
        ...


class FilterFailures(Protocol):
    """How often a webhook's filter failed, and how the last time."""

    @property
    def count(self) -> int:
        """Events that it failed on."""
        ...

    @property
    def last_at_ms(self) -> int:
        """When it failed last (wall)."""
        ...

    @property
    def last_error(self) -> str:
        """Why, without anything that the event holds."""
        ...


class WebhookChanges(Protocol):
    """Everything that changes webhooks or sends something again.

    Each returns once what it did is on disk and the live set knows of it.
    """

    async def create(self, new: WebhookInput) -> tuple[Webhook, str]:
        """Make a webhook; returns it with its signing secret."""
        ...

    async def patch(self, webhook_id: str, changes: WebhookInput) -> Webhook:
        """Change what `changes` mentions; returns the webhook as it is then."""
        ...

    async def delete(self, webhook_id: str) -> None:
        """Delete it; what was scheduled or held becomes cancelled, much of it in the background."""
        ...

    async def rotate(self, webhook_id: str, activate_in_s: float) -> Rotation:
        """Make a new secret that takes over after `activate_in_s`; replaces a pending one."""
        ...

    async def test(self, webhook_id: str, event_type: str | None) -> int:
        """Deliver a sample now, also on a disabled webhook; returns the settled delivery's row.

        None picks a type that the webhook is subscribed to.
        """
        ...

    async def retry_window(
        self,
        webhook_id: str,
        since_ms: int,
        until_ms: int | None,
        states: frozenset[DeliveryState],
    ) -> int:
        """Send again what the relay received in the window and is in one of `states`.

        `since_ms <= received < until_ms`. Of SCHEDULED only those that have failed at least
        once. Returns how many.
        """
        ...

    async def retry_one(self, delivery_row: int) -> None:
        """Make one delivery's next attempt now (contract, section 4's manual retry)."""
        ...


class EventParser(Protocol):
    """The rules for events, shared with the socket; safe to use from any thread."""

    def parse_many(self, body: bytes) -> list[NewEvent]:
        """Check one event's JSON or an array of up to 1,000; all of them or none.

        Raises RefusedEventError with section 3's code; the message names the index.
        """
        ...


class EventIntake(Protocol):
    """The one way in for events, shared with the socket."""

    @property
    def parser(self) -> EventParser:
        """The rules in force."""
        ...

    def count_refused(self, code: str) -> None:
        """Count a request that the parser refused."""
        ...

    async def room(self) -> None:
        """Return when more can be taken without a queue growing past its bound."""
        ...

    async def accept(self, events: Sequence[NewEvent]) -> list[Appended]:
        """Store all of them or none, in one piece; returns once they are synced."""
        ...


class RequestPicture(Protocol):
    """How a request looked, with what is secret masked."""

    @property
    def url(self) -> str:
        """Where it went."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers in the order of sending."""
        ...


class Describe(Protocol):
    """`transport.describe`: an attempt's request, rebuilt from what the log keeps."""

    def __call__(
        self,
        template: str,
        event: StoredEvent,
        started_at_ms: int,
        signature: bytes,
        body: bytes,
        *,
        format: Format | None = None,
    ) -> RequestPicture:
        """Return the request's picture; `template` is the webhook's revision at the time."""
        ...


class Render(Protocol):
    """`transport.formats.render`: a delivery's body."""

    def __call__(self, format: Format, event: StoredEvent, webhook_id: str, /) -> bytes:
        """Return the same bytes as every attempt sent."""
        ...


class SecretBox(Protocol):
    """Encryption at rest, as the store has it."""

    def seal(self, plain: bytes, bound_to: str) -> tuple[bytes, str | None]:
        """Encrypt for one row; returns the text and its key's id (None: kept in clear)."""
        ...

    def open(self, sealed: bytes, key_id: str | None, bound_to: str) -> bytes:
        """Decrypt what `seal` made; raises StorageError where the key is gone."""
        ...


class KeyCheck(Protocol):
    """Tells the API key from every other token."""

    def valid(self, token: str) -> bool:
        """Whether `token` is the key that is valid now."""
        ...

"""The webhooks as they are now, in memory, and which of them an event goes to."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from msgspec.structs import replace

from prynt_relay.model.event import NewEvent, Target
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Health, Webhook

WEBHOOKS_MAX: Final = 100_000
"""Most webhooks at a time; creating one more is refused."""


class Matching(Protocol):
    """An event on its way through filters."""

    def go_on(self) -> list[Webhook] | None:
        """The webhooks that match, once all were asked; None: again in a later turn."""
        ...


Matches = Callable[[NewEvent, list[Webhook]], Matching]
"""Given an event and the webhooks with a filter that are subscribed to it: begin to ask them."""


class Unfinished:
    """An event that there are too many filters for to ask all of them in one turn of the loop."""

    __slots__ = ("_event", "_matching", "_plain", "_registry")

    def __init__(
        self,
        registry: "Registry",
        event: NewEvent,
        matching: Matching,
        plain: tuple[Target, ...],
    ) -> None:
        self._registry = registry
        self._event = event
        self._matching = matching
        self._plain = plain

    def go_on(self) -> tuple[Target, ...] | None:
        """Where the event goes, as its webhooks stand now; None: ask again in a later turn.

        It goes to those that were there when it came in.
        """
        matched = self._matching.go_on()
        if matched is None:
            return None
        found = self._plain + tuple(map(_target, matched))
        return self._registry.revised(self._event, found)


class Registry:
    """All webhooks that aren't deleted, by row and by id, and by what they subscribe to.

    The list of an event type's subscribers is made once and kept until a webhook changes, so
    matching an event costs the same however many webhooks there are.
    """

    def __init__(self, webhooks: Iterable[Webhook] = (), *, matches: Matches) -> None:
        self._by_row: dict[int, Webhook] = {}
        self._row_by_id: dict[str, int] = {}
        self._matches = matches
        self._plain: dict[str, tuple[Target, ...]] = {}
        self._filtered: dict[str, list[Webhook]] = {}
        for webhook in webhooks:
            self.put(webhook)

    def __len__(self) -> int:
        """How many webhooks there are."""
        return len(self._by_row)

    def __iter__(self) -> Iterator[Webhook]:
        """All webhooks, oldest first."""
        return iter(list(self._by_row.values()))

    def by_row(self, row: int) -> Webhook | None:
        """The webhook in `row`, or None."""
        return self._by_row.get(row)

    def by_id(self, public_id: str) -> Webhook | None:
        """The webhook with a public id, or None."""
        row = self._row_by_id.get(public_id)
        return None if row is None else self._by_row[row]

    def put(self, webhook: Webhook) -> None:
        """Add a webhook, or replace it by its newer self."""
        self._by_row[webhook.row] = webhook
        self._row_by_id[webhook.id] = webhook.row
        self._forget_matches()

    def remove(self, row: int) -> None:
        """Forget a webhook that was deleted."""
        webhook = self._by_row.pop(row, None)
        if webhook is not None:
            del self._row_by_id[webhook.id]
            self._forget_matches()

    def set_health(self, row: int, health: Health) -> None:
        """Remember a webhook's health; it has no part in matching."""
        webhook = self._by_row.get(row)
        if webhook is not None:
            self._by_row[row] = replace(webhook, health=health)

    def targets(self, event: NewEvent) -> tuple[Target, ...] | Unfinished:
        """Where an event goes, as things stand at this moment, if that can be told at once."""
        plain = self._plain.get(event.event_type)
        if plain is None:
            plain = self._index(event.event_type)
        filtered = self._filtered[event.event_type]
        if not filtered:
            return plain
        matching = self._matches(event, [self._by_row[webhook.row] for webhook in filtered])
        matched = matching.go_on()
        if matched is None:
            return Unfinished(self, event, matching, plain)
        return plain + tuple(map(_target, matched))

    def revised(self, event: NewEvent, targets: Iterable[Target]) -> tuple[Target, ...]:
        """What was found in an earlier turn of the loop, as things stand at this moment.

        Without webhooks that were deleted or unsubscribed since; in their states and formats.
        """
        webhooks = [self._by_row.get(target.webhook_row) for target in targets]
        return tuple(
            _target(webhook)
            for webhook in webhooks
            if webhook is not None and _is_subscribed(webhook, event.event_type)
        )

    def _index(self, event_type: str) -> tuple[Target, ...]:
        subscribed = [
            webhook for webhook in self._by_row.values() if _is_subscribed(webhook, event_type)
        ]
        plain = tuple(_target(webhook) for webhook in subscribed if webhook.filter is None)
        self._filtered[event_type] = [w for w in subscribed if w.filter is not None]
        # Bounded by the known event types: intake refuses all others.
        self._plain[event_type] = plain
        return plain

    def _forget_matches(self) -> None:
        self._plain.clear()
        self._filtered.clear()


def _is_subscribed(webhook: Webhook, event_type: str) -> bool:
    return webhook.events == ("*",) or event_type in webhook.events


def _target(webhook: Webhook) -> Target:
    state = DeliveryState.SCHEDULED if webhook.enabled else DeliveryState.HELD
    return Target(webhook.row, state, webhook.format)

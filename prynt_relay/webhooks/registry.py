"""The webhooks as they are now, in memory, and which of them an event goes to."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from prynt_relay.model.event import NewEvent, Target
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Health, Webhook

WEBHOOKS_MAX: Final = 100_000
"""Most webhooks at a time; creating one more is refused."""

Matches = Callable[[NewEvent, list[Webhook]], Iterable[Webhook]]
"""Given an event and the webhooks with a filter that are subscribed to it: those that match."""


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

    def targets(self, event: NewEvent) -> tuple[Target, ...]:
        """Where an event goes, as things stand at this moment."""
        plain = self._plain.get(event.event_type)
        if plain is None:
            plain = self._index(event.event_type)
        filtered = self._filtered[event.event_type]
        if not filtered:
            return plain
        current = [self._by_row[webhook.row] for webhook in filtered]
        return plain + tuple(_target(webhook) for webhook in self._matches(event, current))

    def _index(self, event_type: str) -> tuple[Target, ...]:
        subscribed = [
            webhook
            for webhook in self._by_row.values()
            if webhook.events == ("*",) or event_type in webhook.events
        ]
        plain = tuple(_target(webhook) for webhook in subscribed if webhook.filter is None)
        self._filtered[event_type] = [w for w in subscribed if w.filter is not None]
        # Bounded by the known event types: intake refuses all others.
        self._plain[event_type] = plain
        return plain

    def _forget_matches(self) -> None:
        self._plain.clear()
        self._filtered.clear()


def _target(webhook: Webhook) -> Target:
    state = DeliveryState.SCHEDULED if webhook.enabled else DeliveryState.HELD
    return Target(webhook.row, state, webhook.format)

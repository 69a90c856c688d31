"""Which rows of a list are samples: tests that somebody sent, among what really happened."""

from collections.abc import Iterable

from prynt_relay.api.deps import Deps
from prynt_relay.model import ids
from prynt_relay.store.samples import sample_events_among, samples_among


async def sample_deliveries(deps: Deps, delivery_ids: Iterable[str]) -> set[str]:
    """Return those of the deliveries that a test made."""
    by_row = {ids.delivery_row(each): each for each in delivery_ids}
    rows = [row for row in by_row if row is not None]
    found = await deps.storage.read(lambda conn: samples_among(conn, rows))
    return {by_row[row] for row in found}


async def sample_events(deps: Deps, event_ids: Iterable[str]) -> set[str]:
    """Return those of the events that a test made; their ids are always the relay's own."""
    by_row = {made[0]: each for each in event_ids if (made := ids.event_row(each)) is not None}
    found = await deps.storage.read(lambda conn: sample_events_among(conn, list(by_row)))
    return {by_row[row] for row in found}

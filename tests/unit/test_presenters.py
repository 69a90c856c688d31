"""How rows of the log are shown."""

import pytest

from prynt_relay.api import presenters
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.store.history import DeliveryRow

CREATED_MS = 1_790_000_000_731


@pytest.mark.parametrize(
    ("due_ms", "offset_ms", "shown_ms"),
    [
        (CREATED_MS - 1, 0, CREATED_MS),  # the schedule's clock a moment behind the wall's
        (CREATED_MS, 0, CREATED_MS),
        (CREATED_MS + 300_000, 0, CREATED_MS + 300_000),
        (CREATED_MS + 300_000, -3_600_000, CREATED_MS - 3_300_000),  # the wall was set back
    ],
)
def test_nothing_is_due_a_moment_before_it_is(due_ms: int, offset_ms: int, shown_ms: int) -> None:
    """What the rounding of two clocks' distance makes of a new delivery isn't shown."""
    row = DeliveryRow(
        1, 1, "wh_1", 1, None, "verdict.block", DeliveryState.SCHEDULED, CREATED_MS, due_ms, 0,
        None, None,
    )  # fmt: skip
    assert presenters.delivery(row, offset_ms).next_attempt_at == iso_ms(shown_ms)

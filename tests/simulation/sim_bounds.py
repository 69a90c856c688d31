"""Bounds of the relay made so small that a handful of deliveries reaches them.

A few webhooks and events stand for ten thousand of them: what is done in pages, chunks and steps
takes several here, and what doesn't fit into memory does so here too. The code is the same.
"""

import contextlib
from types import ModuleType
from typing import Final
from unittest import mock

from prynt_relay.dispatch import backlog, dispatcher, lane, pager
from prynt_relay.store import append, batch_bound, connection, fanout, purge, retention
from prynt_relay.webhooks import conversions

SMALL: Final[tuple[tuple[ModuleType, str, int], ...]] = (
    (append, "MAX_TARGETS", 2),
    (append, "MAX_DELIVERIES", 6),
    (fanout, "CHUNK", 2),
    (batch_bound, "MOST_ROWS", 8),
    (conversions, "CHUNK_ROWS", 3),
    (lane, "LANE_ROWS", 12),
    (lane, "SLOW_ROWS", 8),
    (lane, "TOTAL_ROWS", 40),
    (lane, "LOW_WATER", 4),
    (lane, "OVERLAY_ROWS", 6),
    (lane, "PAGE_ROWS", 6),
    (pager, "PAGE_ROWS", 6),
    (backlog, "PAGE_ROWS", 6),
    (dispatcher, "BULK_ROWS", 6),
    (purge, "EXAMINED", 3),
    (retention, "STEP_ROWS", 4),
    (connection, "PAGE_BYTES", 1024),
)


def small_bounds() -> contextlib.ExitStack:
    """Make them small until this is closed."""
    stack = contextlib.ExitStack()
    for module, name, value in SMALL:
        stack.enter_context(mock.patch.object(module, name, value))
    return stack

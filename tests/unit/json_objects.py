"""JSON texts of every shape that intake lets in, for tests of what reads or passes them."""

import json
from typing import Any

from hypothesis import strategies as st

from prynt_relay.model.event import StoredEvent

_MARK = "\x00number\x00"
_NUMBERS = ("1e999", "-1e999", "1E-999", "9" * 5_000, "-0", "0.10", "12345678901234567890123")
"""Valid numbers that no double or machine word holds, or that change when written again."""

texts = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    ["\ud800", "a\udc00b", "<!channel> & `code` *bold*", "x" * 5_000, "🦊" * 3_000, "", " \n\t "]
)
"""Lone surrogates too: JSON can escape them."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from((10**309, -(10**400), 1 << 1024))  # beyond every double
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(_NUMBERS).map(lambda number: _MARK + number)
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def encode(value: Any) -> bytes:
    """The value as JSON; marked texts become the numbers that they hold."""
    text = json.dumps(value)
    mark = json.dumps(_MARK)[1:-1]
    while (start := text.find(f'"{mark}')) >= 0:
        end = text.index('"', start + 1)
        text = text[:start] + text[start + 1 + len(mark) : end] + text[end + 1 :]
    return text.encode()


def objects(*names: str) -> st.SearchStrategy[bytes]:
    """Objects with any members, among them often some with these names."""
    keys = st.sampled_from(names) | texts if names else texts
    return st.dictionaries(keys, values, max_size=8).map(encode)


def event(data: bytes | dict[str, Any], event_type: str = "identification.complete") -> StoredEvent:
    """A stored event with this data."""
    return StoredEvent(
        row=1,
        event_id="evt_9fJ3kL7mNpR2x",
        event_type=event_type,
        api_version="2026-01-15",
        event_source="urn:prynt-relay",
        created_at_ms=1_771_069_522_341,
        received_at_ms=1_771_069_522_400,
        idempotency_key="idk_a7f2c9e1b3d4",
        data=data if isinstance(data, bytes) else json.dumps(data).encode(),
    )

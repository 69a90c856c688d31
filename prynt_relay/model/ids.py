"""The public ids and the numbers behind them (contract, section 4).

What the relay makes is unique by construction: `evt_`, `del_` and `idk_` are computed from a row
number that is never given out twice, also not by a restored or a new database
(prynt_relay.store.numbers), and can be computed back, so they need no index.
"""

import base64
import functools
import re
from collections.abc import Callable
from typing import Final

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BODY_LENGTH: Final = 13
ROW_BITS: Final = 44
"""Room for 17.6 million million rows. The clock moves numbers on by 16,384 a second (see
`store.numbers`): until 2055 that takes seven eighths of them."""

_ROW_MASK: Final = (1 << ROW_BITS) - 1
_DIGIT: Final = {char: value for value, char in enumerate(BASE62)}
_PAIRS: Final = tuple(a + b for a in BASE62 for b in BASE62)
_ID: Final = re.compile(r"(wh|evt|del)_[0-9A-Za-z]{13}\Z")
_KEY: Final = re.compile(r"idk_[0-9a-f]{12}\Z")

# A bijection of 48-bit numbers (odd multiplier, xor): neighbouring rows get unlike keys.
_KEY_BITS: Final = 48
_KEY_MASK: Final = (1 << _KEY_BITS) - 1
_KEY_FACTOR: Final = 0x9E3779B97F4B
_KEY_INVERSE: Final = pow(_KEY_FACTOR, -1, 1 << _KEY_BITS)
_KEY_XOR: Final = 0x5A17C3E94B2D

# The same for 64-bit delivery rows, so that a `del_` id doesn't tell how many there are.
_DELIVERY_MASK: Final = (1 << 64) - 1
_DELIVERY_FACTOR: Final = 0x9E3779B97F4A7C15
_DELIVERY_INVERSE: Final = pow(_DELIVERY_FACTOR, -1, 1 << 64)
_DELIVERY_XOR: Final = 0x2545F4914F6CDD1D


def _to_base62(value: int) -> str:
    """Thirteen digits, two at a time: this runs once or twice for every event."""
    pairs = _PAIRS
    value, a = divmod(value, 3844)
    value, b = divmod(value, 3844)
    value, c = divmod(value, 3844)
    value, d = divmod(value, 3844)
    value, e = divmod(value, 3844)
    value, f = divmod(value, 3844)
    return BASE62[value] + pairs[f] + pairs[e] + pairs[d] + pairs[c] + pairs[b] + pairs[a]


def _from_base62(text: str) -> int:
    value = 0
    for char in text:
        value = value * 62 + _DIGIT[char]
    return value


def is_id(kind: str, text: str) -> bool:
    """Whether `text` has the form of an id of `kind` (`wh`, `evt` or `del`)."""
    match = _ID.match(text)
    return match is not None and match[1] == kind


@functools.lru_cache(maxsize=256)
def _leading(value: int) -> str:
    """The first nine digits of an event's id, which neighbours share."""
    return _to_base62(value)[-9:]


def event_id(row: int, received_at_ms: int) -> str:
    """The id of the event in `row`; it begins with its second, so ids sort by time."""
    leading, rest = divmod((received_at_ms // 1000) << ROW_BITS | row, 3844 * 3844)
    high, low = divmod(rest, 3844)
    return "evt_" + _leading(leading) + _PAIRS[high] + _PAIRS[low]


def event_row(text: str) -> tuple[int, int] | None:
    """The row and the second that a relay-made event id holds, or None if it can't be one.

    An id that a publisher chose decodes to something too: the row's own id decides.
    """
    if not is_id("evt", text):
        return None
    value = _from_base62(text[4:])
    second, row = value >> ROW_BITS, value & _ROW_MASK
    return (row, second) if second < 1 << 33 and row else None


def delivery_id(row: int) -> str:
    """The id of the delivery in `row`."""
    return "del_" + _to_base62((row * _DELIVERY_FACTOR & _DELIVERY_MASK) ^ _DELIVERY_XOR)


def delivery_row(text: str) -> int | None:
    """The row behind a delivery id, or None where no row can have it."""
    if not is_id("del", text):
        return None
    value = _from_base62(text[4:])
    if value > _DELIVERY_MASK:
        return None
    row = (value ^ _DELIVERY_XOR) * _DELIVERY_INVERSE & _DELIVERY_MASK
    return row if 0 < row < 1 << 63 else None


def idempotency_key(row: int) -> str:
    """The idempotency key of an event whose publisher gave none."""
    return "idk_%012x" % ((row * _KEY_FACTOR & _KEY_MASK) ^ _KEY_XOR)


def idempotency_row(text: str) -> int | None:
    """The event row behind a relay-made key, or None if the text isn't of that form."""
    if not _KEY.match(text):
        return None
    return (int(text[4:], 16) ^ _KEY_XOR) * _KEY_INVERSE & _KEY_MASK


def new_webhook_id(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh webhook id; the store refuses one that it has had before and asks again."""
    return "wh_" + _to_base62(int.from_bytes(random_bytes(16)) % 62**BODY_LENGTH)


def new_signing_secret(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh signing secret: `whsec_` and 24 random bytes in base64."""
    return "whsec_" + base64.b64encode(random_bytes(24)).decode()


def new_api_key(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh API key: `sk_live_` and 24 random bytes in URL-safe base64."""
    return "sk_live_" + base64.urlsafe_b64encode(random_bytes(24)).decode()

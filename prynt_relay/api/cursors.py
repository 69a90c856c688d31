"""Cursors: where a list goes on, and which list that was.

A cursor is opaque to callers: base64 of a version, the list's name, its filters as they were
resolved for the first page (so that `since=24h` means the same moment on every page) and the
position. A checksum turns garbage and cut-off cursors into a clear error; it is no secret, since
a cursor grants nothing that its list doesn't show anyway.
"""

import base64
import binascii
import hashlib
from typing import Any, Final

import msgspec

from prynt_relay.errors import InvalidFieldError

_VERSION: Final = 1
_CHECK_BYTES: Final = 6
MAX_LENGTH: Final = 1024


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """A position in a list. `given` are the filters in the caller's words."""

    version: int
    kind: str
    given: dict[str, str]
    since_ms: int | None
    until_ms: int | None
    position: tuple[int, ...]


def encode_cursor(
    kind: str,
    given: dict[str, str],
    since_ms: int | None,
    until_ms: int | None,
    position: tuple[int, ...],
) -> str:
    """Return the text of a cursor."""
    packed = msgspec.msgpack.encode(Cursor(_VERSION, kind, given, since_ms, until_ms, position))
    return base64.urlsafe_b64encode(_check(packed) + packed).rstrip(b"=").decode()


def decode_cursor(text: str, kind: str, given: dict[str, str]) -> Cursor:
    """Read a cursor of the list `kind`; filters that are given again must be the same ones.

    Raises InvalidFieldError for `cursor`.
    """
    if len(text) > MAX_LENGTH:
        raise _bad("is too long to be one")
    try:
        padded = text + "=" * (-len(text) % 4)
        packed = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad("is not one that this API gave out") from None
    check, packed = packed[:_CHECK_BYTES], packed[_CHECK_BYTES:]
    if check != _check(packed):
        raise _bad("is not one that this API gave out, or was cut off")
    try:
        cursor = msgspec.msgpack.decode(packed, type=Cursor)
    except msgspec.DecodeError:
        raise _bad("is not one that this API gave out") from None
    if cursor.version != _VERSION or cursor.kind != kind:
        raise _bad("belongs to another list")
    for name, value in given.items():
        if cursor.given.get(name) != value:
            raise _bad(f"belongs to a list with another {name!r}; leave one of the two out")
    return cursor


def _check(packed: bytes) -> bytes:
    return hashlib.blake2s(packed, digest_size=_CHECK_BYTES, person=b"prynt-cu").digest()


def _bad(why: str) -> InvalidFieldError:
    return InvalidFieldError("cursor", f"{why}; begin again without it")


def position_of(cursor: Cursor, length: int) -> tuple[Any, ...]:
    """Return the position, of the length that the list's order has; raises InvalidFieldError."""
    if len(cursor.position) != length:
        raise _bad("belongs to another list")
    return cursor.position

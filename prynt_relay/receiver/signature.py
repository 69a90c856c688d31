"""Verifying the `prynt` signature scheme (specification, section 5)."""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prynt_relay.receiver.errors import (
    MalformedHeaderError,
    MissingHeaderError,
    SignatureMismatchError,
    TimestampError,
)
from prynt_relay.receiver.event import Event, parse

TOLERANCE_S: Final = 300.0
"""How far a timestamp may be off, in seconds: the specification's 5 minutes."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
"""Any framework's headers, or pairs; names in any case."""

_TIMESTAMP: Final = "X-Prynt-Timestamp"
_SIGNATURE: Final = "X-Prynt-Signature"
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_SHA256: Final = re.compile(r"sha256=([0-9a-f]{64})")


def verify(
    body: bytes | bytearray | memoryview,
    headers: Headers,
    secrets: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> None:
    """Return if the delivery is the relay's and fresh; raise a `WebhookError` otherwise.

    `body` are the raw bytes of the request. `secrets` is the signing secret (`whsec_...`), or
    several of which any may have signed: keep the old one beside the new until a rotation is over.
    `now_s` (Unix time) replaces the machine's clock.

    Raises `MissingHeaderError`, `MalformedHeaderError`, `TimestampError` or
    `SignatureMismatchError`; `TypeError` and `ValueError` for wrong use.
    """
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"verify the raw bytes of the body, not {type(body).__name__}")
    keys = [secrets] if isinstance(secrets, str) else list(secrets)
    if not keys or not all(keys):
        raise ValueError("give the signing secret (whsec_...); it is empty")
    timestamp, signature = _signature_headers(headers)
    age_s = (time.time() if now_s is None else now_s) - int(timestamp)
    if abs(age_s) > tolerance_s:
        raise TimestampError(age_s, tolerance_s)
    signed = timestamp.encode() + b"." + bytes(body)
    matches = False
    for key in keys:  # all of them, each in constant time: nothing tells how near a guess was
        expected = hmac.digest(key.encode(), signed, hashlib.sha256).hex()
        matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise SignatureMismatchError


def receive(
    body: bytes,
    headers: Headers,
    secrets: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> Event:
    """Verify a delivery and read its event; raises what `verify` and `parse` raise."""
    verify(body, headers, secrets, tolerance_s=tolerance_s, now_s=now_s)
    return parse(body)


def _signature_headers(headers: Headers) -> tuple[str, str]:
    """The timestamp and the hexadecimal signature; of a repeated header the first counts."""
    found: dict[str, str] = {}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        found.setdefault(name.lower(), value)
    for header in (_TIMESTAMP, _SIGNATURE):
        if header.lower() not in found:
            raise MissingHeaderError(header)
    timestamp = found[_TIMESTAMP.lower()].strip()
    if _SECONDS.fullmatch(timestamp) is None:
        raise MalformedHeaderError(_TIMESTAMP, "a Unix time in seconds")
    match = _SHA256.fullmatch(found[_SIGNATURE.lower()].strip())
    if match is None:
        raise MalformedHeaderError(_SIGNATURE, "of the form sha256=<64 hexadecimal digits>")
    return timestamp, match[1]

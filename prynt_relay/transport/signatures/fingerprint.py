"""The `fingerprint` scheme: `FPJS-Event-Signature` (contract, section 9).

HMAC-SHA256 of the raw body alone, keyed with the whole secret string. Fingerprint's server SDKs
split the header at commas and accept any match, so a rotation sends both signatures.
"""

from collections.abc import Sequence
from typing import Final

from prynt_relay.transport.signatures.mac import whole_secret

BOTH_WHILE_PENDING: Final = True


def digest(secret: str, timestamp_s: int, event_id: str, body: bytes) -> bytes:
    """Return the raw signature under one secret."""
    return whole_secret(secret).digest(body)


def headers(digests: Sequence[bytes], timestamp_s: int, event_id: str) -> list[tuple[str, str]]:
    """Return the header that carries the signatures, the old secret's first."""
    return [("FPJS-Event-Signature", ",".join("v1=" + raw.hex() for raw in digests))]

"""The `prynt` scheme: `X-Prynt-Timestamp` and `X-Prynt-Signature` (specification, section 5).

HMAC-SHA256 of `<timestamp>.<raw body>`, keyed with the whole secret string. A receiver compares
against one signature, so during a rotation the old secret signs alone until the new one takes over.
"""

from collections.abc import Sequence
from typing import Final

from prynt_relay.transport.signatures.mac import whole_secret

BOTH_WHILE_PENDING: Final = False


def digest(secret: str, timestamp_s: int, event_id: str, body: bytes) -> bytes:
    """Return the raw signature under one secret."""
    return whole_secret(secret).digest(b"%d." % timestamp_s, body)


def headers(digests: Sequence[bytes], timestamp_s: int, event_id: str) -> list[tuple[str, str]]:
    """Return the headers that carry the signature."""
    return [
        ("X-Prynt-Timestamp", str(timestamp_s)),
        ("X-Prynt-Signature", "sha256=" + digests[0].hex()),
    ]

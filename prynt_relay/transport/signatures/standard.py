"""The `standard` scheme: the symmetric signatures of Standard Webhooks 1.0.

HMAC-SHA256 of `<id>.<timestamp>.<raw body>`, keyed with the decoded part after `whsec_`. The header
is a list, so during a rotation the old and the new signature stand side by side.
"""

import base64
import binascii
import functools
from collections.abc import Sequence
from typing import Final

from prynt_relay.errors import InvalidFieldError
from prynt_relay.transport.signatures.mac import Mac

BOTH_WHILE_PENDING: Final = True
_PREFIX: Final = "whsec_"


@functools.lru_cache(maxsize=16_384)  # as mac.whole_secret
def _decoded_secret(secret: str) -> Mac:
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        # The value itself is a secret: the message must not repeat it.
        raise InvalidFieldError(
            "secret",
            "what follows whsec_ isn't base64, so it can't sign as Standard Webhooks asks; "
            "rotate the secret or leave `standard` out of `signatures`",
        ) from None
    return Mac(key)


def digest(secret: str, timestamp_s: int, event_id: str, body: bytes) -> bytes:
    """Return the raw signature under one secret.

    Raises `InvalidFieldError` for a secret whose part after `whsec_` isn't base64.
    """
    return _decoded_secret(secret).digest(b"%b.%d." % (event_id.encode(), timestamp_s), body)


def headers(digests: Sequence[bytes], timestamp_s: int, event_id: str) -> list[tuple[str, str]]:
    """Return the headers that carry the signatures, the old secret's first."""
    signatures = " ".join("v1," + base64.b64encode(raw).decode() for raw in digests)
    return [
        ("webhook-id", event_id),
        ("webhook-timestamp", str(timestamp_s)),
        ("webhook-signature", signatures),
    ]

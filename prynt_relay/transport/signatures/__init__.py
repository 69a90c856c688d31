"""Signature headers: one file per scheme behind one door (contract, sections 4 and 9).

To add a scheme: a file with `BOTH_WHILE_PENDING`, `digest` and `headers` as `Scheme` describes
them, a member of `SignatureScheme` (its number is stored: append only), and a line in `_SCHEMES`.

The log keeps 32 raw bytes per signature, not headers: `unpack` builds the headers again from those,
the attempt's time and the event's id, without any secret.
"""

from collections.abc import Sequence
from typing import Final, Protocol, cast

from prynt_relay.errors import StorageError
from prynt_relay.model.states import SignatureScheme
from prynt_relay.model.webhook import Secrets
from prynt_relay.transport.signatures import fingerprint, prynt, standard
from prynt_relay.transport.signatures.mac import DIGEST_SIZE


class Scheme(Protocol):
    """What a scheme's file offers."""

    BOTH_WHILE_PENDING: bool
    """Whether the old and the new secret both sign until the new one takes over."""

    @staticmethod
    def digest(secret: str, timestamp_s: int, event_id: str, body: bytes) -> bytes:
        """Return the 32 raw bytes of a signature under one secret."""
        ...

    @staticmethod
    def headers(digests: Sequence[bytes], timestamp_s: int, event_id: str) -> list[tuple[str, str]]:
        """Return the headers that carry one or two signatures, the old secret's first."""
        ...


_SCHEMES: Final[dict[SignatureScheme, Scheme]] = {
    SignatureScheme.PRYNT: cast(Scheme, prynt),
    SignatureScheme.STANDARD: cast(Scheme, standard),
    SignatureScheme.FINGERPRINT: cast(Scheme, fingerprint),
}


def sign(
    schemes: Sequence[SignatureScheme],
    secrets: Secrets,
    *,
    wall_ms: int,
    event_id: str,
    body: bytes,
) -> tuple[list[tuple[str, str]], bytes]:
    """Return the signature headers of an attempt at `wall_ms`, and what `unpack` needs of them.

    Raises `InvalidFieldError` where a secret can't serve a scheme; none that the relay made does.
    """
    current, pending = secrets.active(wall_ms)
    timestamp_s = wall_ms // 1000
    headers: list[tuple[str, str]] = []
    packed = b""
    for name in schemes:
        scheme = _SCHEMES[name]
        digests = [scheme.digest(current, timestamp_s, event_id, body)]
        if pending is not None and scheme.BOTH_WHILE_PENDING:
            digests.append(scheme.digest(pending, timestamp_s, event_id, body))
        headers += scheme.headers(digests, timestamp_s, event_id)
        packed += b"".join(digests)
    return headers, packed


def unpack(
    schemes: Sequence[SignatureScheme],
    packed: bytes,
    *,
    wall_ms: int,
    event_id: str,
) -> list[tuple[str, str]]:
    """Return the headers that `sign` made of an attempt, from what it packed.

    `schemes`, `wall_ms` and `event_id` are those of the attempt. Nothing packed means that the
    attempt was never signed. Raises `StorageError` where the number of signatures fits no state of
    a rotation.
    """
    if not packed:
        return []
    count, odd = divmod(len(packed), DIGEST_SIZE)
    in_rotation = [1 + _SCHEMES[name].BOTH_WHILE_PENDING for name in schemes]
    each = [1] * len(in_rotation) if count == len(in_rotation) else in_rotation
    if odd or count != sum(each):
        names = ", ".join(name.label for name in schemes)
        raise StorageError(
            f"{len(packed)} bytes of signatures can't belong to an attempt signed with {names}; "
            "the attempt's row is damaged"
        )
    headers: list[tuple[str, str]] = []
    start = 0
    for name, signatures in zip(schemes, each, strict=True):
        end = start + signatures * DIGEST_SIZE
        digests = [packed[at : at + DIGEST_SIZE] for at in range(start, end, DIGEST_SIZE)]
        headers += _SCHEMES[name].headers(digests, wall_ms // 1000, event_id)
        start = end
    return headers

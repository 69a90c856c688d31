"""Signature headers, and how they are kept for the log."""

import base64
import hashlib
import hmac
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.errors import InvalidFieldError, StorageError
from prynt_relay.model.ids import new_signing_secret
from prynt_relay.model.states import SignatureScheme
from prynt_relay.model.webhook import Secrets
from prynt_relay.transport.signatures import sign, unpack
from prynt_relay.transport.signatures.mac import Mac

OLD = "whsec_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"
NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"data":{"name":"Zoë 🦊"}}'.encode()
EVENT_ID = "evt_9fJ3kL7mNpR2x"
NOW_MS = 1_707_832_922_999
PENDING = Secrets(OLD, NEW, pending_at_ms=NOW_MS + 1)
ALL = tuple(SignatureScheme)
SUBSETS = [subset for size in range(4) for subset in itertools.permutations(SignatureScheme, size)]


def _hex(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _standard(secret: str, message: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_prepared_key_states_give_hmac_sha256(key: bytes, message: bytes) -> None:
    """Copying prepared hash states gives the HMAC of RFC 2104, for keys of any length."""
    mac = Mac(key)
    assert mac.digest(message) == hmac.digest(key, message, "sha256")
    assert mac.digest(message) == hmac.digest(key, message, "sha256"), "a state was used up"


def test_prynt_signs_timestamp_and_body_with_the_whole_secret() -> None:
    """The prynt scheme is the specification's: sha256=hex over `<seconds>.<raw body>`."""
    headers, packed = sign(
        (SignatureScheme.PRYNT,), Secrets(OLD), wall_ms=NOW_MS, event_id=EVENT_ID, body=BODY
    )
    expected = _hex(OLD, b"1707832922." + BODY)
    assert headers == [
        ("X-Prynt-Timestamp", "1707832922"),
        ("X-Prynt-Signature", f"sha256={expected}"),
    ]
    assert packed == bytes.fromhex(expected)


def test_standard_signs_id_timestamp_and_body_with_the_decoded_secret() -> None:
    """The standard scheme is Standard Webhooks 1.0: v1,base64 over `<id>.<seconds>.<raw body>`."""
    headers, _ = sign(
        (SignatureScheme.STANDARD,), Secrets(OLD), wall_ms=NOW_MS, event_id=EVENT_ID, body=BODY
    )
    assert headers == [
        ("webhook-id", EVENT_ID),
        ("webhook-timestamp", "1707832922"),
        (
            "webhook-signature",
            "v1," + _standard(OLD, f"{EVENT_ID}.1707832922.".encode() + BODY),
        ),
    ]


def test_fingerprint_signs_the_body_alone_with_the_whole_secret() -> None:
    """The fingerprint scheme is v1=hex over the raw body."""
    headers, _ = sign(
        (SignatureScheme.FINGERPRINT,), Secrets(OLD), wall_ms=NOW_MS, event_id=EVENT_ID, body=BODY
    )
    assert headers == [("FPJS-Event-Signature", "v1=" + _hex(OLD, BODY))]


def test_schemes_stand_side_by_side() -> None:
    """Several schemes each add their own headers, in the webhook's order."""
    headers, packed = sign(ALL, Secrets(OLD), wall_ms=NOW_MS, event_id=EVENT_ID, body=BODY)
    assert [name for name, _ in headers] == [
        "X-Prynt-Timestamp",
        "X-Prynt-Signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "FPJS-Event-Signature",
    ]
    assert len(packed) == 96


def test_a_pending_rotation_signs_with_both_where_the_scheme_can_carry_both() -> None:
    """Until the takeover: prynt the old one, standard both by a space, fingerprint by a comma."""
    headers = dict(sign(ALL, PENDING, wall_ms=NOW_MS, event_id=EVENT_ID, body=BODY)[0])
    assert headers["X-Prynt-Signature"] == "sha256=" + _hex(OLD, b"1707832922." + BODY)
    message = f"{EVENT_ID}.1707832922.".encode() + BODY
    assert headers["webhook-signature"] == (
        f"v1,{_standard(OLD, message)} v1,{_standard(NEW, message)}"
    )
    assert headers["FPJS-Event-Signature"] == f"v1={_hex(OLD, BODY)},v1={_hex(NEW, BODY)}"


def test_a_new_secret_signs_alone_from_its_moment_on() -> None:
    """At `pending_at_ms` the new secret takes over in every scheme."""
    at = NOW_MS + 1
    rotated = sign(ALL, PENDING, wall_ms=at, event_id=EVENT_ID, body=BODY)
    fresh = sign(ALL, Secrets(NEW), wall_ms=at, event_id=EVENT_ID, body=BODY)
    assert rotated == fresh


@pytest.mark.parametrize("secrets", [Secrets(OLD), PENDING], ids=["settled", "rotating"])
@pytest.mark.parametrize("schemes", SUBSETS)
def test_packed_signatures_give_the_headers_back(
    schemes: tuple[SignatureScheme, ...], secrets: Secrets
) -> None:
    """The log rebuilds an old attempt's headers from 32 bytes a signature, without the secrets."""
    headers, packed = sign(schemes, secrets, wall_ms=NOW_MS, event_id=EVENT_ID, body=BODY)
    assert unpack(schemes, packed, wall_ms=NOW_MS, event_id=EVENT_ID) == headers
    assert len(packed) % 32 == 0


def test_an_attempt_that_was_never_signed_has_no_signature_headers() -> None:
    """Nothing packed unpacks to no headers."""
    assert unpack(ALL, b"", wall_ms=NOW_MS, event_id=EVENT_ID) == []


@pytest.mark.parametrize("size", [1, 31, 33, 64, 128, 192])
def test_a_damaged_row_is_reported(size: int) -> None:
    """A number of bytes that no attempt can have packed is an error, not a wrong header."""
    with pytest.raises(StorageError, match=f"{size} bytes of signatures"):
        unpack(ALL, bytes(size), wall_ms=NOW_MS, event_id=EVENT_ID)


def test_a_secret_that_is_no_base64_can_not_sign_as_standard_and_stays_secret() -> None:
    """The error for an unusable secret names the way out and not the secret."""
    with pytest.raises(InvalidFieldError, match="rotate the secret") as caught:
        sign(
            (SignatureScheme.STANDARD,),
            Secrets("whsec_not~base64"),
            wall_ms=NOW_MS,
            event_id=EVENT_ID,
            body=BODY,
        )
    assert "not~base64" not in str(caught.value)


@given(st.binary(min_size=24, max_size=24))
def test_every_secret_that_the_relay_makes_signs_in_every_scheme(seed: bytes) -> None:
    """24 random bytes always make a secret that all schemes can use."""
    secret = new_signing_secret(lambda size: seed[:size])
    headers, packed = sign(ALL, Secrets(secret), wall_ms=0, event_id=EVENT_ID, body=b"")
    assert unpack(ALL, packed, wall_ms=0, event_id=EVENT_ID) == headers

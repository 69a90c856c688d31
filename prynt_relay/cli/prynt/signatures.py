"""Signing a test, and verifying every signature scheme (contract, sections 4 and 9)."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prynt_relay import receiver


class Verdict(NamedTuple):
    """Whether a request is genuine; `why` says which scheme proved it, or what was wrong."""

    verified: bool
    why: str


def made_up_secret() -> str:
    """Return a fresh signing secret of the form that the relay gives out."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the value of `X-Prynt-Signature` for a body sent at this Unix second."""
    return "sha256=" + _hmac(secret.encode(), b"%d." % timestamp + body).hex()


def verify(keys: Sequence[str], headers: Mapping[str, str], body: bytes, now_s: float) -> Verdict:
    """Judge a request by the first kind of signature header that it has.

    `headers` has lower-case names. Any of the secrets in `keys` may have signed. Fingerprint's
    scheme has no timestamp, so nothing there tells a repeated request from a new one.
    """
    if "x-prynt-signature" in headers:
        try:
            receiver.verify(body, headers, keys, now_s=now_s)
        except receiver.WebhookError as error:
            return Verdict(False, str(error))
        return Verdict(True, "prynt")
    if "webhook-signature" in headers:
        return _verify_standard(keys, headers, body, now_s)
    if "fpjs-event-signature" in headers:
        expected = ["v1=" + _hmac(key.encode(), body).hex() for key in keys]
        return _compared(headers["fpjs-event-signature"].split(","), expected, "fingerprint")
    return Verdict(False, "it has no signature header")


def _verify_standard(
    keys: Sequence[str], headers: Mapping[str, str], body: bytes, now_s: float
) -> Verdict:
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return Verdict(False, "the header webhook-timestamp is missing or no Unix time")
    off_s = now_s - int(timestamp)
    if abs(off_s) > receiver.TOLERANCE_S:
        return Verdict(False, str(receiver.TimestampError(off_s, receiver.TOLERANCE_S)))
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    expected = []
    for key in keys:
        try:
            raw = base64.b64decode(key.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return Verdict(False, "the secret isn't base64, as Standard Webhooks wants it")
        expected.append("v1," + base64.b64encode(_hmac(raw, signed)).decode())
    return _compared(headers["webhook-signature"].split(" "), expected, "standard")


def _compared(given: Sequence[str], expected: Sequence[str], scheme: str) -> Verdict:
    # Constant in time; text that isn't ASCII can't be compared as text, nor be a signature.
    found = [
        hmac.compare_digest(one.strip().encode(), other.encode())
        for one in given
        for other in expected
    ]
    if any(found):
        return Verdict(True, scheme)
    return Verdict(False, str(receiver.SignatureMismatchError()))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()

"""Code that verifies a delivery, for the page that shows a new secret.

The same as in docs/receivers.md, kept runnable by a test; it reads the secret from the
environment, because a secret in source code doesn't stay one.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from prynt_relay.model.states import SignatureScheme


class Snippet(msgspec.Struct, frozen=True):
    """A piece of code in one language."""

    id: str
    language: str
    code: str


_PYTHON: Final = '''\
import hashlib
import hmac
import os
import time

SECRET = os.environ["PRYNT_WEBHOOK_SECRET"]


def verify(body: bytes, timestamp: str, signature: str) -> bool:
    """body: the raw bytes; the others: X-Prynt-Timestamp, X-Prynt-Signature."""
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    signed = timestamp.encode() + b"." + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={digest}".encode(), signature.encode())
'''
_NODE: Final = """\
import crypto from "node:crypto";

const secret = process.env.PRYNT_WEBHOOK_SECRET;

// body: the raw Buffer; the others: X-Prynt-Timestamp, X-Prynt-Signature.
export function verify(body, timestamp, signature) {
  if (!/^\\d{1,12}$/.test(timestamp)) return false;
  if (!/^sha256=[0-9a-f]{64}$/.test(signature)) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false;
  const hmac = crypto.createHmac("sha256", secret).update(`${timestamp}.`).update(body);
  return crypto.timingSafeEqual(hmac.digest(), Buffer.from(signature.slice(7), "hex"));
}
"""
_PYTHON_STANDARD: Final = '''\
import os

from standardwebhooks import Webhook

webhook = Webhook(os.environ["PRYNT_WEBHOOK_SECRET"])


def verify(body: bytes, headers: dict[str, str]) -> None:
    """Raises WebhookVerificationError; headers: webhook-id, -timestamp, -signature."""
    webhook.verify(body, headers)
'''
_NODE_STANDARD: Final = """\
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.PRYNT_WEBHOOK_SECRET);

// Throws WebhookVerificationError; headers: webhook-id, -timestamp, -signature.
export function verify(body, headers) {
  webhook.verify(body, headers);
}
"""
_PYTHON_FINGERPRINT: Final = '''\
import hashlib
import hmac
import os

SECRET = os.environ["PRYNT_WEBHOOK_SECRET"]


def verify(body: bytes, header: str) -> bool:
    """body: the raw bytes; header: fpjs-event-signature."""
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    given = [part.strip() for part in header.split(",")]
    return any(hmac.compare_digest(f"v1={digest}".encode(), each.encode()) for each in given)
'''
_NODE_FINGERPRINT: Final = """\
import crypto from "node:crypto";

const secret = process.env.PRYNT_WEBHOOK_SECRET;

// body: the raw Buffer; header: fpjs-event-signature.
export function verify(body, header) {
  const wanted = crypto.createHmac("sha256", secret).update(body).digest();
  return header.split(",").some((part) => {
    const found = /^v1=([0-9a-f]{64})$/.exec(part.trim());
    return found !== null && crypto.timingSafeEqual(wanted, Buffer.from(found[1], "hex"));
  });
}
"""
_OF_SCHEME: Final = {
    SignatureScheme.PRYNT: (_PYTHON, _NODE),
    SignatureScheme.STANDARD: (_PYTHON_STANDARD, _NODE_STANDARD),
    SignatureScheme.FINGERPRINT: (_PYTHON_FINGERPRINT, _NODE_FINGERPRINT),
}


def snippets(schemes: Collection[SignatureScheme]) -> tuple[Snippet, ...]:
    """Return code for Python and Node that verifies the first of `schemes` that is ours."""
    scheme = next((each for each in _OF_SCHEME if each in schemes), SignatureScheme.PRYNT)
    python, node = _OF_SCHEME[scheme]
    return Snippet("python", "Python", python), Snippet("node", "Node", node)

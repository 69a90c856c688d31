"""Signing a test by hand, and judging what arrives, against what the relay itself sends."""

import pytest

from prynt_relay.cli.prynt.signatures import made_up_secret, sign, verify
from prynt_relay.model.states import SignatureScheme
from prynt_relay.model.webhook import Secrets
from prynt_relay.transport import signatures as relay

SECRET = "whsec_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"
OTHER = "whsec_b1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"
BODY = b'{"webhookId":"wh_3kR8mNqT7xP2v"}'
NOW = 1_707_832_922


def sent(scheme: SignatureScheme, secrets: Secrets | None = None, at: int = NOW) -> dict[str, str]:
    """The headers of a real delivery, with names in lower case."""
    headers, _ = relay.sign(
        [scheme],
        secrets or Secrets(SECRET),
        wall_ms=at * 1000,
        event_id="evt_9fJ3kL7mNpR2x",
        body=BODY,
    )
    shared = {"x-prynt-timestamp": str(at)}
    return shared | {name.lower(): value for name, value in headers}


def test_a_test_is_signed_as_the_relay_signs() -> None:
    """The signature of `test --url` is the same as a delivery's."""
    assert sign(SECRET, NOW, BODY) == sent(SignatureScheme.PRYNT)["x-prynt-signature"]


@pytest.mark.parametrize("scheme", list(SignatureScheme))
def test_each_scheme_is_verified_with_any_of_the_secrets(scheme: SignatureScheme) -> None:
    """The verdict names the scheme; the secret that signed may be the second."""
    verdict = verify([OTHER, SECRET], sent(scheme), BODY, NOW)
    assert verdict == (True, scheme.label)


@pytest.mark.parametrize("scheme", list(SignatureScheme))
def test_during_a_rotation_the_old_secret_verifies(scheme: SignatureScheme) -> None:
    """Before the new secret takes over the old one's signature is found, alone or beside it."""
    secrets = Secrets(SECRET, pending=OTHER, pending_at_ms=(NOW + 60) * 1000)
    assert verify([SECRET], sent(scheme, secrets), BODY, NOW).verified


@pytest.mark.parametrize("scheme", list(SignatureScheme))
def test_another_secret_or_body_does_not_verify(scheme: SignatureScheme) -> None:
    """The reason says that the signature doesn't match, and what to check."""
    for secret, body in ((OTHER, BODY), (SECRET, BODY + b" ")):
        verdict = verify([secret], sent(scheme), body, NOW)
        assert not verdict.verified
        assert "doesn't match" in verdict.why
        assert secret not in verdict.why


@pytest.mark.parametrize("scheme", [SignatureScheme.PRYNT, SignatureScheme.STANDARD])
@pytest.mark.parametrize(("off_s", "when"), [(301, "301 s ago"), (-301, "301 s in the future")])
def test_a_timestamp_too_far_off_does_not_verify(
    scheme: SignatureScheme, off_s: int, when: str
) -> None:
    """Five minutes either way, as the specification has it; the reason says how far."""
    verdict = verify([SECRET], sent(scheme), BODY, NOW + off_s)
    assert not verdict.verified
    assert when in verdict.why
    assert verify([SECRET], sent(scheme), BODY, NOW + (300 if off_s > 0 else -300)).verified


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-prynt-signature": "sha256=" + "0" * 64},
        {"x-prynt-signature": "sha256=é", "x-prynt-timestamp": str(NOW)},
        {"x-prynt-signature": "sha256=" + "0" * 64, "x-prynt-timestamp": "yesterday"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1,é", "webhook-timestamp": str(NOW)},
        {"webhook-signature": "v1,AAAA", "webhook-timestamp": "٣"},
        {"fpjs-event-signature": "v1=é"},
        {"fpjs-event-signature": ""},
    ],
)
def test_missing_and_malformed_headers_are_told_apart_from_nothing(headers: dict[str, str]) -> None:
    """Whatever a stranger sends is refused with a reason, never an exception."""
    verdict = verify([SECRET], headers, BODY, NOW)
    assert not verdict.verified
    assert verdict.why


def test_a_secret_that_no_standard_library_could_use_is_told() -> None:
    """Standard Webhooks wants base64; what isn't can't verify, and the reason says so."""
    verdict = verify(["whsec_not base64"], sent(SignatureScheme.STANDARD), BODY, NOW)
    assert verdict == (False, "the secret isn't base64, as Standard Webhooks wants it")


def test_made_up_secrets_have_the_relay_s_form() -> None:
    """`whsec_` and 32 characters of base64, another one each time."""
    first, second = made_up_secret(), made_up_secret()
    assert first != second
    assert (first[:6], len(first)) == ("whsec_", 38)

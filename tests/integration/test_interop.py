"""Software that others wrote accepts what the relay sends: libraries for Python."""

import json
import warnings
from typing import Any

import pytest

from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Secrets
from tests.integration.deliveries import NEW, OLD, STRANGER, Delivery, delivery, moments

ALL = tuple(SignatureScheme)
BODIES = [b'{"name":"Zo\xc3\xab \xf0\x9f\xa6\x8a","escaped":"\\u00eb","n":1.10}', b"{}", None]


def _fingerprint_sdk(name: str) -> Any:
    """An SDK of Fingerprint's; the older warns that there is a newer one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.mark.parametrize("data", BODIES, ids=["unicode", "empty", "sample"])
@pytest.mark.parametrize("library", ["standardwebhooks", "svix.webhooks"])
def test_standard_webhooks_libraries_verify_us(library: str, data: bytes | None) -> None:
    """Both libraries for Standard Webhooks verify every delivery, through a whole rotation."""
    webhooks = pytest.importorskip(library)
    for moment in moments():
        sent = delivery(Format.PRYNT, (SignatureScheme.STANDARD,), moment.secrets, data=data)
        for secret in moment.receiver_secrets:
            webhooks.Webhook(secret).verify(sent.body, sent.headers)


@pytest.mark.parametrize("library", ["standardwebhooks", "svix.webhooks"])
def test_standard_webhooks_libraries_refuse_forgeries(library: str) -> None:
    """The proof that they look: another secret, or another body, is refused."""
    webhooks = pytest.importorskip(library)
    sent = delivery(Format.PRYNT, ALL, Secrets(OLD))
    webhooks.Webhook(OLD).verify(sent.body, sent.headers)
    for secret, body in ((STRANGER, sent.body), (OLD, sent.body + b" ")):
        with pytest.raises(webhooks.WebhookVerificationError):
            webhooks.Webhook(secret).verify(body, sent.headers)


@pytest.mark.parametrize("sdk", ["fingerprint_pro_server_api_sdk", "fingerprint_server_sdk"])
def test_fingerprint_sdks_validate_our_signature(sdk: str) -> None:
    """Fingerprint's own check accepts every delivery through a rotation, and no forgery."""
    _fingerprint_sdk(sdk)
    validate = _fingerprint_sdk(
        f"{sdk}.webhook_validation"
    ).WebhookValidation.is_valid_webhook_signature
    for moment in moments():
        sent = delivery(Format.FINGERPRINT, (SignatureScheme.FINGERPRINT,), moment.secrets)
        header = sent.headers["FPJS-Event-Signature"]
        for secret in moment.receiver_secrets:
            assert validate(header, sent.body, secret)
        assert not validate(header, sent.body, STRANGER)
        assert not validate(header, sent.body + b" ", moment.receiver_secrets[0])


def _read_by_fingerprint(sent: Delivery) -> Any:
    sdk = _fingerprint_sdk("fingerprint_pro_server_api_sdk")
    client = _fingerprint_sdk("fingerprint_pro_server_api_sdk.api_client")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # their own classes
        webhook = client.ApiClientDeserializer.deserialize(json.loads(sent.body), "Webhook")
    assert isinstance(webhook, sdk.Webhook)
    return webhook


FULL = {
    "sdk": {"platform": "js", "version": "3.11.10"},
    "url": "https://banking.example.com/signup",
    "clientReferrer": "https://google.com?search=banking+services",
    "linkedId": "any-string",
    "tag": {"requestType": "signup", "yourCustomId": 45321},
}


def test_the_fingerprint_webhook_model_reads_an_event_that_knows_everything() -> None:
    """Their model wants a version of everything it names; our own names are mapped to it."""
    data = sample_data("identification.complete")
    data["device"] |= {"osVersion": "14.3", "userAgent": "Mozilla/5.0"}
    data["geo"] |= {"regionCode": "CA", "postalCode": "94103", "accuracyRadius": 20}
    sent = delivery(
        Format.FINGERPRINT, (SignatureScheme.FINGERPRINT,), Secrets(OLD),
        data=json.dumps(data | FULL).encode(),
    )  # fmt: skip
    webhook = _read_by_fingerprint(sent)
    assert webhook.request_id == data["requestId"]
    assert webhook.visitor_id == data["visitorId"]
    assert webhook.ip_location.city.name == data["geo"]["city"]
    assert webhook.ip_location.country.name == "United States"
    assert webhook.ip_location.subdivisions[0].iso_code == "CA"
    assert webhook.browser_details.browser_name == "Chrome"
    assert webhook.browser_details.os_version == "14.3"
    assert webhook.confidence.score == data["confidence"]
    assert webhook.first_seen_at.subscription.isoformat() == data["firstSeenAt"].replace(
        "Z", "+00:00"
    )
    assert webhook.sdk.platform == "js"
    assert webhook.tag["yourCustomId"] == 45321


def test_the_fingerprint_webhook_model_reads_an_event_that_knows_only_the_sdk() -> None:
    """Null parents are fine with their model; it is their members that it wants whole."""
    data = {
        "sdk": FULL["sdk"],
        "browserDetails": dict.fromkeys(
            (
                "browserName",
                "browserFullVersion",
                "browserMajorVersion",
                "os",
                "osVersion",
                "device",
                "userAgent",
            ),
            "x",
        ),
    }
    sent = delivery(
        Format.FINGERPRINT, (SignatureScheme.FINGERPRINT,), Secrets(OLD),
        data=json.dumps(data).encode(),
    )  # fmt: skip
    webhook = _read_by_fingerprint(sent)
    assert webhook.request_id == "evt_9fJ3kL7mNpR2x"
    assert webhook.ip_location.city is None


@pytest.mark.parametrize("event_type", ["identification.complete", "alert.triggered"])
def test_the_cloudevents_sdk_reads_our_events(event_type: str) -> None:
    """The CloudEvents SDK recognises the mode, reads the attributes and validates the event."""
    http = pytest.importorskip("cloudevents.core.bindings.http")
    sent = delivery(Format.CLOUDEVENTS, ALL, Secrets(NEW), event_type=event_type)
    event = http.from_http_event(http.HTTPMessage(headers=sent.headers, body=sent.body))
    assert event.get_specversion() == "1.0"
    assert event.get_id() == "evt_9fJ3kL7mNpR2x"
    assert event.get_source() == "urn:prynt-relay"
    assert event.get_type() == f"io.prynt.{event_type}"
    assert event.get_time().tzinfo is not None
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data()["visitorId"].startswith("pv_")

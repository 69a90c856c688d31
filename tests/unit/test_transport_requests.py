"""The head of a request and its picture in the log, without a network."""

import msgspec
import pytest

from prynt_relay.errors import InvalidFieldError, StorageError
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import BasicAuth, Health
from prynt_relay.transport import describe, endpoint, formats, signatures
from prynt_relay.transport.endpoint import Endpoint, Endpoints
from tests.integration.attempts import EVENT, webhook


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("https://a.test", "/", "a.test"),
        ("https://a.test/", "/", "a.test"),
        ("https://a.test?x=1", "/?x=1", "a.test"),
        ("https://a.test/hook?", "/hook?", "a.test"),
        ("https://a.test:443/hook", "/hook", "a.test"),
        ("https://a.test:8443/hook", "/hook", "a.test:8443"),
        ("http://a.test:80/hook", "/hook", "a.test"),
        ("http://a.test:443/hook", "/hook", "a.test:443"),
        ("https://A.Test/Hook", "/Hook", "a.test"),
        ("https://a.test./hook", "/hook", "a.test"),
        ("https://a.test/a/../b/./c//d", "/a/../b/./c//d", "a.test"),
        ("https://a.test/%7Ea%2fb?q=%2F+%20&q=a%3Db", "/%7Ea%2fb?q=%2F+%20&q=a%3Db", "a.test"),
        ("https://a.test/x;y=1:2@3?a[]=1'", "/x;y=1:2@3?a[]=1'", "a.test"),
        ("https://a.test/ü?q=ß", "/%C3%BC?q=%C3%9F", "a.test"),
        ("https://a.test/é?q=ü&x=%2f%zz", "/%C3%A9?q=%C3%BC&x=%2f%zz", "a.test"),
        ("https://ü.test/%e9+%20'é/../%41#x", "/%e9+%20'%C3%A9/../%41", "xn--tda.test"),
        ("https://a.test/?50%&é%", "/?50%&%C3%A9%", "a.test"),
        ("https://bücher.test/", "/", "xn--bcher-kva.test"),
        ("https://127.0.0.1:8/", "/", "127.0.0.1:8"),
        ("https://[::1]:8/", "/", "[::1]:8"),
    ],
)
def test_the_target_is_the_urls_byte_for_byte(url: str, target: str, host: str) -> None:
    """In a unique URL every byte can count: ASCII is passed on as it is, also beside other."""
    head = Endpoint(webhook(url)).head(Format.PRYNT, EVENT, [], 3).decode()
    lines = head.split("\r\n")
    assert lines[0] == f"POST {target} HTTP/1.1"
    assert lines[1] == f"Host: {host}"
    assert lines[-3:] == ["Content-Length: 3", "", ""]


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "https://a.test/\r\nX: y"},
        {"url": "https://a.test/a b"},
        {"url": "https://a.test/", "headers": (("X", "a\r\nY: b"),)},
        {"url": "https://a.test/", "headers": (("X\r\nY", "b"),)},
        {"url": "https://a.test/", "headers": (("X", "a\0"),)},
    ],
)
def test_nothing_breaks_out_of_its_line(settings: dict[str, object]) -> None:
    """A second guard behind the rules for webhooks; the message holds no value."""
    url = settings.pop("url")
    assert isinstance(url, str)
    with pytest.raises(InvalidFieldError) as caught:
        Endpoint(webhook(url, **settings))
    assert "a.test" not in str(caught.value)


def test_an_endpoint_is_prepared_again_only_for_what_it_sends() -> None:
    """Health and schedule may change without cost; URL, headers and credentials count."""
    endpoints = Endpoints(allow_http=False)
    first = webhook("https://a.test/")
    prepared = endpoints.get(first)
    healthier = msgspec.structs.replace(first, health=Health(failures=1), enabled=False)
    assert endpoints.get(healthier) is prepared
    for change in (
        {"url": "https://b.test/"}, {"headers": (("X", "y"),)}, {"auth": BasicAuth("a", "b")},
    ):  # fmt: skip
        changed = msgspec.structs.replace(first, **change)
        again = endpoints.get(changed)
        assert again is not prepared
        assert endpoints.get(changed) is again
        prepared = again


def test_prepared_endpoints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest goes."""
    monkeypatch.setattr(endpoint, "ENDPOINTS_MAX", 2)
    endpoints = Endpoints(allow_http=False)
    hooks = [msgspec.structs.replace(webhook("https://a.test/"), row=row) for row in range(3)]
    prepared = [endpoints.get(hook) for hook in hooks]
    assert endpoints.get(hooks[2]) is prepared[2]
    assert endpoints.get(hooks[1]) is prepared[1]
    assert endpoints.get(hooks[0]) is not prepared[0]


def test_a_picture_names_the_deliverys_own_format() -> None:
    """A delivery keeps the format in which its event came in, whatever the webhook's is now."""
    hook = webhook("https://a.test/", format=Format.PRYNT)
    picture = describe.describe(
        describe.template(hook), EVENT, 1000, b"", b"{}", format=Format.CLOUDEVENTS
    )
    assert picture.headers["Content-Type"] == formats.content_type(Format.CLOUDEVENTS)
    assert list(picture.headers)[:2] == ["Host", "Content-Type"]


def test_a_template_is_the_same_for_the_same_requests() -> None:
    """Revisions are told apart by their text, so what isn't sent must not be in it."""
    hook = webhook("https://a.test/", headers=(("X-Key", "one"),))
    other = msgspec.structs.replace(
        hook, description="new", enabled=False, updated_at_ms=9, headers=(("X-Key", "two"),)
    )
    assert describe.template(hook) == describe.template(other)
    assert "one" not in describe.template(hook)
    renamed = msgspec.structs.replace(hook, headers=(("X-Other", "one"),))
    assert describe.template(renamed) != describe.template(hook)


def test_a_rotation_shows_both_signatures_where_both_were_sent() -> None:
    """What was signed during a rotation is shown as it went out."""
    schemes = (SignatureScheme.STANDARD, SignatureScheme.PRYNT)
    hook = webhook("https://a.test/", signatures=schemes)
    secrets = msgspec.structs.replace(
        hook.secrets, pending="whsec_" + "A" * 32, pending_at_ms=10**15
    )
    sent, packed = signatures.sign(
        schemes, secrets, wall_ms=1_771_069_522_000, event_id=EVENT.event_id, body=b"{}"
    )
    picture = describe.describe(describe.template(hook), EVENT, 1_771_069_522_000, packed, b"{}")
    for name, value in sent:
        assert picture.headers[name] == value
    assert " " in picture.headers["webhook-signature"]


@pytest.mark.parametrize("template", ["", "{}", "[]", '{"url":1}'])
def test_a_damaged_template_is_a_storage_error(template: str) -> None:
    """Whoever shows it is told what is damaged."""
    with pytest.raises(StorageError, match="template"):
        describe.describe(template, EVENT, 1000, b"", b"{}")

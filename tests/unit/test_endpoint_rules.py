"""Which URLs, headers, credentials and subscriptions a webhook may have."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.errors import FieldConflictError, InvalidFieldError
from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.webhook import BasicAuth
from prynt_relay.webhooks.endpoint import (
    EndpointRules,
    check_auth,
    check_events,
    check_headers,
    check_one_authorization,
)

PUBLIC = EndpointRules(allow_http=False, allow_addresses=[])
LOCAL = EndpointRules(allow_http=True, allow_addresses=["127.0.0.0/8", "::1/128"])


TAKEN: Final = (
    "https://yourapp.com/webhooks/prynt",
    "https://yourapp.com",
    "https://yourapp.com:8443/a?b=c&d=%20",
    "https://xn--bcher-kva.example/",
    "https://bücher.example/",
    "https://a_b.example.com/",
    "https://example.com./x",
    "HTTPS://Example.COM/",
    "https://hooks.slack.com/services/T000/B000/XXXX",
    "https://1password.com/",
    "https://x.example/" + "a" * (2048 - 18),
)
REFUSED: Final = (
    "",
    "yourapp.com/webhooks",
    "http://yourapp.com/",
    "ftp://yourapp.com/",
    "https:///path",
    "https://",
    "https://localhost/",
    "https://localhost:8443/",
    "https://api.localhost/",
    "https://intranet/",
    "https://127.0.0.1/",
    "https://93.184.216.34/",
    "https://[::1]/",
    "https://[2606:4700::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[::1/",
    "https://[v1.example.com]/",
    "https://yourapp.com[::1]/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f.0.0.1/",
    "https://0x7f000001/",
    "https://1.2.3.0x4/",
    "https://127.0.0.1./",
    "https://user@yourapp.com/",
    "https://user:pass@yourapp.com/",
    "https://:@yourapp.com/",
    "https://yourapp.com/#frag",
    "https://yourapp.com/#",
    "https://yourapp.com:0/",
    "https://yourapp.com:99999/",
    "https://yourapp.com:abc/",
    "https://your app.com/",
    "https://yourapp.com/a b",
    "https://yourapp.com/\n",
    "https://yourapp.com/\x00",
    "https://yourapp.com\\@evil.com/",
    "https://-bad.example.com/",
    "https://bad-.example.com/",
    "https://a..example.com/",
    "https://.example.com/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/",
    "https://exa%6dple.com/",
    "https://exa\u00admple.com/",
    "https://a\u200db.example.com/",
    "https://x.example/" + "a" * (2049 - 18),
)


@pytest.mark.parametrize("url", TAKEN)
def test_urls_that_a_webhook_may_have(url: str) -> None:
    """A public https URL is taken as it is, to the last character."""
    assert PUBLIC.check_url(url) == url


@pytest.mark.parametrize("url", REFUSED)
def test_urls_that_are_refused(url: str) -> None:
    """Anything but https to a public domain name is refused, and the field is named."""
    with pytest.raises(InvalidFieldError) as caught:
        PUBLIC.check_url(url)
    assert caught.value.field == "url"


def test_a_refusal_does_not_repeat_the_url() -> None:
    """A URL can be a secret, so the message doesn't carry its path or query."""
    with pytest.raises(InvalidFieldError) as caught:
        PUBLIC.check_url("http://hooks.example.com/services/T0/secret-path")
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:3000/webhooks",
        "https://127.0.0.1/",
        "https://[::1]:8443/",
        "http://receiver.test:3000/",
        "https://hooks.localhost/",
    ],
)
def test_development_settings_admit_http_and_the_networks_that_they_name(url: str) -> None:
    """`allow_http` admits http and `allow_addresses` its networks, as literals too."""
    assert LOCAL.check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://localhost/",
        "https://[::2]/",
        "https://[::1]x/",
        "https://127.0.0.1%1/",
        "https://127.0.0.1%/",
    ],
)
def test_development_settings_admit_nothing_else(url: str) -> None:
    """What isn't in the allowed networks stays refused."""
    with pytest.raises(InvalidFieldError):
        LOCAL.check_url(url)


@pytest.mark.parametrize(
    ("rules", "url", "advice"),
    [
        (PUBLIC, "https://localhost:3000/", "egress.allow_addresses admits 127.0.0.0/8"),
        (PUBLIC, "https://hooks.localhost/", "egress.allow_addresses admits 127.0.0.0/8"),
        (LOCAL, "http://localhost:3000/secret", "; write http://127.0.0.1:3000 instead"),
        (LOCAL, "https://LOCALHOST./secret", "; write https://127.0.0.1 instead"),
    ],
)
def test_a_refused_localhost_comes_with_advice_that_helps(
    rules: EndpointRules, url: str, advice: str
) -> None:
    """The setting that admits loopback is named where it is missing, else the address to write."""
    with pytest.raises(InvalidFieldError) as caught:
        rules.check_url(url)
    assert advice in str(caught.value)
    assert ("egress" in str(caught.value)) == (rules is PUBLIC)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_either_taken_or_refused(text: str) -> None:
    """No URL makes the check fail in another way."""
    for url in (text, "https://" + text, "https://example.com/" + text):
        try:
            PUBLIC.check_url(url)
        except InvalidFieldError as error:
            assert error.field == "url"  # noqa: PT017 - either way is right, a third one is not


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("X-Api-Key", "abc"), ("Authorization", "Bearer x")),
        (("x-tab", "a\tb"),),
        (("x-empty", ""),),
        (("x-latin", "caf\xe9"),),
    ],
)
def test_headers_that_a_webhook_may_have(headers: tuple[tuple[str, str], ...]) -> None:
    """Ordinary custom headers are kept in their order."""
    assert check_headers(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a:b",
        "näme",
        "x\r\n",
        "Content-Type",
        "content-length",
        "HOST",
        "User-Agent",
        "X-Prynt-Signature",
        "x-prynt-anything",
        "Webhook-Id",
        "webhook-signature",
        "FPJS-Event-Signature",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Proxy-Authorization",
        "Expect",
        "n" * 129,
    ],
)
def test_header_names_that_are_refused(name: str) -> None:
    """Reserved, hop-by-hop and malformed names are refused by name."""
    with pytest.raises(InvalidFieldError) as caught:
        check_headers([(name, "v")])
    assert caught.value.field.startswith("headers.")


@pytest.mark.parametrize(
    "value",
    ["a\r\nX-Evil: 1", "a\nb", "a\rb", "\x00", "\x7f", "日本", " lead", "trail ", "v" * 4097],
)
def test_header_values_that_are_refused(value: str) -> None:
    """No header value can end its line or carry what HTTP can't."""
    with pytest.raises(InvalidFieldError):
        check_headers([("X-Custom", value)])


def test_header_collections_that_are_refused() -> None:
    """Too many headers, one given twice, or one that `auth` sets are refused."""
    with pytest.raises(InvalidFieldError):
        check_headers([(f"x-{n}", "v") for n in range(33)])
    with pytest.raises(InvalidFieldError):
        check_headers([("X-A", "1"), ("x-a", "2")])
    with pytest.raises(FieldConflictError, match=r"headers.authoriZation: .* `auth`"):
        check_one_authorization([("X-A", "1"), ("authoriZation", "Bearer x")])
    check_one_authorization([("X-A", "1")])


@pytest.mark.parametrize(
    ("username", "password"),
    [("", "x"), ("a:b", "x"), ("u\n", "x"), ("u", "p\x00"), ("u" * 256, "x"), ("u", "p" * 1025)],
)
def test_credentials_that_basic_authentication_can_not_carry(username: str, password: str) -> None:
    """RFC 7617: no colon in the name, no control characters; and bounded."""
    with pytest.raises(InvalidFieldError) as caught:
        check_auth(BasicAuth(username, password))
    assert "x" * 5 not in str(caught.value)


def test_subscriptions() -> None:
    """Types are known ones, repetitions fold, and a wildcard stands for all."""
    assert check_events(["verdict.block", "verdict.block"], EVENT_TYPES) == ("verdict.block",)
    assert check_events(["verdict.block", "*"], EVENT_TYPES) == ("*",)
    for wrong in ([], ["verdict.unknown"], ["verdict.*"], [""]):
        with pytest.raises(InvalidFieldError):
            check_events(wrong, EVENT_TYPES)


@pytest.mark.parametrize(
    ("rules", "told"), [(PUBLIC, "begin with https://$"), (LOCAL, "https:// or http://$")]
)
def test_the_schemes_that_are_allowed_are_named(rules: EndpointRules, told: str) -> None:
    """Who forgot the scheme is told each one that would be taken here."""
    with pytest.raises(InvalidFieldError, match=told):
        rules.check_url("yourapp.com/webhooks")

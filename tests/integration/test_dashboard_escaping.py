"""Whatever comes from outside is shown as text, wherever it is shown."""

import json
from pathlib import Path

import pytest

from tests.integration.dashboard_client import Browser, browsing
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import subscribe

EVIL = """</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>"'`&lt;b&gt;"""
HEADER_EVIL = """"><script>alert(3)</script>'"""


def assert_harmless(text: str) -> None:
    """No markup of the attack's made it into the page."""
    lowered = text.lower()
    assert "<script>alert" not in lowered
    assert "<img src=x" not in lowered
    assert "</pre></script>" not in lowered
    assert "&lt;script&gt;alert" in lowered, "the page doesn't show it at all"


async def _tested(browser: Browser, webhook_id: str) -> str:
    """Send a test; returns the delivery's id."""
    answer = await browser.post(f"/webhooks/{webhook_id}/test")
    assert answer.status == 303, answer.text
    return answer.location.partition("tested=")[2].partition("#")[0]


@pytest.mark.parametrize("kind", ["text/html", "application/json", "image/svg+xml"])
async def test_a_response_body_is_shown_as_text(tmp_path: Path, kind: str) -> None:
    """On the delivery's page and in a test's answer, whatever type it claims; also as JSON."""
    body = json.dumps({"message": EVIL}) if "json" in kind else EVIL
    reply = Reply(500, body.encode(), (("Content-Type", kind),))
    async with Receiver(respond=reply) as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        delivery_id = await _tested(browser, webhook.id)
        for path in (f"/deliveries/{delivery_id}", f"/webhooks/{webhook.id}?tested={delivery_id}"):
            page = await browser.get(path)
            assert page.shows(body)
            assert_harmless(page.text)


async def test_response_headers_are_shown_as_text(tmp_path: Path) -> None:
    """The values of a response's headers, and names as odd as HTTP lets them be."""
    reply = Reply(200, b"", (("X-Evil", HEADER_EVIL), ("X-'`|~", "name")))
    async with Receiver(respond=reply) as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        page = await browser.get(f"/deliveries/{await _tested(browser, webhook.id)}")
        assert page.shows(HEADER_EVIL)
        assert_harmless(page.text)
        assert page.shows("X-'`|~")


async def test_payloads_are_shown_as_text(tmp_path: Path) -> None:
    """An event's data, on its page and in its delivery's request, pretty and raw."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver)
        line = json.dumps({"eventType": "verdict.block", "data": {EVIL: EVIL}}).encode()
        acceptor = browser.relay.acceptor
        (appended,) = await acceptor.accept(acceptor.parser.parse_many(line))
        await browser.settlements.wait_for(1)
        event = await browser.get(f"/events/{appended.event_id}")
        assert_harmless(event.text)
        assert event.shows(json.dumps(EVIL))
        delivery_id = event.text.partition('href="/deliveries/')[2].partition('"')[0]
        delivery = await browser.get(f"/deliveries/{delivery_id}")
        assert delivery.shows(json.dumps(EVIL))
        assert_harmless(delivery.text)


async def test_descriptions_are_shown_as_text(tmp_path: Path) -> None:
    """On every page that names a webhook."""
    async with Receiver(respond=Reply(500)) as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver, description=EVIL)
        delivery_id = await _tested(browser, webhook.id)
        acceptor = browser.relay.acceptor
        await acceptor.accept(acceptor.parser.parse_many(b'{"eventType":"rule.matched","data":{}}'))
        await browser.settlements.wait_for(1)
        own = f"/webhooks/{webhook.id}"
        paths = ["/", "/webhooks", "/live", f"/deliveries/{delivery_id}", own]
        paths += [f"{own}/{name}" for name in ("edit", "disable", "delete", "deliveries", "rotate")]
        for path in paths:
            assert_harmless((await browser.get(path)).text)


async def test_urls_are_shown_as_text(tmp_path: Path) -> None:
    """A URL may hold what a page must not run, and no page makes a link of it.

    Its query may be a key: only the form that edits it has that.
    """
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(
            browser.relay, receiver, path="/hook/a='&b=(alert)&javascript:alert(1)?key=a='k3y"
        )
        delivery_id = await _tested(browser, webhook.id)
        for path in (
            "/webhooks",
            f"/webhooks/{webhook.id}",
            f"/webhooks/{webhook.id}/edit",
            f"/deliveries/{delivery_id}",
        ):
            page = await browser.get(path)
            is_form = path.endswith("edit")
            assert page.shows(webhook.url if is_form else webhook.url.partition("?")[0] + "?…")
            assert ("k3y" in page.text) == is_form
            assert f'href="{webhook.url}' not in page.text
            assert 'href="javascript:' not in page.text
            assert "a='" not in page.text


async def test_custom_headers_show_their_names_and_no_value(tmp_path: Path) -> None:
    """A custom header's value is on no page, also not in the form that edits it."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(
            browser.relay, receiver, headers=(("X-Token", "tell-nobody"), ("X-'`|~", HEADER_EVIL))
        )
        delivery_id = await _tested(browser, webhook.id)
        for path in (
            f"/webhooks/{webhook.id}",
            f"/webhooks/{webhook.id}/edit",
            f"/deliveries/{delivery_id}",
            f"/deliveries/{delivery_id}/attempts/1/curl",
        ):
            page = await browser.get(path)
            assert "X-Token" in page.text
            assert "tell-nobody" not in page.text
            assert "X-'`" not in page.text or path.endswith("curl")
            assert "<script>alert" not in page.text


async def test_filters_and_mistakes_are_shown_as_text(tmp_path: Path) -> None:
    """What somebody types comes back as text: filters, form fields, ids, refusals."""
    async with browsing(tmp_path) as browser:
        asked = {
            "/deliveries": ("state", "eventType", "since", "until", "eventId", "cursor"),
            "/events": ("eventType", "since", "until", "eventId", "cursor"),
            "/webhooks": ("q", "health", "page", "done"),
            "/find": ("id",),
            "/live": ("webhook",),
            "/sign-in": ("next",),
        }
        for path, names in asked.items():
            for name in names:
                async with browser.session.get(browser.url + path, params={name: EVIL}) as answer:
                    text = await answer.text()
                assert answer.status in {200, 404, 422}, text
                assert "<script>alert" not in text, (path, name)
                assert "<img src=x" not in text, (path, name)
        form = [(name, EVIL) for name in ("url", "description", "filter", "timeout", "events")]
        form += [("which", EVIL), ("format", EVIL), ("signatures", EVIL), ("auth_username", EVIL)]
        form += [("retry_schedule", EVIL), ("header_name", EVIL), ("header_value", EVIL)]
        page = await browser.post("/webhooks/new", form)
        assert page.status == 422
        assert_harmless(page.text)


async def test_curl_commands_are_quoted(tmp_path: Path) -> None:
    """A command to copy runs nothing but curl, whatever the payload holds."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver)
        data = {"a": "'; touch /tmp/x; '", "b": "$(id)`id`"}
        acceptor = browser.relay.acceptor
        line = json.dumps({"eventType": "verdict.block", "data": data}).encode()
        await acceptor.accept(acceptor.parser.parse_many(line))
        await browser.settlements.wait_for(1)
        page = await browser.get("/deliveries")
        delivery_id = page.text.partition('href="/deliveries/del')[2].partition('"')[0]
        answer = await browser.get(f"/deliveries/del{delivery_id}/attempts/1/curl")
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "'\"'\"'; touch /tmp/x; '\"'\"'" in answer.text


async def test_what_would_reorder_text_or_not_be_seen_is_spelled_out(tmp_path: Path) -> None:
    """A response can't turn the line around that shows it, nor hide anything in it."""
    body = "paid \u202eDELIAF\u202c and\u200bhidden \x1b[31m"
    reply = Reply(500, body.encode())
    async with Receiver(respond=reply) as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        page = await browser.get(f"/deliveries/{await _tested(browser, webhook.id)}")
        assert page.shows(r"paid \u202eDELIAF\u202c and\u200bhidden \x1b[31m")
        for unseen in "\u202e\u202c\u200b\x1b":
            assert unseen not in page.text

"""Signing in and out of the dashboard, and what a request needs to change something."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.api.keys import rotate
from prynt_relay.dashboard import sessions as sessions_module
from prynt_relay.dashboard.mount import _ACTIONS, _PAGES
from prynt_relay.dashboard.sessions import (
    ATTEMPTS,
    IDLE_S,
    LIFETIME_S,
    MAX_SESSIONS,
    Sessions,
    SignInLimit,
)
from tests.clock import FakeClock
from tests.integration.dashboard_client import Browser, browsing
from tests.integration.receivers import Receiver
from tests.integration.relays import subscribe


async def test_signing_in_takes_the_api_key_and_gives_a_strict_cookie(tmp_path: Path) -> None:
    """The key opens a session whose cookie no script can read and no other site sends along."""
    async with browsing(tmp_path, signed_in=False) as browser:
        answer = await browser.sign_in()
        assert (answer.status, answer.location) == (303, "/")
        (cookie,) = [
            each
            for each in answer.headers.getall("Set-Cookie")
            if each.startswith("prynt_relay_session=")
        ]
        assert re.fullmatch(
            r"prynt_relay_session=[\w-]{43}; HttpOnly; Path=/; SameSite=Strict", cookie
        )
        assert (await browser.get("/")).status == 200


async def test_behind_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    """A proxy that ends TLS says so, and the cookie then never travels in clear."""
    async with browsing(tmp_path, signed_in=False) as browser:
        form = await browser.get("/sign-in")
        answer = await browser.post(
            "/sign-in",
            {"csrf": form.token, "key": browser.key, "next": "/"},
            token=False,
            X_Forwarded_Proto="https",
        )
        cookies = answer.headers.getall("Set-Cookie")
        assert any("prynt_relay_session=" in each and "; Secure" in each for each in cookies)


async def test_a_wrong_key_opens_nothing(tmp_path: Path) -> None:
    """A wrong key is answered 401 and sets no session."""
    async with browsing(tmp_path, signed_in=False) as browser:
        answer = await browser.sign_in("sk_live_" + "x" * 32)
        assert answer.status == 401
        assert "That is not the API key." in answer.text
        assert (await browser.get("/")).location == "/sign-in"


async def test_wrong_keys_are_limited_and_then_even_the_right_one_waits(tmp_path: Path) -> None:
    """After ten wrong keys from one address no key is looked at for a minute."""
    clock = FakeClock()
    async with browsing(tmp_path, signed_in=False, clock=clock) as browser:
        for _ in range(ATTEMPTS):
            assert (await browser.sign_in("wrong")).status == 401
        refused = await browser.sign_in()
        assert refused.status == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 61
        await clock.advance(sessions_module.ATTEMPTS_WINDOW_S + 1)
        assert (await browser.sign_in()).status == 303


async def test_signing_out_ends_the_session_on_the_server(tmp_path: Path) -> None:
    """The cookie of a session that was signed out opens nothing any more, even kept."""
    async with browsing(tmp_path) as browser:
        kept = {each.key: each.value for each in browser.session.cookie_jar}
        assert (await browser.post("/sign-out")).location.startswith("/sign-in")
        browser.session.cookie_jar.update_cookies(kept)
        assert (await browser.get("/")).location == "/sign-in"


async def test_another_api_key_ends_every_session(tmp_path: Path) -> None:
    """A rotation of the key, under the running daemon, signs everybody out."""
    async with browsing(tmp_path) as browser:
        assert (await browser.get("/deliveries")).status == 200
        rotate(browser.relay.config.state_dir)
        assert (await browser.get("/deliveries")).location == "/sign-in?next=/deliveries"
        assert (await browser.post("/webhooks/new")).status == 303


async def test_after_signing_in_one_is_where_one_wanted_to_be(tmp_path: Path) -> None:
    """The page that asked for the key comes back; a page of another site never does."""
    async with browsing(tmp_path, signed_in=False) as browser:
        sent = await browser.get("/deliveries?state=failed&since=24h")
        form = await browser.get(sent.location)
        (wanted,) = re.findall(r'name="next" value="([^"]+)"', form.text)
        assert wanted == "/deliveries?state=failed&amp;since=24h"
        for evil in ("//evil.test", "https://evil.test/", "/\\evil.test", "/\t/evil.test", "x"):
            form = await browser.get("/sign-in")
            answer = await browser.post(
                "/sign-in", {"csrf": form.token, "key": browser.key, "next": evil}, token=False
            )
            assert (answer.status, answer.location) == (303, "/")
            browser.forget()


async def test_the_sign_in_form_has_a_token_too(tmp_path: Path) -> None:
    """Another site can't sign a browser in: its form lacks the token of ours."""
    async with browsing(tmp_path, signed_in=False) as browser:
        await browser.get("/sign-in")
        for token in ("", "guess"):
            answer = await browser.post(
                "/sign-in", {"csrf": token, "key": browser.key, "next": "/"}, token=False
            )
            assert answer.status == 403
            assert not any(
                each.startswith("prynt_relay_session=")
                for each in answer.headers.getall("Set-Cookie")
            )


async def test_no_page_is_shown_without_a_session(tmp_path: Path) -> None:
    """Each page sends who isn't signed in to the sign-in form, and shows nothing."""
    async with browsing(tmp_path, signed_in=False) as browser:
        for path, _ in _PAGES:
            answer = await browser.get(re.sub(r"{[^}]+}", "x", path))
            assert (answer.status, answer.body) == (303, b""), path
            assert answer.location.startswith("/sign-in")


async def _change_everything(browser: Browser, webhook_id: str, **how: Any) -> list[int]:
    """Try every action; returns the statuses."""
    statuses = []
    for path, _ in _ACTIONS:
        real = path.replace("{webhookId}", webhook_id).replace("{deliveryId}", "del_" + "0" * 13)
        if path != "/sign-out":
            answer = await browser.post(real, {"url": "https://other.test/", "which": "all"}, **how)
            statuses.append(answer.status)
    return statuses


async def test_nothing_changes_without_the_session_or_the_token(tmp_path: Path) -> None:
    """Every action needs both: without a session 303 to the form, without the token 403."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        before = list(browser.relay.registry)
        assert set(await _change_everything(browser, webhook.id, token=False)) == {403}
        token, browser.csrf = browser.csrf, "guess"
        assert set(await _change_everything(browser, webhook.id)) == {403}
        browser.csrf = token
        browser.forget()
        assert set(await _change_everything(browser, webhook.id)) == {303}
        assert list(browser.relay.registry) == before
        assert receiver.requests == []


async def test_a_forged_post_from_another_site_changes_nothing(tmp_path: Path) -> None:
    """Even with the cookie and the token, what a browser says comes from elsewhere is refused."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        before = list(browser.relay.registry)
        for headers in (
            {"Origin": "https://evil.test"},
            {"Origin": "null"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
        ):
            assert set(await _change_everything(browser, webhook.id, **headers)) == {403}
        assert list(browser.relay.registry) == before


async def test_reading_never_changes(tmp_path: Path) -> None:
    """What changes something doesn't answer to GET, apart from its confirmation page."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        before = list(browser.relay.registry)
        for path, _ in _ACTIONS:
            await browser.get(path.replace("{webhookId}", webhook.id))
        assert list(browser.relay.registry) == before
        assert receiver.requests == []


async def test_every_answer_has_the_headers_that_protect_it(tmp_path: Path) -> None:
    """Pages, refusals, redirects and files: no inline script, no frame, no sniffing."""
    async with browsing(tmp_path) as browser:
        style = re.findall(r'/assets/[^"]+', (await browser.get("/")).text)[0]
        for path in ("/", "/webhooks/new", "/webhooks/wh_none", "/events/x/y", "/sign-in", style):
            headers = (await browser.get(path)).headers
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
        assert (await browser.get("/")).headers["Cache-Control"] == "no-store"
        assert "immutable" in (await browser.get(style)).headers["Cache-Control"]


async def test_a_session_reads_the_api_and_does_not_change_it(tmp_path: Path) -> None:
    """The cookie opens the streams that pages follow, and no operation that changes anything."""
    async with browsing(tmp_path) as browser:
        assert (await browser.get("/v1/stats")).status == 200
        answer = await browser.post("/v1/webhooks", {"url": "https://other.test/"})
        assert answer.status == 401
        crossing = await browser.get("/v1/stats", Sec_Fetch_Site="cross-site")
        assert crossing.status == 401


@pytest.mark.parametrize("how", ["rotated", "signed out"])
async def test_a_stream_ends_with_what_opened_it(tmp_path: Path, how: str) -> None:
    """After another key, or signing out, an open stream shows nothing more and ends."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver)
        async with browser.session.get(f"{browser.url}/v1/stream") as stream:
            assert stream.status == 200
            if how == "rotated":
                rotate(browser.relay.config.state_dir)
            else:
                await browser.post("/sign-out")
            acceptor = browser.relay.acceptor
            line = b'{"eventType":"verdict.block","data":{}}'
            await acceptor.accept(acceptor.parser.parse_many(line))
            async with asyncio.timeout(10):
                text = await stream.content.read()
        assert b"not authorized any more" in text
        assert b"verdict.block" not in text


class _Keys:
    """A key that a test can change."""

    current = b"one"

    def valid(self, token: str) -> bool:
        return token == "key"

    def digest(self) -> bytes | None:
        return self.current


def _sessions() -> tuple[Sessions, FakeClock]:
    clock, count = FakeClock(), iter(range(10**6))
    return Sessions(_Keys(), clock, lambda size: next(count).to_bytes(size)), clock


async def test_a_session_ends_unused_and_at_the_latest_after_a_week() -> None:
    """Eight hours without use end it; seven days do, however much it is used."""
    sessions, clock = _sessions()
    idle, used = sessions.open("key"), sessions.open("key")
    assert idle is not None
    await clock.jump(IDLE_S - 1)
    assert sessions.find(used) is not None
    await clock.jump(2)
    assert sessions.find(idle) is None
    for _ in range(int(LIFETIME_S // (IDLE_S - 1))):
        assert sessions.find(used) is not None
        await clock.jump(IDLE_S - 1)
    assert sessions.find(used) is None
    assert len(sessions) == 0


async def test_a_page_that_refreshes_itself_does_not_keep_a_session() -> None:
    """What a page asks by itself isn't use."""
    sessions, clock = _sessions()
    token = sessions.open("key")
    await clock.jump(IDLE_S - 1)
    assert sessions.find(token, use=False) is not None
    await clock.jump(2)
    assert sessions.find(token) is None


def test_sessions_are_bounded_and_the_longest_unused_goes() -> None:
    """One session more than there may be ends the one that was unused for longest."""
    sessions, _ = _sessions()
    tokens = [sessions.open("key") for _ in range(MAX_SESSIONS)]
    assert sessions.find(tokens[0]) is not None
    sessions.open("key")
    assert len(sessions) == MAX_SESSIONS
    assert sessions.find(tokens[0]) is not None
    assert sessions.find(tokens[1]) is None


def test_addresses_are_counted_apart_and_a_network_together() -> None:
    """One address's wrong keys don't lock out another; a /64 of IPv6 counts as one."""
    limit = SignInLimit(FakeClock())
    for number in range(ATTEMPTS):
        limit.failed("192.0.2.1")
        limit.failed(f"2001:db8::{number:x}")
    assert limit.wait_s("192.0.2.1") > 0
    assert limit.wait_s("192.0.2.2") == 0
    assert limit.wait_s("2001:db8::ffff") > 0
    assert limit.wait_s("2001:db8:0:1::1") == 0

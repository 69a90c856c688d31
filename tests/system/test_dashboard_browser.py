"""The dashboard of the installed daemon in a real browser."""

import contextlib
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="pip install 'prynt-relay[browser]'")

from playwright.sync_api import BrowserContext, Page, expect

from prynt_relay.receiver import verify
from tests.system.cli_daemon import Daemon
from tests.system.dashboard_browser import Watched, axe_violations, browser
from tests.system.dashboard_receiver import Endpoint, receiving

pytestmark = pytest.mark.timeout(300)


class Desk:
    """A daemon, an endpoint, and a browser in front of them."""

    def __init__(self, daemon: Daemon, endpoint: Endpoint, context: BrowserContext) -> None:
        self.daemon = daemon
        self.endpoint = endpoint
        self.context = context
        self.watched = Watched(context.pages[0], daemon.url)

    @property
    def page(self) -> Page:
        return self.watched.page

    @property
    def key(self) -> str:
        folder = self.daemon.folder / ".local/state/prynt-relay"
        return (folder / "api-key").read_text().strip()

    def api(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own daemon
            self.daemon.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the same
            return json.loads(answer.read() or b"null")

    def event(self, event_type: str = "verdict.block") -> str:
        body = {"eventType": event_type, "data": {"visitorId": "pv_8kX2mNqR3jT7p"}}
        event_id: str = self.api("POST", "/v1/events", body)["eventId"]
        return event_id

    def until(self, holds: Callable[[], bool]) -> None:
        """Return once `holds` does; from outside there is nothing to wait on but to look."""
        deadline = time.monotonic() + 15
        while not holds():
            assert time.monotonic() < deadline, "not within 15 s"
            time.sleep(0.05)

    def click(self, role: Any, name: str) -> None:
        self.page.get_by_role(role, name=name, exact=True).first.click()

    def open(self, path: str) -> None:
        self.page.goto(self.daemon.url + path)

    def secret(self) -> str:
        return self.page.locator("#secret").inner_text()


@contextlib.contextmanager
def desk(tmp_path: Path, **options: Any) -> Iterator[Desk]:
    (tmp_path / "home").mkdir()
    daemon = Daemon(tmp_path / "home")
    try:
        daemon.start()
        with receiving() as endpoint, browser(tmp_path / "profile", **options) as context:
            yield Desk(daemon, endpoint, context)
    finally:
        daemon.stop()


def create_by_form(at: Desk) -> str:
    """Create a webhook with the form, as a person does; returns its secret."""
    page = at.page
    page.get_by_label("URL").fill("http://localhost.example:70000/")
    expect(page.locator("[data-verdict=url]")).to_contain_text("The URL")
    page.get_by_label("URL").fill(at.endpoint.url)
    expect(page.locator("[data-verdict=url]")).to_have_text("This URL can be used.")
    page.get_by_label("Description").fill("Fraud service")
    page.get_by_role("checkbox", name=re.compile("^verdict.block")).check()
    at.click("button", "Create webhook")
    expect(page.get_by_role("heading", name="Signing secret")).to_be_visible()
    return at.secret()


def test_the_story_of_a_webhook(tmp_path: Path) -> None:
    """Set up, test, see a failure, find why, retry, see it delivered, disable, enable, rotate."""
    with desk(tmp_path, permissions=["clipboard-read", "clipboard-write"]) as at:
        page, endpoint, watched = at.page, at.endpoint, at.watched
        watched.expected_statuses = {401}
        at.open("/webhooks")
        page.get_by_label("API key").fill("sk_live_wrong")
        at.click("button", "Sign in")
        expect(page.get_by_role("alert")).to_have_text("That is not the API key.")
        watched.expected_statuses = set()
        page.get_by_label("API key").fill(at.key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="No webhook yet")).to_be_visible()

        # set up
        at.click("link", "Create the first one")
        secret = create_by_form(at)
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{32}", secret)
        page.locator("[data-copy=secret]").click()
        expect(page.locator("#toast")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == secret
        page.reload()
        expect(page.locator("main")).to_contain_text("The secret was shown once")
        assert secret not in page.content()

        # test
        page.goto(page.url.removesuffix("/secret"))
        webhook_url = page.url
        at.click("button", "Send test event")
        expect(page.locator(".result")).to_contain_text("Answered 200")
        assert page.url == webhook_url, "the answer is shown on the spot"
        headers, body = endpoint.wait_for(1)
        verify(body, headers, [secret])

        # a failure, and why
        endpoint.status, endpoint.body = 503, b'{"error":"database is read-only"}'
        at.event()
        at.until(lambda: at.api("GET", "/v1/deliveries?limit=1")["data"][0]["lastStatus"] == 503)
        at.open("/deliveries?state=scheduled")
        row = page.locator("tbody tr").first
        expect(row).to_contain_text("503")
        expect(row.locator("[data-label='Next attempt']")).to_contain_text("in ")
        at.open("/")
        expect(page.locator(".attention")).to_contain_text("Fraud service fails")
        at.open("/deliveries?state=scheduled")
        row.get_by_role("link", name=re.compile("^del_")).click()
        expect(page.locator(".timeline")).to_contain_text("database is read-only")
        page.get_by_text("Copy as curl").click()
        expect(page.locator("#toast")).to_have_text("Copied")
        command = page.evaluate("navigator.clipboard.readText()")
        assert command.startswith("curl --request POST")
        assert endpoint.url in command

        # mended, retried, delivered: the page tells by itself
        endpoint.status, endpoint.body = 200, b"ok"
        at.click("button", "Attempt now")
        expect(page.locator(".status")).to_contain_text("Delivered", timeout=15_000)
        expect(page.locator(".timeline > li")).to_have_count(2)

        # disabled: held; enabled: sent again
        page.goto(webhook_url)
        at.click("link", "Disable")
        expect(page.locator("main")).to_contain_text("Nothing is lost")
        at.click("button", "Disable")
        expect(page.locator(".status")).to_contain_text("Disabled by hand")
        at.event()
        stats = f"/v1/stats?webhook={webhook_url.rpartition('/')[2]}"
        at.until(lambda: at.api("GET", stats)["backlog"]["held"] == 1)
        page.reload()
        expect(page.locator(".status")).to_contain_text("1 held")
        at.click("button", "Enable")
        expect(page.get_by_role("status").first).to_contain_text("The webhook is enabled")
        at.click("link", "Retry a window…")
        expect(page.locator(".count-figure")).to_have_text("1")
        at.click("button", "Send it again")
        expect(page.locator(".notice")).to_contain_text("1 delivery will be sent again")
        endpoint.wait_for(4)

        # a new secret, at once
        at.click("link", "Rotate secret")
        page.get_by_role("radio", name=re.compile("^At once")).check()
        at.click("button", "Rotate")
        expect(page.locator("#secret")).to_be_visible()
        fresh = at.secret()
        assert fresh != secret
        at.click("link", "Go to the webhook")
        at.click("button", "Send test event")
        expect(page.locator(".result")).to_contain_text("Answered 200")
        headers, body = endpoint.wait_for(5)
        verify(body, headers, [fresh])

        # gone
        at.click("link", "Delete")
        expect(page.locator("main")).to_contain_text("be undone")
        at.click("button", "Delete webhook")
        expect(page.get_by_role("heading", name="No webhook yet")).to_be_visible()
        at.click("button", "Sign out")
        expect(page.get_by_label("API key")).to_be_visible()
        assert watched.complaints == []


@pytest.mark.slow
def test_live_shows_attempts_as_they_end(tmp_path: Path) -> None:
    """Attempts appear at once; pausing keeps them back; a filter leaves out what isn't wanted."""
    with desk(tmp_path) as at:
        page = at.page
        at.api("POST", "/v1/webhooks", {"url": at.endpoint.url, "events": ["*"]})
        at.watched.sign_in(at.key)
        at.click("link", "Live")
        expect(page.locator("#live-state")).to_have_text("Following")
        rows = page.locator("#live tbody tr")
        at.event("verdict.block")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("verdict.block")
        at.click("button", "Pause")
        at.event("verdict.allow")
        expect(page.locator("#live-count")).to_contain_text("1 came while paused")
        assert rows.count() == 1
        at.click("button", "Resume")
        expect(rows).to_have_count(2)
        page.get_by_label("Outcome").select_option("failures")
        at.endpoint.status = 500
        at.event("rule.matched")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("500")
        at.daemon.stop()
        expect(page.locator("#live-state")).to_contain_text("Connection lost")
        assert [c for c in at.watched.complaints if "ERR_" not in c] == []


def everything(at: Desk) -> list[str]:
    """Make one of everything; returns every page."""
    made = at.api(
        "POST",
        "/v1/webhooks",
        {"url": at.endpoint.url, "events": ["*"], "description": "Fraud service",
         "headers": {"X-Tenant": "shop"}, "filter": "data.visitorId"},
    )  # fmt: skip
    bad = at.api(
        "POST",
        "/v1/webhooks",
        {"url": "http://127.0.0.1:9/none", "events": ["verdict.block"], "signatures": ["standard"]},
    )
    off = {"url": "https://off.receiver.test/", "events": ["rule.matched"], "enabled": False}
    at.api("POST", "/v1/webhooks", off)
    event = at.event()
    tests = [at.api("POST", f"/v1/webhooks/{each['id']}/test", {}) for each in (made, bad)]
    scheduled = at.api("GET", f"/v1/webhooks/{bad['id']}/deliveries?state=scheduled")["data"]
    own = f"/webhooks/{made['id']}"
    return [
        "/", "/?range=day", "/webhooks", "/webhooks?q=nothing", "/webhooks/new", own,
        f"/webhooks/{bad['id']}", f"{own}?tested={tests[0]['deliveryId']}",
        *(f"{own}/{each}" for each in
          ("edit", "secret", "disable", "rotate", "delete", "retry", "deliveries")),
        "/deliveries", "/deliveries?state=cancelled", "/deliveries?since=nonsense",
        f"/deliveries/{tests[0]['deliveryId']}", f"/deliveries/{tests[1]['deliveryId']}",
        f"/deliveries/{scheduled[0]['id']}", "/events", f"/events/{event}", "/live",
        "/webhooks/wh_none", "/sign-in",
    ]  # fmt: skip


@pytest.mark.slow
def test_no_page_breaks_an_accessibility_rule_complains_or_overflows(tmp_path: Path) -> None:
    """axe-core finds nothing of WCAG 2.1 A and AA; nothing is wider than the window."""
    with desk(tmp_path) as at:
        paths = everything(at)
        at.watched.expected_statuses = {404, 422}
        found = []
        at.open("/sign-in")
        for path in ["/sign-in?next=/", *paths]:
            at.open(path)
            for scheme in ("light", "dark"):
                at.page.emulate_media(color_scheme=scheme)
                found += [f"{path} {scheme}: {each}" for each in axe_violations(at.page)]
            for width in (360, 700, 800, 1400):
                at.page.set_viewport_size({"width": width, "height": 900})
                wide = at.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if wide > 0:
                    found.append(f"{path} at {width}: {wide} px too wide")
            if path == "/sign-in?next=/":
                at.watched.sign_in(at.key)
        assert found == []
        assert at.watched.complaints == []


def test_the_essential_pages_work_without_scripts(tmp_path: Path) -> None:
    """Without JavaScript: sign in, create, test, read, retry, disable and delete."""
    with desk(tmp_path, java_script_enabled=False) as at:
        page, endpoint = at.page, at.endpoint
        at.watched.sign_in(at.key)
        at.open("/webhooks/new")
        page.get_by_label("URL").fill(endpoint.url)
        page.get_by_role("radio", name=re.compile("^All events")).check()
        at.click("button", "Create webhook")
        secret = at.secret()
        at.click("link", "Go to the webhook")
        endpoint.status = 500
        at.click("button", "Send test event")
        expect(page.locator(".result")).to_contain_text("Answered 500")
        headers, body = endpoint.wait_for(1)
        verify(body, headers, [secret])
        page.locator(".result a").first.click()
        endpoint.status = 200
        at.click("button", "Retry")
        endpoint.wait_for(2)
        at.open("/deliveries?state=&eventType=&since=1h")
        page.locator("tbody a").first.click()
        expect(page.locator(".status")).to_contain_text("Delivered")
        expect(page.locator("time").first).to_contain_text("UTC")
        page.get_by_text("Copy as curl").last.click()
        expect(page.locator("body")).to_contain_text("curl --request POST")
        at.open("/webhooks")
        page.locator("tbody a").first.click()
        at.click("link", "Delete")
        at.click("button", "Delete webhook")
        expect(page.get_by_role("heading", name="No webhook yet")).to_be_visible()
        assert at.watched.complaints == []


@pytest.mark.slow
def test_a_gap_in_the_stream_is_told(tmp_path: Path) -> None:
    """Where attempts are missing, Live says so, and how many."""
    with desk(tmp_path) as at:
        at.watched.sign_in(at.key)
        at.page.route(
            "**/v1/stream",
            lambda route: route.fulfill(
                status=200,
                content_type="text/event-stream",
                body='retry: 60000\n\nid: 7\nevent: gap\ndata: {"missed":1234}\n\n'
                'id: 8\nevent: gap\ndata: {"missed":null}\n\n',
            ),
        )
        at.open("/live")
        gaps = at.page.locator("#live tr.gap")
        expect(gaps).to_have_count(2)
        expect(gaps.nth(1)).to_contain_text("1,234 attempts are missing here")
        expect(gaps.nth(0)).to_contain_text("Some attempts are missing here")
        assert at.watched.complaints == []


@pytest.mark.slow
def test_everything_is_within_reach_of_the_keyboard(tmp_path: Path) -> None:
    """Sign in, jump to the search, skip to the content, choose and send, all without a mouse."""
    with desk(tmp_path) as at:
        page, keys = at.page, at.page.keyboard
        made = at.api("POST", "/v1/webhooks", {"url": at.endpoint.url, "events": ["*"]})
        at.open(f"/webhooks/{made['id']}")
        expect(page.get_by_label("API key")).to_be_focused()
        keys.type(at.key)
        keys.press("Enter")
        expect(page).to_have_url(f"{at.daemon.url}/webhooks/{made['id']}")
        keys.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        keys.press("Enter")
        keys.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        keys.type(made["id"])
        keys.press("Enter")
        page.locator("#event_type").focus()
        keys.press("Tab")
        expect(page.get_by_role("button", name="Send test event")).to_be_focused()
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "what has the focus can be seen"
        keys.press("Enter")
        expect(page.locator(".result")).to_contain_text("Answered 200")
        assert at.watched.complaints == []

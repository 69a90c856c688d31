"""What the dashboard's pages say and do, beside a running relay."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from markupsafe import escape

from prynt_relay.config.settings import Egress
from prynt_relay.dashboard import words
from prynt_relay.dashboard.refusals import SAMPLES, Refusals
from prynt_relay.dashboard.snippets import snippets
from prynt_relay.model import ids
from prynt_relay.model.states import DeliveryState, SignatureScheme
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.store.history_retry import count_window
from tests.clock import FakeClock
from tests.integration.dashboard_client import Browser, browsing
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import subscribe
from tests.programs import program

STATIC = Path(words.__file__).parent / "static"


async def _event(browser: Browser, event_type: str = "verdict.block", **data: object) -> str:
    line = json.dumps({"eventType": event_type, "data": data}).encode()
    acceptor = browser.relay.acceptor
    (appended,) = await acceptor.accept(acceptor.parser.parse_many(line))
    return appended.event_id


def test_our_script_and_style_stay_small() -> None:
    """Everything that a browser loads beside the page is less than 60 KB."""
    assert sum(each.stat().st_size for each in STATIC.iterdir()) < 60_000


async def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    """No page, style or script names another host, or carries script or style of its own."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        for path in ("/", "/webhooks", f"/webhooks/{webhook.id}", "/live", "/webhooks/new"):
            text = (await browser.get(path)).text
            loaded = re.findall(r'(?:src|href|action)="([^"]*)"', text)
            assert all(each.startswith(("/", "#")) for each in loaded), loaded
            assert not re.search(r"<style|<script(?! src=)| style=| on\w+=", text)
    for file in STATIC.iterdir():
        urls = re.findall(r"https?://[^\s\"')]+", file.read_text())
        assert set(urls) <= {"http://www.w3.org/2000/svg"}


CREATION = [
    ("url", "https://shop.receiver.test/hook"),
    ("description", "Shop"),
    ("which", "some"),
    ("events", "verdict.block"),
    ("events", "verdict.allow"),
    ("format", "cloudevents"),
    ("signatures", "prynt"),
    ("signatures", "standard"),
    ("timeout", "3s"),
    ("retry_schedule", "10s, 5m 1h"),
    ("filter", "data.visitorId"),
    ("auth_username", "bob"),
    ("auth_password", "sesame"),
    ("header_name", "X-Tenant"),
    ("header_value", "eu"),
    ("header_name", ""),
    ("header_value", ""),
]


async def test_a_webhook_is_created_with_everything_the_form_offers(tmp_path: Path) -> None:
    """The form makes the webhook that the API would, and shows its secret once."""
    async with browsing(tmp_path) as browser:
        answer = await browser.post("/webhooks/new", CREATION)
        assert answer.status == 303
        (webhook,) = browser.relay.registry
        assert answer.location == f"/webhooks/{webhook.id}/secret"
        assert webhook.events == ("verdict.block", "verdict.allow")
        assert (webhook.format.label, webhook.timeout_s) == ("cloudevents", 3.0)
        assert webhook.signatures == (SignatureScheme.PRYNT, SignatureScheme.STANDARD)
        assert webhook.retry_schedule_s == (10.0, 300.0, 3600.0)
        assert webhook.filter == "data.visitorId"
        assert webhook.auth is not None
        assert (webhook.auth.username, webhook.auth.password) == ("bob", "sesame")
        assert webhook.headers == (("X-Tenant", "eu"),)
        secret = webhook.secrets.current
        assert (await browser.get(answer.location)).shows(secret)
        again = await browser.get(answer.location)
        assert secret not in again.text
        assert "The secret was shown once" in again.text


async def test_an_edit_keeps_what_it_does_not_show(tmp_path: Path) -> None:
    """Password and header values stay unless new ones are typed; a cleared name drops a header."""
    async with browsing(tmp_path) as browser:
        await browser.post("/webhooks/new", CREATION)
        (webhook,) = browser.relay.registry
        path = f"/webhooks/{webhook.id}/edit"
        form = await browser.get(path)
        assert "sesame" not in form.text
        fields = [pair for pair in CREATION if pair[0] not in {"auth_password", "timeout"}]
        fields = [(n, "" if n == "header_value" else v) for n, v in fields]
        fields += [("header_kept", "X-Tenant"), ("auth_kept", "1"), ("no_retry", "on")]
        assert (await browser.post(path, fields)).location == f"/webhooks/{webhook.id}?done=saved"
        (changed,) = browser.relay.registry
        assert changed.headers == (("X-Tenant", "eu"),)
        assert changed.auth is not None
        assert changed.auth.password == "sesame"
        assert (changed.timeout_s, changed.retry_schedule_s) == (None, ())
        fields = [(n, "" if n.startswith(("header_", "auth_")) else v) for n, v in fields]
        assert (await browser.post(path, fields)).status == 303
        (changed,) = browser.relay.registry
        assert (changed.headers, changed.auth) == ((), None)


MISTAKES = [
    (("url", "https://10.0.0.1/"), "The URL must name a domain"),
    (("events", "no.such"), "is not a known event type"),
    (("timeout", "soon"), "The timeout &#39;soon&#39; is no duration"),
    (("filter", "data."), "The filter at character"),
    (("format", "xml"), "The format must be one of"),
    (("retry_schedule", "1h soon"), "A pause before a retry"),
    (("auth_username", "a:b"), "The user name must not contain a colon"),
    (("auth_username", ""), "a password needs a user name"),
    (("header_name", "Host"), "Header Host is reserved"),
    (("header_name", "a b"), "is not a valid header name"),
    (("header_value", ""), "Header X-Tenant needs a value"),
]


async def test_a_mistake_is_told_at_its_field_and_nothing_is_lost(tmp_path: Path) -> None:
    """A refused form comes back as it was filled in, with what is wrong and where."""
    async with browsing(tmp_path, egress=Egress()) as browser:
        for change, says in MISTAKES:
            index = [each for each, _ in CREATION].index(change[0])
            fields = [*CREATION[:index], change, *CREATION[index + 1 :]]
            answer = await browser.post("/webhooks/new", fields)
            assert answer.status == 422, change
            assert says in answer.text
            assert 'aria-invalid="true"' in answer.text
            assert 'value="Shop"' in answer.text
            assert "sesame" not in answer.text, "a password isn't sent back"
        assert list(browser.relay.registry) == []


async def test_a_url_is_judged_as_it_is_typed_by_the_rules_of_the_api(tmp_path: Path) -> None:
    """The check says what creating would say; it needs the session and the token."""
    async with browsing(tmp_path, egress=Egress()) as browser:
        for url in ("http://a.test/", "https://127.0.0.1/", "https://a.test/", "https://u:p@a.b/"):
            said = json.loads((await browser.post("/check/url", {"url": url})).body)
            made = await browser.post("/webhooks/new", {"url": url, "which": "all"})
            refused = made.status == 422 and "The URL" in made.text
            assert said["ok"] is not refused, url
            assert said["ok"] or escape(said["message"]) in made.text
        said = json.loads((await browser.post("/check/filter", {"filter": "a."})).body)
        assert said["ok"] is False
        assert (await browser.post("/check/url", {"url": "x"}, token=False)).status == 403


async def test_a_filter_is_tried_on_the_latest_events_as_it_is_typed(tmp_path: Path) -> None:
    """The check says how many of the latest events a filter would let through."""
    async with browsing(tmp_path) as browser:

        async def said(expression: str) -> dict[str, object]:
            answer = await browser.post("/check/filter", {"filter": expression})
            found: dict[str, object] = json.loads(answer.body)
            return found

        assert await said("data.score") == {"ok": True, "message": "This is a valid filter."}
        for score in (10, 60, 90):
            await _event(browser, score=score)
        assert await said("data.score > `50`") == {
            "ok": True,
            "message": "Of the latest 3 events it lets 2 through.",
        }
        broken = await said("abs(data.name)")
        assert broken["ok"] is False
        assert "On 3 the filter fails" in str(broken["message"])


async def test_a_filter_that_fails_needs_attention(tmp_path: Path) -> None:
    """Events that a filter failed on are told on the overview, in the list and at the webhook."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver, filter="abs(data.name) > `1`")
        await _event(browser, name="bob")
        assert "has a filter that fails" in (await browser.get("/")).text
        assert "filter fails" in (await browser.get("/webhooks")).text
        assert "It failed on 1 event" in (await browser.get(f"/webhooks/{webhook.id}")).text


async def test_failing_and_disabled_webhooks_are_what_needs_attention(tmp_path: Path) -> None:
    """Since when one fails and when it will be disabled; which one was, and that it holds."""
    async with (
        Receiver(respond=Reply(500)) as receiver,
        browsing(tmp_path) as browser,
    ):
        empty = await browser.get("/")
        assert "There is no webhook yet" in empty.text
        webhook, _ = await subscribe(browser.relay, receiver, description="Shop")
        assert "Nothing needs attention" in (await browser.get("/")).text
        await _event(browser)
        await browser.settlements.wait_for(1)
        failing = browser.relay.registry.by_id(webhook.id)
        assert failing is not None
        assert failing.health.failing_since_ms is not None
        page = await browser.get("/")
        assert "<strong>fails</strong>" in page.text
        since, until = re.findall(r'<li class="warn">.*?</li>', page.text, re.DOTALL)[0].split(
            "the first failure after"
        )
        assert iso_ms(failing.health.failing_since_ms) in since
        (moment,) = re.findall(r'datetime="([^"]+)"', until)
        due = iso_ms(failing.health.failing_since_ms + 86_400_000)
        assert moment[:16] in {due[:16], iso_ms(int(time.time() * 1000) + 86_400_000)[:16]}
        listed = await browser.get("/webhooks?health=failing")
        assert "Shop" in listed.text
        assert "Shop" not in (await browser.get("/webhooks?health=healthy")).text


async def test_refused_events_need_attention(tmp_path: Path) -> None:
    """Events that were refused in the last hour are told by code."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver)
        browser.relay.metrics.event_rejected("unknown_event_type", 3)
        text = (await browser.get("/")).text
        assert "3 \N{MULTIPLICATION SIGN} <code>unknown_event_type</code>" in text


def test_refusals_are_those_of_the_last_hour() -> None:
    """What was refused more than an hour ago is no longer told."""
    counters = {"invalid_json": 5}
    refusals = Refusals(lambda: dict(counters))
    assert refusals.last_hour() == {}
    counters["invalid_json"] = 9
    assert refusals.last_hour() == {"invalid_json": 4}
    for _ in range(SAMPLES):
        refusals.sample()
    assert refusals.last_hour() == {}


async def test_pages_of_the_log_neither_repeat_nor_leave_out(tmp_path: Path) -> None:
    """Following "Older" meets every delivery once, though new ones come in meanwhile."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver)
        lines = json.dumps([{"eventType": "verdict.block", "data": {}}] * 120).encode()
        acceptor = browser.relay.acceptor
        await acceptor.accept(acceptor.parser.parse_many(lines))
        await browser.settlements.wait_for(120)
        seen: list[str] = []
        path = "/deliveries?state=&since=24h"
        while path:
            page = await browser.get(path)
            assert page.status == 200, page.text
            seen += re.findall(r'class="id" href="/deliveries/(del_\w+)"', page.text)
            found = re.search(r'rel="next" href="([^"]+)"', page.text)
            path = "" if found is None else found[1].replace("&amp;", "&")
            await _event(browser)
        assert len(seen) == len(set(seen)) == 120


async def test_what_has_an_id_is_found(tmp_path: Path) -> None:
    """The search takes ids of all kinds and says what is wrong with anything else."""
    async with browsing(tmp_path) as browser:
        for text, where in (
            (ids.delivery_id(5), "deliveries"),
            (ids.event_id(5, 1_790_000_000_000), "events"),
            ("wh_3kR8mNqT7xP2v", "webhooks"),
        ):
            assert (await browser.get(f"/find?id=%20{text}")).location == f"/{where}/{text}"
        assert (await browser.get("/find?id=nothing")).status == 404
        delivery = ids.delivery_id(5)
        assert (await browser.get(f"/deliveries?eventId={delivery}")).location == (
            f"/deliveries/{delivery}"
        )


async def test_a_window_is_counted_before_it_is_sent_again(tmp_path: Path) -> None:
    """The page counts what a retry would send; the retry then says the same number."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        changes = browser.relay.changes
        await changes.patch(webhook.id, WebhookInput(enabled=False))
        for _ in range(3):
            await _event(browser)
        path = f"/webhooks/{webhook.id}/retry"
        counted = await browser.get(f"{path}?since=1h&state=held")
        assert '<p class="count-figure">3</p>' in counted.text
        assert "Enable the webhook first" in counted.text
        refused = await browser.post(path, {"since": "1h", "state": "held"})
        assert refused.status == 409
        await browser.post(f"/webhooks/{webhook.id}/enable")
        assert "Nothing matches" in (await browser.get(f"{path}?state=failed")).text
        assert (await browser.get(f"{path}?since=often&state=held")).status == 422
        sent = await browser.post(path, {"since": "1h", "state": "held"})
        assert sent.location == f"/webhooks/{webhook.id}?retried=3"
        assert "3 deliveries will be sent again" in (await browser.get(sent.location)).text
        await receiver.wait_for(3)


async def test_counting_a_window_looks_at_a_bounded_number_of_rows(tmp_path: Path) -> None:
    """Beyond its budget the count says that there are at least so many."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        for _ in range(6):
            await _event(browser)
        await browser.settlements.wait_for(6)
        states = set(DeliveryState) - {DeliveryState.CANCELLED}

        async def count(budget: int) -> tuple[int, bool]:
            found = await browser.relay.store.read(
                lambda conn: count_window(conn, webhook.row, 0, None, states, budget)
            )
            return found.total, found.is_exact

        assert await count(100) == (6, True)
        total, is_exact = await count(3)
        assert (3 <= total <= 4, is_exact) == (True, False)


async def test_a_session_shows_a_rotated_secret_once_and_for_ten_minutes(tmp_path: Path) -> None:
    """A new secret that nobody looked at for ten minutes is no longer shown."""
    clock = FakeClock()
    async with Receiver() as receiver, browsing(tmp_path, clock=clock) as browser:
        webhook, old = await subscribe(browser.relay, receiver)
        path = f"/webhooks/{webhook.id}"
        sent = await browser.post(f"{path}/rotate", {"activate_in": "0s"})
        shown = await browser.get(sent.location)
        (secret,) = re.findall(r'id="secret">([^<]+)<', shown.text)
        assert secret != old
        assert "It signs from now on" in shown.text
        await browser.post(f"{path}/rotate", {"activate_in": "24h"})
        await clock.jump(601)
        assert 'id="secret"' not in (await browser.get(f"{path}/secret")).text
        assert (await browser.post(f"{path}/rotate", {"activate_in": "99d"})).status == 400


async def test_an_unforeseen_failure_is_a_page_that_names_the_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks, the reader gets a page without insides, and the log the traceback."""
    async with browsing(tmp_path) as browser:

        def broken(*_: object) -> None:
            raise ZeroDivisionError("insides")

        monkeypatch.setattr("prynt_relay.dashboard.entry_pages.look_around", broken)
        answer = await browser.get("/")
        assert answer.status == 500
        assert "its log names req_" in answer.text
        assert "insides" not in answer.text


async def test_forms_are_bounded(tmp_path: Path) -> None:
    """A form larger than any of ours is refused before it is read."""
    async with browsing(tmp_path) as browser:
        answer = await browser.post("/webhooks/new", {"description": "x" * 300_000})
        assert answer.status == 413


def test_json_is_indented_and_otherwise_left_alone() -> None:
    """Numbers, escapes and repeated keys stay as they were written; what isn't JSON stays whole."""
    text = '{"a":1.0,"big":123456789012345678901234567890,"e":1E400,"u":"\\u00e9","a":2}'
    shown = words.pretty(text)
    assert shown is not None
    assert re.sub(r"\s", "", shown) == text
    assert words.pretty("<html>") is None
    assert words.pretty("") is None
    assert words.pretty("[" * 100_000) is None
    deep = "[" * 100 + ",".join("0" * 50_000) + "]" * 100
    assert words.pretty(deep) is None, "a quarter of a megabyte doesn't become a page of ten"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (30 * 86_400, "30 days"),
        (90_000, "1 d 1 h"),
    ],
)
def test_spans_are_told_in_two_units_at_most(seconds: float, said: str) -> None:
    """A length of time is short to read."""
    assert words.span(seconds) == said


SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
BODY = b'{"a": "\xc3\xa9"}'


def _signed(scheme: SignatureScheme, secret: str) -> list[str]:
    """The arguments of a snippet's verify() after the body."""
    now = str(int(time.time()))
    if scheme is SignatureScheme.PRYNT:
        digest = hmac.new(secret.encode(), f"{now}.".encode() + BODY, hashlib.sha256).hexdigest()
        return [now, f"sha256={digest}"]
    if scheme is SignatureScheme.FINGERPRINT:
        return ["v1=" + hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = base64.b64encode(hmac.new(key, f"m.{now}.".encode() + BODY, hashlib.sha256).digest())
    return [
        json.dumps(
            {
                "webhook-id": "m",
                "webhook-timestamp": now,
                "webhook-signature": f"v1,{text.decode()}",
            }
        )
    ]


_PYTHON_TAIL = """
import json, sys
arguments = [json.loads(each) if each.startswith("{") else each for each in sys.argv[2:]]
sys.exit(verify(bytes.fromhex(sys.argv[1]), *arguments) is False)
"""
_NODE_TAIL = """
const [body, ...given] = process.argv.slice(2);
process.exit(verify(Buffer.from(body, "hex"), ...given) ? 0 : 1);
"""


@pytest.mark.parametrize("scheme", list(SignatureScheme))
def test_the_python_snippet_verifies(tmp_path: Path, scheme: SignatureScheme) -> None:
    """The code that is shown beside a secret accepts what it signed and nothing else."""
    if scheme is SignatureScheme.STANDARD:
        pytest.importorskip("standardwebhooks")
    file = tmp_path / "check.py"
    file.write_text(snippets([scheme])[0].code + _PYTHON_TAIL)
    for secret, code in ((SECRET, 0), ("whsec_" + "A" * 32, 1)):
        done = subprocess.run(
            [sys.executable, file, BODY.hex(), *_signed(scheme, secret)],
            env={"PRYNT_WEBHOOK_SECRET": SECRET},
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize("scheme", [SignatureScheme.PRYNT, SignatureScheme.FINGERPRINT])
def test_the_node_snippet_verifies(tmp_path: Path, scheme: SignatureScheme) -> None:
    """The same in Node."""
    file = tmp_path / "check.mjs"
    file.write_text(snippets([scheme])[1].code + _NODE_TAIL)
    for secret, code in ((SECRET, 0), ("whsec_" + "A" * 32, 1)):
        done = subprocess.run(
            [program("node", "nodejs"), file, BODY.hex(), *_signed(scheme, secret)],
            env={"PRYNT_WEBHOOK_SECRET": SECRET},
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == code, done.stderr


async def test_live_follows_with_the_session_alone(tmp_path: Path) -> None:
    """The stream that the page reads opens with the cookie, and shows an attempt."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver)
        async with browser.session.get(f"{browser.url}/v1/stream") as stream:
            assert stream.status == 200
            await _event(browser)
            async with asyncio.timeout(10):
                while b"event: attempt" not in await stream.content.readline():
                    pass


async def test_a_form_without_a_choice_says_what_to_choose(tmp_path: Path) -> None:
    """In the form's own words, not in those of the API's body, and with no raw backticks."""
    async with browsing(tmp_path, extra_event_types=("order.paid",)) as browser:
        for name, says in (
            (
                "events",
                "The list of events is empty: tick at least one type, or choose All events.",
            ),
            ("signatures", "The list of signatures is empty: tick at least one."),
        ):
            fields = [pair for pair in CREATION if pair[0] != name]
            answer = await browser.post("/webhooks/new", fields)
            assert answer.status == 422
            assert f'id="{name}-mistake">{says}</p>' in answer.text
        (text,) = re.findall(
            r"<code>order.paid</code><span class=\"sub\">(.*?)</span>", answer.text
        )
        assert "extra_event_types" in text
        assert "`" not in text

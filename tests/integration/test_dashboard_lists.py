"""What the dashboard's lists show of events and deliveries."""

import asyncio
import html
import json
import re
import shlex
import sys
from pathlib import Path

from tests.integration.dashboard_client import Browser, browsing
from tests.integration.receivers import Receiver
from tests.integration.relays import subscribe

PRYNT = Path(sys.executable).with_name("prynt")


async def _event(browser: Browser) -> str:
    acceptor = browser.relay.acceptor
    line = json.dumps({"eventType": "verdict.block", "data": {}}).encode()
    (appended,) = await acceptor.accept(acceptor.parser.parse_many(line))
    return appended.event_id


async def test_the_command_that_an_empty_page_shows_works(tmp_path: Path) -> None:
    """What a first user copies from the events' page sends an event."""
    async with browsing(tmp_path) as browser:
        page = (await browser.get("/events")).text
        (command,) = re.findall(r"<pre class=\"code\"[^>]*>(prynt .*?)</pre>", page)
        host, port = browser.relay.api.address
        done = await asyncio.create_subprocess_exec(
            *shlex.split(html.unescape(command).replace("prynt", str(PRYNT), 1)),
            env={
                "PRYNT_API_URL": f"http://{host}:{port}",
                "PRYNT_API_KEY_FILE": str(browser.relay.config.state_dir / "api-key"),
            },
        )
        assert await done.wait() == 0
        assert "No events yet" not in (await browser.get("/events")).text


async def test_samples_are_told_from_what_happened(tmp_path: Path) -> None:
    """Lists mark the events and deliveries that a test made, and no others."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        webhook, _ = await subscribe(browser.relay, receiver, description="Shop")
        await _event(browser)
        await browser.settlements.wait_for(1)
        await browser.post(f"/webhooks/{webhook.id}/test")
        for path in ("/deliveries", f"/webhooks/{webhook.id}/deliveries", f"/webhooks/{webhook.id}",
                     "/events"):  # fmt: skip
            page = (await browser.get(path)).text
            rows = re.findall(r"<tr>\s*<td class=\"c-state\">.*?</tr>", page, re.DOTALL)
            marked = ['<span class="tag">test</span>' in row for row in rows]
            assert marked == [True, False], path


async def test_lists_call_a_webhook_by_its_description(tmp_path: Path) -> None:
    """Webhooks on one host are told apart; one without a description by its host."""
    async with Receiver() as receiver, browsing(tmp_path) as browser:
        await subscribe(browser.relay, receiver, description="Shop")
        await subscribe(browser.relay, receiver)
        event_id = await _event(browser)
        await browser.settlements.wait_for(2)
        for path in ("/deliveries", f"/events/{event_id}"):
            page = await browser.get(path)
            names = re.findall(r'<td data-label="Webhook"><a [^>]*>(.*?)</a>', page.text)
            assert {html.unescape(name.replace("<wbr>", "")) for name in names} == {
                "Shop", receiver.host
            }, path  # fmt: skip

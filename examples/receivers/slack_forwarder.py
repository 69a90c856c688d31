"""Forward blocked visitors to Slack by hand, as the specification's section 8 does.

    pip install <prynt-relay's folder or wheel>
    PRYNT_WEBHOOK_SECRET=whsec_... SLACK_WEBHOOK_URL=https://hooks.slack.com/... \
        python slack_forwarder.py

A webhook with `"format": "slack"` needs no such server; write one to word the message yourself.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from prynt_relay.receiver import Event, SQLiteGuard, WebhookError, receive

SECRETS = os.environ["PRYNT_WEBHOOK_SECRET"].split(",")  # during a rotation: old,new
SLACK_WEBHOOK_URL = os.environ["SLACK_WEBHOOK_URL"]
SECONDS_BETWEEN_MESSAGES = 1.0  # Slack's limit for one incoming webhook
ATTEMPTS = 5
GUARD = web.AppKey("guard", SQLiteGuard)
ALERTS = web.AppKey("alerts", asyncio.Queue)


def text(value: object) -> str:
    """A value that can't mention or link; what is missing shows as a dash."""
    shown = "-" if value is None else str(value).replace("`", "'")[:500]
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def member(data: Any, *names: str) -> Any:
    """What stands at a path of nested objects, or None."""
    for name in names:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def message(event: Event) -> dict[str, Any]:
    """The specification's message for one blocked visitor."""
    data = event.data
    place = f"{text(member(data, 'geo', 'city'))}, {text(member(data, 'geo', 'country'))}"
    fields = {
        "Visitor": f"`{text(data.get('visitorId'))}`",
        "IP": text(data.get("ip")),
        "Location": place,
        "Suspect Score": f"{text(member(data, 'scores', 'suspect'))}/100",
        "Verdict": text(data.get("verdict")),
        "Bot Detected": text(member(data, "signals", "bot", "detected")),
    }
    title = f"🛑 *Prynt Alert: {text(event.event_type)}*"
    button = {
        "type": "button",
        "text": {"type": "plain_text", "text": "View in Dashboard"},
        "url": "https://prynt.id/app/event-detail?id=" + quote(str(data.get("requestId", "")), ""),
    }
    sections = [{"type": "mrkdwn", "text": f"*{name}:*\n{shown}"} for name, shown in fields.items()]
    return {
        "text": title,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": title}},
            {"type": "section", "fields": sections},
            {"type": "actions", "elements": [button]},
        ],
    }


async def webhook(request: web.Request) -> web.Response:
    """Verify, deduplicate, answer; Slack comes later."""
    body = await request.read()  # the raw bytes: what was signed
    try:
        event = receive(body, request.headers, SECRETS)
    except WebhookError as error:
        return web.json_response({"error": str(error)}, status=error.status)
    if not await asyncio.to_thread(request.app[GUARD].first, event.idempotency_key):
        return web.json_response({"skipped": True})
    if event.event_type == "verdict.block":
        # In memory, so lost if this process dies: use a durable queue for what must not be.
        request.app[ALERTS].put_nowait(event)
    return web.json_response({"received": True})


async def post(session: ClientSession, event: Event) -> None:
    """Send one message, with a few attempts."""
    for attempt in range(ATTEMPTS):
        try:
            async with session.post(SLACK_WEBHOOK_URL, json=message(event)) as response:
                if response.status == 200:
                    print("forwarded", event.event_id, flush=True)
                    return
                pause_s = float(response.headers.get("Retry-After", 2**attempt))
        except (ClientError, TimeoutError):
            pause_s = 2**attempt
        await asyncio.sleep(pause_s)
    print("gave up on", event.event_id, flush=True)


async def forwarder(app: web.Application) -> AsyncIterator[None]:
    """Send what is queued, in order and within Slack's limit."""

    async def run() -> None:
        async with ClientSession(timeout=ClientTimeout(total=10)) as session:
            while True:
                await post(session, await app[ALERTS].get())
                await asyncio.sleep(SECONDS_BETWEEN_MESSAGES)

    task = asyncio.create_task(run())
    yield
    task.cancel()


def application() -> web.Application:
    """The application."""
    app = web.Application()
    app[GUARD] = SQLiteGuard(os.environ.get("GUARD_FILE", "webhooks.db"))
    app[ALERTS] = asyncio.Queue()
    app.router.add_post("/webhooks/prynt", webhook)
    app.cleanup_ctx.append(forwarder)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))

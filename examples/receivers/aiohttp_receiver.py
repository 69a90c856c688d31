"""A receiver on aiohttp.

pip install <prynt-relay's folder or wheel>
PRYNT_WEBHOOK_SECRET=whsec_... python aiohttp_receiver.py
"""

import asyncio
import os
from collections.abc import AsyncIterator

from aiohttp import web

from prynt_relay.receiver import Event, SQLiteGuard, WebhookError, receive

SECRETS = os.environ["PRYNT_WEBHOOK_SECRET"].split(",")  # during a rotation: old,new
GUARD = web.AppKey("guard", SQLiteGuard)
WORK = web.AppKey("work", asyncio.Queue)


async def webhook(request: web.Request) -> web.Response:
    """Verify, deduplicate, answer; the work comes later."""
    body = await request.read()  # the raw bytes: what was signed
    try:
        event = receive(body, request.headers, SECRETS)
    except WebhookError as error:
        return web.json_response({"error": str(error)}, status=error.status)
    if not await asyncio.to_thread(request.app[GUARD].first, event.idempotency_key):
        return web.json_response({"skipped": True})
    # In memory, so lost if this process dies: use a durable queue for what must not be.
    request.app[WORK].put_nowait(event)
    return web.json_response({"received": True})


async def handle(event: Event) -> None:
    """Your own work; an event type that you don't know is no error."""
    await asyncio.sleep(float(os.environ.get("WORK_SECONDS", "0")))
    print(f"processed {event.event_id} {event.event_type}", flush=True)


async def worker(app: web.Application) -> AsyncIterator[None]:
    """Handle events one after the other for as long as the application runs."""

    async def run() -> None:
        while True:
            event = await app[WORK].get()
            try:
                await handle(event)
            except Exception as error:  # one event's trouble must not stop the others
                print("failed", event.event_id, repr(error), flush=True)

    task = asyncio.create_task(run())
    yield
    task.cancel()


def application() -> web.Application:
    """The application; aiohttp takes bodies up to 1 MiB unless told otherwise."""
    app = web.Application()
    app[GUARD] = SQLiteGuard(os.environ.get("GUARD_FILE", "webhooks.db"))
    app[WORK] = asyncio.Queue()
    app.router.add_post("/webhooks/prynt", webhook)
    app.cleanup_ctx.append(worker)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))

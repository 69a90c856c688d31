"""A receiver on FastAPI.

pip install <prynt-relay's folder or wheel> fastapi uvicorn
PRYNT_WEBHOOK_SECRET=whsec_... python fastapi_receiver.py
"""

import asyncio
import os
import time

import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from prynt_relay.receiver import Event, SQLiteGuard, WebhookError, receive

SECRETS = os.environ["PRYNT_WEBHOOK_SECRET"].split(",")  # during a rotation: old,new

app = FastAPI()
guard = SQLiteGuard(os.environ.get("GUARD_FILE", "webhooks.db"))


@app.post("/webhooks/prynt")
async def webhook(request: Request, background: BackgroundTasks) -> Response:
    """Verify, deduplicate, answer; the work comes later."""
    body = await request.body()  # the raw bytes, not a model: what was signed
    try:
        event = receive(body, request.headers, SECRETS)
    except WebhookError as error:
        return JSONResponse({"error": str(error)}, status_code=error.status)
    if not await asyncio.to_thread(guard.first, event.idempotency_key):
        return JSONResponse({"skipped": True})
    # In memory, so lost if this process dies: use a durable queue for what must not be.
    background.add_task(work, event)
    return JSONResponse({"received": True}, background=background)


def work(event: Event) -> None:
    """Handle one event in a thread; after the answer nobody else hears of what goes wrong."""
    try:
        handle(event)
    except Exception as error:
        print("failed", event.event_id, repr(error), flush=True)


def handle(event: Event) -> None:
    """Your own work; an event type that you don't know is no error."""
    time.sleep(float(os.environ.get("WORK_SECONDS", "0")))
    print(f"processed {event.event_id} {event.event_type}", flush=True)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))

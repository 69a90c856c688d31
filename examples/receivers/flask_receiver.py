"""A receiver on Flask.

pip install <prynt-relay's folder or wheel> flask
PRYNT_WEBHOOK_SECRET=whsec_... python flask_receiver.py
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, Response, jsonify, request

from prynt_relay.receiver import Event, SQLiteGuard, WebhookError, receive

SECRETS = os.environ["PRYNT_WEBHOOK_SECRET"].split(",")  # during a rotation: old,new

app = Flask(__name__)
guard = SQLiteGuard(os.environ.get("GUARD_FILE", "webhooks.db"))
workers = ThreadPoolExecutor(max_workers=4)


@app.post("/webhooks/prynt")
def webhook() -> Response | tuple[Response, int]:
    """Verify, deduplicate, answer; the work comes later."""
    try:
        event = receive(request.get_data(), request.headers, SECRETS)  # the raw bytes
    except WebhookError as error:
        return jsonify(error=str(error)), error.status
    if not guard.first(event.idempotency_key):
        return jsonify(skipped=True)
    # In memory, so lost if this process dies: use a durable queue for what must not be.
    workers.submit(work, event)
    return jsonify(received=True)


def work(event: Event) -> None:
    """Handle one event; a pool would keep what goes wrong to itself."""
    try:
        handle(event)
    except Exception as error:
        print("failed", event.event_id, repr(error), flush=True)


def handle(event: Event) -> None:
    """Your own work; an event type that you don't know is no error."""
    time.sleep(float(os.environ.get("WORK_SECONDS", "0")))
    print(f"processed {event.event_id} {event.event_type}", flush=True)


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "3000")), threaded=True)

"""A receiver on Django, in one file; in a project take the view and its URL.

pip install <prynt-relay's folder or wheel> django
PRYNT_WEBHOOK_SECRET=whsec_... python django_receiver.py
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from prynt_relay.receiver import Event, SQLiteGuard, WebhookError, receive

SECRETS = os.environ["PRYNT_WEBHOOK_SECRET"].split(",")  # during a rotation: old,new

guard = SQLiteGuard(os.environ.get("GUARD_FILE", "webhooks.db"))
workers = ThreadPoolExecutor(max_workers=4)


@csrf_exempt  # the signature proves more than a token would
@require_POST
def webhook(request: HttpRequest) -> JsonResponse:
    """Verify, deduplicate, answer; the work comes later."""
    try:
        event = receive(request.body, request.headers, SECRETS)  # the raw bytes
    except WebhookError as error:
        return JsonResponse({"error": str(error)}, status=error.status)
    if not guard.first(event.idempotency_key):
        return JsonResponse({"skipped": True})
    # In memory, so lost if this process dies: use a durable queue for what must not be.
    workers.submit(work, event)
    return JsonResponse({"received": True})


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


urlpatterns = [path("webhooks/prynt", webhook)]

if __name__ == "__main__":
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True)
    address = f"127.0.0.1:{os.environ.get('PORT', '3000')}"
    execute_from_command_line([sys.argv[0], "runserver", "--noreload", address])

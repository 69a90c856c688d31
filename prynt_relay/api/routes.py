"""Every operation of the API (contract, section 6)."""

from typing import Final

from prynt_relay.api import (
    inputs,
    log_handlers,
    open_handlers,
    outputs,
    parameters,
    stream_handlers,
    webhook_handlers,
)
from prynt_relay.api.operations import EVENT_STREAM, Operation, Reply, Schema, link

_EVENT_LINES: Final[Schema] = {
    "type": "string",
    "description": (
        "`attempt` events with a StreamedAttempt each, `gap` events with a StreamGap; comments "
        "in between keep the connection alive."
    ),
}
_ID: Final = "$response.body#/id"
_WEBHOOK_LINKS: Final = {
    name: link(name, {"webhookId": _ID}, description)
    for name, description in (
        ("getWebhook", "Read it."),
        ("changeWebhook", "Change it."),
        ("deleteWebhook", "Delete it."),
        ("rotateSecret", "Give it a new signing secret."),
        ("testWebhook", "Send it a sample."),
        ("retryWindow", "Send it again what failed."),
        ("listWebhookDeliveries", "See what became of its deliveries."),
    )
}
_FIRST_DELIVERY: Final = "$response.body#/data/0/id"
_DELIVERY_LINKS: Final = {
    "getDelivery": link(
        "getDelivery", {"deliveryId": _FIRST_DELIVERY}, "See the attempts of the newest."
    ),
    "retryDelivery": link(
        "retryDelivery", {"deliveryId": _FIRST_DELIVERY}, "Send the newest again."
    ),
}

OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/webhooks",
        "createWebhook",
        "webhooks",
        "Create a webhook",
        webhook_handlers.create_webhook,
        Reply(
            201,
            "Created; the signing secret is shown this once.",
            outputs.CreatedWebhook,
            headers={"Location": "Where the webhook is."},
            links=_WEBHOOK_LINKS,
        ),
        parameters=(parameters.ONCE,),
        body=inputs.CreateWebhook,
        body_required=True,
    ),
    Operation(
        "GET",
        "/v1/webhooks",
        "listWebhooks",
        "webhooks",
        "List webhooks, newest first",
        webhook_handlers.list_webhooks,
        Reply(200, "A page of webhooks.", outputs.WebhookList),
        parameters=parameters.LIST,
    ),
    Operation(
        "GET",
        "/v1/webhooks/{webhookId}",
        "getWebhook",
        "webhooks",
        "Read a webhook",
        webhook_handlers.get_webhook,
        Reply(200, "The webhook.", outputs.WebhookView),
        parameters=(parameters.WEBHOOK,),
        problems=(404,),
    ),
    Operation(
        "PATCH",
        "/v1/webhooks/{webhookId}",
        "changeWebhook",
        "webhooks",
        "Change a webhook",
        webhook_handlers.change_webhook,
        Reply(200, "The webhook as it is now.", outputs.WebhookView),
        description="Disabling holds what is scheduled; `retry` sends it once it is enabled again.",
        parameters=(parameters.WEBHOOK,),
        body=inputs.ChangeWebhook,
        body_required=True,
        problems=(404, 409),
    ),
    Operation(
        "DELETE",
        "/v1/webhooks/{webhookId}",
        "deleteWebhook",
        "webhooks",
        "Delete a webhook",
        webhook_handlers.delete_webhook,
        Reply(204, "Deleted; what was scheduled or held is being cancelled."),
        parameters=(parameters.WEBHOOK,),
        problems=(404, 409),
    ),
    Operation(
        "POST",
        "/v1/webhooks/{webhookId}/rotate-secret",
        "rotateSecret",
        "webhooks",
        "Give a webhook a new signing secret",
        webhook_handlers.rotate_secret,
        Reply(200, "The new secret, shown this once.", outputs.RotatedSecret),
        description="The old one signs until then. Again while one is pending: replaces that.",
        parameters=(parameters.WEBHOOK, parameters.ONCE),
        body=inputs.RotateSecret,
        problems=(404,),
    ),
    Operation(
        "POST",
        "/v1/webhooks/{webhookId}/test",
        "testWebhook",
        "webhooks",
        "Deliver a sample now",
        webhook_handlers.test_webhook,
        Reply(200, "The attempt, whatever came of it.", outputs.TestedAttempt),
        description="Works on a disabled webhook too, and has no part in disabling one.",
        parameters=(parameters.WEBHOOK, parameters.ONCE),
        body=inputs.TestWebhook,
        problems=(404,),
    ),
    Operation(
        "POST",
        "/v1/webhooks/{webhookId}/retry",
        "retryWindow",
        "webhooks",
        "Send again what the relay received in a window",
        webhook_handlers.retry_window,
        Reply(200, "How many deliveries were scheduled again.", outputs.RetriedWindow),
        description="Their schedules start anew; a scheduled one gets one attempt in between.",
        parameters=(parameters.WEBHOOK, parameters.ONCE),
        body=inputs.RetryWindow,
        body_required=True,
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/webhooks/{webhookId}/deliveries",
        "listWebhookDeliveries",
        "deliveries",
        "List a webhook's deliveries, newest first",
        log_handlers.list_webhook_deliveries,
        Reply(200, "A page of deliveries.", outputs.DeliveryList, links=_DELIVERY_LINKS),
        parameters=(parameters.WEBHOOK, *parameters.DELIVERIES),
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/webhooks/{webhookId}/stream",
        "streamWebhook",
        "streams",
        "Follow a webhook's attempts",
        stream_handlers.stream_webhook,
        Reply(200, "Server-Sent Events, until either end closes.", _EVENT_LINES, EVENT_STREAM),
        parameters=(parameters.WEBHOOK, parameters.RESUME),
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/deliveries",
        "listDeliveries",
        "deliveries",
        "List the deliveries of all webhooks, newest first",
        log_handlers.list_all_deliveries,
        Reply(200, "A page of deliveries.", outputs.DeliveryList, links=_DELIVERY_LINKS),
        parameters=parameters.DELIVERIES,
    ),
    Operation(
        "GET",
        "/v1/deliveries/{deliveryId}",
        "getDelivery",
        "deliveries",
        "Read a delivery with its attempts",
        log_handlers.get_one_delivery,
        Reply(200, "The delivery.", outputs.DeliveryDetail),
        parameters=(parameters.DELIVERY,),
        problems=(404,),
    ),
    Operation(
        "POST",
        "/v1/deliveries/{deliveryId}/retry",
        "retryDelivery",
        "deliveries",
        "Send a delivery again",
        log_handlers.retry_delivery,
        Reply(200, "The delivery, scheduled.", outputs.Delivery),
        description=(
            "Of a failed, held or delivered one the schedule starts anew. Of a scheduled one it "
            "makes one attempt now: success settles it, failure leaves the schedule as it was."
        ),
        parameters=(parameters.DELIVERY, parameters.ONCE),
        problems=(404, 413, 415),
    ),
    Operation(
        "GET",
        "/v1/stream",
        "streamAll",
        "streams",
        "Follow the attempts of all webhooks",
        stream_handlers.stream_all,
        Reply(200, "Server-Sent Events, until either end closes.", _EVENT_LINES, EVENT_STREAM),
        parameters=(parameters.RESUME,),
    ),
    Operation(
        "GET",
        "/v1/events",
        "listEvents",
        "events",
        "List events, newest first",
        log_handlers.list_event_log,
        Reply(
            200,
            "A page of events.",
            outputs.EventList,
            links={
                "getEvent": link(
                    "getEvent", {"eventId": "$response.body#/data/0/eventId"}, "Read the newest."
                )
            },
        ),
        parameters=(*parameters.LIST, parameters.TYPE, *parameters.WINDOW),
    ),
    Operation(
        "POST",
        "/v1/events",
        "sendEvents",
        "events",
        "Hand in an event, or up to 1,000 at once",
        log_handlers.send_events,
        Reply(
            200,
            "On disk, with all deliveries; of an array as many answers, in its order.",
            {
                "anyOf": [
                    {"$ref": "#/components/schemas/AcceptedEvent"},
                    {"type": "array", "items": {"$ref": "#/components/schemas/AcceptedEvent"}},
                ]
            },
            links={
                "getEvent": link("getEvent", {"eventId": "$response.body#/eventId"}, "Read it.")
            },
        ),
        description="All of an array are taken, or none; a refusal names the first bad one.",
        parameters=(parameters.ONCE,),
        body={
            "anyOf": [
                {"$ref": "#/components/schemas/EventInput"},
                {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/EventInput"},
                    "maxItems": 1000,
                },
            ]
        },
        body_required=True,
    ),
    Operation(
        "GET",
        "/v1/events/{eventId}",
        "getEvent",
        "events",
        "Read an event with its data and deliveries",
        log_handlers.get_one_event,
        Reply(200, "The event.", outputs.EventDetail),
        parameters=(parameters.EVENT,),
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/stats",
        "getStats",
        "figures",
        "Figures of the last hour and day, and what waits",
        open_handlers.get_stats,
        Reply(200, "The figures.", outputs.Stats),
        parameters=parameters.STATS,
        problems=(404,),
    ),
    Operation(
        "GET",
        "/v1/event-types",
        "listEventTypes",
        "events",
        "List the event types, with samples",
        open_handlers.list_event_types,
        Reply(200, "All types that the relay takes.", outputs.EventTypeList),
    ),
    Operation(
        "GET",
        "/.well-known/webhook-ips",
        "webhookIps",
        "open",
        "Where deliveries come from",
        open_handlers.webhook_ips,
        Reply(200, "Networks and addresses.", outputs.IpRanges),
        needs_key=False,
    ),
    Operation(
        "GET",
        "/healthz",
        "healthz",
        "open",
        "Whether the process answers",
        open_handlers.healthz,
        Reply(200, "It does.", outputs.Health),
        needs_key=False,
    ),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        "open",
        "Whether the daemon takes events",
        open_handlers.readyz,
        Reply(200, "It does.", outputs.Health),
        needs_key=False,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "open",
        "This document",
        open_handlers.get_openapi,
        Reply(200, "OpenAPI 3.1.", {"type": "object"}),
        needs_key=False,
    ),
)

"""What the API answers, as rows that the command line's tests fill in."""

from typing import Any

HOOK = "wh_3kR8mNqT7xP2v"
DELIVERY = "del_x9K2mNpR7jT3q"
EVENT = "evt_9fJ3kL7mNpR2x"


def webhook(number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": HOOK if not number else f"wh_{number:013d}",
        "url": "https://yourapp.com/webhooks/prynt",
        "events": ["verdict.block"],
        "description": "Fraud alerts",
        "enabled": True,
        "disabledReason": None,
        "disabledAt": None,
        "failingSince": None,
        "createdAt": "2026-02-14T10:30:00.000Z",
        "updatedAt": "2026-02-14T10:30:00.000Z",
        "auth": {"type": "basic", "username": "bob"},
        "headers": {"X-Team": "***"},
        "format": "prynt",
        "signatures": ["prynt"],
        "timeout": None,
        "retrySchedule": ["5m"],
        "filter": None,
        "filterFailures": None,
        "secretRotatesAt": None,
        **more,
    }


def attempt(number: int, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "trigger": "schedule",
        "startedAt": "2026-02-14T11:45:22.341Z",
        "durationMs": 12,
        "outcome": "http_error",
        "error": None,
        "request": {
            "url": "https://yourapp.com/webhooks/prynt",
            "headers": {
                "Content-Type": "application/json",
                "X-Prynt-Event": "verdict.block",
                "X-Prynt-Delivery": EVENT,
                "X-Prynt-Timestamp": "1707832922",
                "X-Prynt-Signature": "sha256=5f1d",
                "webhook-signature": "v1,5f1d",
                "Authorization": "***",
            },
            "body": '{"eventId":"' + EVENT + '","data":{"confidence":1.0}}',
        },
        "response": {
            "status": 503,
            "headers": {"Content-Type": "text/html", "Server": "evil\x1b]0;x\x07"},
            "body": "<h1>\x1b[2Jbusy</h1>\r\n[red]",
            "truncated": True,
        },
        **more,
    }


def delivery(number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": DELIVERY if not number else f"del_{number:013d}",
        "webhookId": HOOK,
        "eventId": EVENT,
        "eventType": "verdict.block",
        "state": "failed",
        "createdAt": "2026-02-14T11:45:22.341Z",
        "nextAttemptAt": None,
        "attemptCount": 2,
        "lastOutcome": "http_error",
        "lastStatus": 503,
        "attempts": [],
        **more,
    }


def row(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name != "attempts"}

"""Webhooks as people read them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prynt_relay.cli.prynt.moments import ago, exact, parse_moment, rough
from prynt_relay.cli.prynt.terminal import Cell, Column, Terminal
from prynt_relay.escape import less_secret

_LABELS: Final = {
    "url": "URL",
    "description": "Description",
    "events": "Events",
    "filter": "Filter",
    "filterFailures": "Filter failures",
    "format": "Format",
    "signatures": "Signatures",
    "timeout": "Timeout",
    "retrySchedule": "Retries",
    "auth": "Authentication",
    "headers": "Headers",
    "secretRotatesAt": "New secret from",
    "failingSince": "Failing since",
    "disabledAt": "Disabled",
    "createdAt": "Created",
    "updatedAt": "Changed",
}
_MOMENTS: Final = frozenset(
    {"secretRotatesAt", "failingSince", "disabledAt", "createdAt", "updatedAt"}
)
_CONFIGURED: Final = frozenset({"timeout", "retrySchedule"})
_ELSEWHERE: Final = frozenset({"id", "enabled", "disabledReason", "signingSecret"})


def state_cell(webhook: Mapping[str, Any], now_s: float) -> Cell:
    """Return whether a webhook is on, and what ails it."""
    if not webhook["enabled"]:
        failing = webhook.get("disabledReason") == "failing"
        return Cell("disabled: failing", "red") if failing else Cell("disabled", "dim")
    if webhook.get("failingSince"):
        failing_s = now_s - parse_moment(webhook["failingSince"])
        return Cell(f"failing {rough(max(failing_s, 1))}", "yellow")
    return Cell("enabled", "green")


def list_webhooks(terminal: Terminal, webhooks: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of webhooks; only `get` shows what of a URL may be a key."""
    now_s = time.time()
    ids = Column("WEBHOOK", [Cell(row["id"]) for row in webhooks])
    states = Column("STATE", [state_cell(row, now_s) for row in webhooks])
    urls = Column("URL", [Cell(shown_url(row)) for row in webhooks], 36, middle=True)
    brief_urls = urls._replace(
        cells=[Cell(cell.text.partition("://")[2]) for cell in urls.cells], least=22
    )
    events = Column("EVENTS", [Cell(_events(row["events"])) for row in webhooks], 23)
    texts = Column("DESCRIPTION", [Cell(row.get("description") or "") for row in webhooks], 15)
    made = Column("CREATED", [Cell(ago(row["createdAt"], now_s), "dim") for row in webhooks])
    described = [texts] if any(row.get("description") for row in webhooks) else []
    brief_events = events._replace(least=9)
    # On a narrow terminal too: it was written to tell webhooks apart.
    brief_texts = [column._replace(least=10) for column in described]
    terminal.table(
        [
            [ids, states, urls, events, *described, made],
            *([] if described else [[ids, states, urls, events]]),
            [ids, states, brief_urls, brief_events, *brief_texts],
            [ids, states, brief_urls._replace(least=18), brief_events, *brief_texts],
        ]
    )


def show_webhook(terminal: Terminal, webhook: Mapping[str, Any]) -> None:
    """Print one webhook with all that the API tells of it."""
    now_s = time.time()
    terminal.say(Cell(webhook["id"], "bold"), "  ", state_cell(webhook, now_s))
    known = [name for name in _LABELS if name in webhook]
    others = [name for name in webhook if name not in _LABELS and name not in _ELSEWHERE]
    for name in known + others:
        value = webhook[name]
        if value in (None, "", [], {}) and name not in _CONFIGURED:
            continue
        if value is None:
            text = "the configuration's"
        else:
            text = exact(value, now_s) if name in _MOMENTS else _plain(name, value)
        terminal.say(Cell(f"  {_LABELS.get(name, name):<16}", "dim"), text)


def show_secret(terminal: Terminal, secret: str) -> None:
    """Print a signing secret with what to do with it."""
    terminal.say(Cell(f"  {'Signing secret':<16}", "dim"), Cell(secret, "bold"))
    terminal.notice("Store the signing secret now: it is not shown again.")


def _plain(name: str, value: Any) -> str:
    if name == "retrySchedule":
        return ", ".join(map(str, value)) if value else "none"
    if name == "filterFailures":
        times = "once" if value["count"] == 1 else f"{value['count']:,} times, last"
        return f"{times} at {value['lastAt']}: {value['lastError']}"
    if name == "auth":
        return f"{value['type']}, as {value['username']}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    if isinstance(value, list):
        return "all" if value == ["*"] else ", ".join(map(str, value))
    return str(value)


def _events(events: Sequence[str]) -> str:
    return "all" if list(events) == ["*"] else ", ".join(events)


def shown_url(webhook: Mapping[str, Any]) -> str:
    """Return where a webhook is sent, without the keys that its URL may hold."""
    return less_secret(str(webhook["url"]), is_slack=webhook.get("format") == "slack")

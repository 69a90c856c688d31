"""The list of webhooks, one webhook, its new secret."""

import asyncio
import sqlite3
from typing import Any, Final

import msgspec
from aiohttp import web

from prynt_relay.api import presenters
from prynt_relay.api.deps import DEPS, Deps
from prynt_relay.api.open_handlers import read_stats
from prynt_relay.api.outputs import BacklogView, DeliveryDetail, WebhookView
from prynt_relay.clock import wall_offset_ms
from prynt_relay.dashboard import charts
from prynt_relay.dashboard.attention import Health, disables_at_ms, health_of
from prynt_relay.dashboard.samples import sample_deliveries
from prynt_relay.dashboard.site import SESSION, SITE
from prynt_relay.dashboard.snippets import snippets
from prynt_relay.errors import NotFoundError
from prynt_relay.model import ids
from prynt_relay.model.webhook import Webhook
from prynt_relay.store import rollups
from prynt_relay.store.history import DeliveryFilter, DeliveryRow, list_deliveries
from prynt_relay.store.history_detail import delivery_detail

PER_PAGE: Final = 25
RECENT: Final = 8

HEALTH_FILTERS: Final = {
    "": "All",
    "healthy": "Healthy",
    "failing": "Failing",
    "disabled": "Disabled",
}


class Line(msgspec.Struct, frozen=True):
    """One webhook of the list."""

    view: WebhookView
    health: Health
    disables_at_ms: int | None
    backlog: BacklogView
    spark: charts.Chart


def webhook_of(request: web.Request) -> Webhook:
    """Return the webhook that the path names; raises NotFoundError."""
    webhook_id = request.match_info["webhookId"]
    webhook = request.app[DEPS].registry.by_id(webhook_id)
    if webhook is None:
        raise NotFoundError(
            f"There is no webhook {webhook_id[:40]!r}. It may have been deleted; its deliveries "
            "stay in the log for as long as history is kept."
        )
    return webhook


async def webhook_list(request: web.Request) -> web.Response:
    """GET /webhooks."""
    deps, site = request.app[DEPS], request.app[SITE]
    text = request.query.get("q", "").strip()[:200]
    health = request.query.get("health", "")
    everything = list(deps.registry)
    everything.reverse()
    found = [each for each in everything if _matches(each, text.lower(), health)]
    first = _page_number(request) * PER_PAGE
    shown = found[first : first + PER_PAGE]
    lines = await _lines(request, shown)
    return await site.render(
        request,
        "webhooks.html",
        lines=lines,
        q=text,
        health=health,
        health_filters=HEALTH_FILTERS,
        total=len(found),
        registered=len(everything),
        first=first,
        page=first // PER_PAGE,
        has_next=first + PER_PAGE < len(found),
    )


def _page_number(request: web.Request) -> int:
    text = request.query.get("page", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _matches(webhook: Webhook, text: str, health: str) -> bool:
    if health and not health_of(webhook).startswith(health):
        return False
    words = (webhook.id.lower(), webhook.url.lower(), webhook.description.lower())
    return not text or any(text in word for word in words)


async def _lines(request: web.Request, webhooks: list[Webhook]) -> list[Line]:
    deps, site = request.app[DEPS], request.app[SITE]
    now_ms, schedule_ms = deps.clock.wall_ms(), deps.clock.schedule_ms()

    def read(conn: sqlite3.Connection) -> list[list[rollups.Interval]]:
        return [rollups.read(conn, rollups.HOUR_S, 24, now_ms, each.row) for each in webhooks]

    days = await deps.storage.read(read)
    backlogs = [await deps.upkeep.backlog(each.row) for each in webhooks]
    return [
        Line(
            presenters.webhook_fields(webhook, now_ms, deps.filter_failures(webhook.row)),
            health_of(webhook),
            disables_at_ms(deps, site, webhook),
            presenters.backlog(backlog, schedule_ms),
            charts.spark(presenters.intervals(day)),
        )
        for webhook, day, backlog in zip(webhooks, days, backlogs, strict=True)
    ]


async def webhook_page(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}."""
    deps, site = request.app[DEPS], request.app[SITE]
    webhook = webhook_of(request)
    stats = await read_stats(deps, webhook.id, webhook.row)
    rows = await deps.storage.read(lambda conn: _recent(conn, webhook.row))
    recent = [presenters.delivery(row, wall_offset_ms(deps.clock)) for row in rows]
    return await site.render(
        request,
        "webhook.html",
        **describe(request, webhook),
        backlog=stats.backlog,
        charts=(charts.attempts_chart(stats.hours), charts.latency_chart(stats.hours)),
        ratio=charts.percent(charts.success_ratio(stats.hours)),
        recent=recent,
        samples=await sample_deliveries(deps, (row.id for row in recent)),
        event_types=_testable(deps, webhook),
        tested=await read_attempt(deps, webhook, request.query.get("tested", "")),
        timeout_s=site.settings.timeout_s(),
        retry_schedule_s=list(site.settings.retry_schedule_s()),
        retried=_count(request, "retried"),
    )


def _count(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def describe(request: web.Request, webhook: Webhook) -> dict[str, Any]:
    """Return what every page about one webhook shows of it."""
    deps, site = request.app[DEPS], request.app[SITE]
    return {
        "webhook": presenters.webhook_fields(
            webhook, deps.clock.wall_ms(), deps.filter_failures(webhook.row)
        ),
        "health": health_of(webhook),
        "disables_at_ms": disables_at_ms(deps, site, webhook),
        "failures": webhook.health.failures,
        "host": webhook.host,
    }


def _recent(conn: sqlite3.Connection, webhook_row: int) -> list[DeliveryRow]:
    return list_deliveries(conn, DeliveryFilter(webhook_row=webhook_row), None, RECENT).rows


def _testable(deps: Deps, webhook: Webhook) -> list[str]:
    """Return the types to test with, those that the webhook gets first."""
    names = [info.name for info in deps.event_types]
    if "*" in webhook.events:
        return names
    return [*webhook.events, *(name for name in names if name not in webhook.events)]


async def read_attempt(deps: Deps, webhook: Webhook, delivery_id: str) -> DeliveryDetail | None:
    """Return the delivery of a test that was just made, None where there is none."""
    row = ids.delivery_row(delivery_id)
    if row is None:
        return None
    found = await deps.storage.read(lambda conn: delivery_detail(conn, row, 1))
    if found is None or found.delivery.webhook_row != webhook.row or not found.attempts:
        return None
    return await asyncio.to_thread(
        presenters.delivery_detail, found, deps.describe, deps.render, wall_offset_ms(deps.clock)
    )


async def secret_page(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/secret: a new signing secret, once."""
    site = request.app[SITE]
    webhook = webhook_of(request)
    found = site.sessions.take_secret(request[SESSION], webhook.id)
    return await site.render(
        request,
        "secret.html",
        **describe(request, webhook),
        secret=None if found is None else found.secret,
        active_from_ms=None if found is None else found.active_from_ms,
        snippets=snippets(webhook.signatures),
    )

"""Figures, the catalogue, and what needs no key."""

import structlog
from aiohttp import web

from prynt_relay.api import presenters
from prynt_relay.api.answers import answer
from prynt_relay.api.deps import DEPS, OPENAPI, Deps
from prynt_relay.api.outputs import EventTypeList, EventTypeView, Health, IpRanges, Stats
from prynt_relay.api.problems import RETRY_AFTER_S, ProblemError
from prynt_relay.api.queries import read_query
from prynt_relay.errors import NotFoundError, StorageUnavailableError
from prynt_relay.store import rollups

_log = structlog.stdlib.get_logger(__name__)


async def get_stats(request: web.Request) -> web.Response:
    """GET /v1/stats."""
    deps = request.app[DEPS]
    webhook_id = read_query(request, ("webhook",)).get("webhook")
    row = None
    if webhook_id is not None:
        webhook = deps.registry.by_id(webhook_id)
        if webhook is None:
            raise NotFoundError(f"there is no webhook {webhook_id[:40]!r}")
        row = webhook.row
    return answer(await read_stats(deps, webhook_id, row))


async def read_stats(deps: Deps, webhook_id: str | None, row: int | None) -> Stats:
    """Return the figures of one webhook, or of all."""
    try:
        await deps.upkeep.catch_up()
    except StorageUnavailableError:
        # Older figures are better than none just when something is wrong.
        _log.debug("figures are not up to date", action="stats_stale")
    now_ms = deps.clock.wall_ms()
    minutes, hours = await deps.storage.read(
        lambda conn: (
            rollups.read(conn, rollups.MINUTE_S, 60, now_ms, row),
            rollups.read(conn, rollups.HOUR_S, 24, now_ms, row),
        )
    )
    backlog = await deps.upkeep.backlog(row)
    return Stats(
        webhook_id=webhook_id,
        minutes=presenters.intervals(minutes),
        hours=presenters.intervals(hours),
        backlog=presenters.backlog(backlog, deps.clock.schedule_ms()),
    )


async def list_event_types(request: web.Request) -> web.Response:
    """GET /v1/event-types."""
    read_query(request, ())
    return answer(
        EventTypeList(
            data=[
                EventTypeView(
                    event_type=info.name,
                    category=info.category,
                    description=info.description,
                    sample=info.sample,
                )
                for info in request.app[DEPS].event_types
            ]
        )
    )


async def webhook_ips(request: web.Request) -> web.Response:
    """GET /.well-known/webhook-ips."""
    read_query(request, ())
    return answer(IpRanges(data=list(request.app[DEPS].published_ips())))


async def healthz(request: web.Request) -> web.Response:
    """GET /healthz: the process answers."""
    read_query(request, ())
    return answer(Health(status="ok"))


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: the socket accepts, and the storage takes writes."""
    read_query(request, ())
    reasons = list(request.app[DEPS].readiness())
    if reasons:
        raise ProblemError(
            503,
            "not_ready",
            f"not ready: {'; '.join(reasons)}",
            headers={"Retry-After": str(RETRY_AFTER_S)},
            reasons=reasons,
        )
    return answer(Health(status="ok"))


async def get_openapi(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    read_query(request, ())
    return web.Response(body=request.app[OPENAPI], content_type="application/json")

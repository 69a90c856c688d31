"""Trying a filter on events of the past; nothing is stored or sent."""

import asyncio
import sqlite3
from typing import Final

from aiohttp import web
from msgspec import UNSET, UnsetType

from prynt_relay.api import presenters
from prynt_relay.api.answers import answer
from prynt_relay.api.bodies import decode_body
from prynt_relay.api.deps import DEPS, Deps
from prynt_relay.api.inputs import EventsToMatch, MatchEvents, MatchWebhook
from prynt_relay.api.log_handlers import filled
from prynt_relay.api.outputs import JudgedEvent, JudgedEventList
from prynt_relay.api.queries import MAX_LIMIT, read_query
from prynt_relay.api.webhook_handlers import check_event_type, find_webhook
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.moments import parse_moment
from prynt_relay.model.webhook import Webhook
from prynt_relay.store.due import events as read_events
from prynt_relay.store.history import EventFilter, EventRow, list_events
from prynt_relay.webhooks.filters import Candidate, Filter, FilterError, compile_filter

READ_AT_ONCE: Final = 16
"""Events whose data is in memory at a time: four megabytes, should all be as large as can be."""

NO_WEBHOOK: Final = "wh_0000000000000"
"""What a filter that asks for it gets as `webhookId` where no webhook was named."""


_Position = tuple[int, int] | None


async def match_webhook(request: web.Request) -> web.Response:
    """POST /v1/webhooks/{webhookId}/match."""
    webhook = find_webhook(request)
    body = await decode_body(request, MatchWebhook, optional=True)
    expression = webhook.filter if isinstance(body.filter, UnsetType) else body.filter
    return await _match(request, body, expression, webhook)


async def match_events(request: web.Request) -> web.Response:
    """POST /v1/match."""
    body = await decode_body(request, MatchEvents)
    return await _match(request, body, body.filter, None)


async def _match(
    request: web.Request, body: EventsToMatch, expression: str | None, webhook: Webhook | None
) -> web.Response:
    read_query(request, ())
    return answer(JudgedEventList(data=await judge(request.app[DEPS], body, expression, webhook)))


async def judge(
    deps: Deps, body: EventsToMatch, expression: str | None, webhook: Webhook | None
) -> list[JudgedEvent]:
    """Return the newest events with what the filter makes of each; raises InvalidFieldError."""
    chosen = compile_filter(expression) if expression else None
    limit = int(body.limit)
    if limit != body.limit or not 1 <= limit <= MAX_LIMIT:
        raise InvalidFieldError("limit", f"must be from 1 to {MAX_LIMIT}, not {body.limit}")
    rows = await _newest(deps, body, limit)
    judged: list[JudgedEvent] = []
    for start in range(0, len(rows), READ_AT_ONCE):
        judged += await _judged(deps, rows[start : start + READ_AT_ONCE], chosen, webhook)
    return judged


async def _newest(deps: Deps, body: EventsToMatch, limit: int) -> list[EventRow]:
    now_ms = deps.clock.wall_ms()
    event_type = None if isinstance(body.event_type, UnsetType) else body.event_type
    if event_type is not None:
        check_event_type(deps, "eventType", event_type)
    since_ms = None if body.since is UNSET else parse_moment("since", str(body.since), now_ms)
    until_ms = None if body.until is UNSET else parse_moment("until", str(body.until), now_ms)
    wanted = EventFilter(event_type=event_type, since_ms=since_ms, until_ms=until_ms)

    def read(conn: sqlite3.Connection) -> list[EventRow]:
        def page(before: _Position, limit: int) -> tuple[list[EventRow], _Position]:
            found = list_events(conn, wanted, before, limit)
            return found.rows, found.before

        return filled(page, None, limit, deps)[0]

    return await deps.storage.read(read)


async def _judged(
    deps: Deps, rows: list[EventRow], chosen: Filter | None, webhook: Webhook | None
) -> list[JudgedEvent]:
    subscribed = ("*",) if webhook is None else webhook.events
    webhook_id = NO_WEBHOOK if webhook is None else webhook.id

    def read(conn: sqlite3.Connection) -> dict[int, StoredEvent]:
        return read_events(conn, [row.row for row in rows])

    found = await deps.storage.read(read) if chosen is not None else {}
    judged = []
    for row in rows:
        if "*" not in subscribed and row.event_type not in subscribed:
            reason: str | None = "not subscribed to its type"
        elif chosen is None:
            reason = None
        elif (stored := found.get(row.row)) is None:
            continue  # purged just now
        else:
            reason = _why_not(chosen, _candidate(row, stored), webhook_id)
            # An evaluation takes some milliseconds at worst: others have their turn between two.
            await asyncio.sleep(0)
        view = presenters.event(row)
        fields = {name: getattr(view, name) for name in view.__struct_fields__}
        judged.append(JudgedEvent(**fields, matches=reason is None, reason=reason))
    return judged


def _candidate(row: EventRow, stored: StoredEvent) -> Candidate:
    """The event as filters saw it when it came in: without what the store made."""
    return Candidate(
        event_type=stored.event_type,
        data=stored.data,
        api_version=stored.api_version,
        created_at_ms=stored.created_at_ms,
        event_id=row.supplied_event_id,
        idempotency_key=row.supplied_key,
    )


def _why_not(chosen: Filter, candidate: Candidate, webhook_id: str) -> str | None:
    found = candidate.matches(chosen, webhook_id)
    if isinstance(found, FilterError):
        return f"the filter fails: {found}"
    return None if found else "the filter isn't true"

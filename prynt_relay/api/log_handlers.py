"""`/v1/deliveries`, `/v1/events`: what came in, and what became of it."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

from aiohttp import web

from prynt_relay.api import presenters
from prynt_relay.api.answers import answer
from prynt_relay.api.bodies import LARGE_BODY, check_content_type, decode_body, read_body
from prynt_relay.api.deps import DEPS, Deps
from prynt_relay.api.inputs import NoBody
from prynt_relay.api.outputs import AcceptedEvent, DeliveryList, EventList
from prynt_relay.api.queries import ListQuery, read_event_id, read_query, read_state
from prynt_relay.api.webhook_handlers import check_event_type, find_webhook
from prynt_relay.clock import wall_offset_ms
from prynt_relay.errors import NotFoundError, RefusedEventError
from prynt_relay.model import ids
from prynt_relay.model.event import NewEvent
from prynt_relay.model.webhook import Webhook
from prynt_relay.store.history import (
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    EventRow,
    event_type_number,
    list_deliveries,
    list_events,
)
from prynt_relay.store.history_detail import (
    delivery_detail,
    event_detail,
    find_event,
    get_delivery,
)

SEARCH_S: Final = 0.02
"""How long a request goes on searching where its filter matches little; then the page is short."""

DELIVERY_FILTERS: Final = ("state", "eventType", "eventId", "since", "until")
EVENT_FILTERS: Final = ("eventType", "since", "until")

Row = TypeVar("Row")
Position = TypeVar("Position")


async def list_all_deliveries(request: web.Request) -> web.Response:
    """GET /v1/deliveries."""
    return await _list_deliveries(request, None)


async def list_webhook_deliveries(request: web.Request) -> web.Response:
    """GET /v1/webhooks/{webhookId}/deliveries."""
    return await _list_deliveries(request, find_webhook(request))


async def _list_deliveries(request: web.Request, webhook: Webhook | None) -> web.Response:
    return answer(await read_deliveries(request, webhook))


async def read_deliveries(request: web.Request, webhook: Webhook | None) -> DeliveryList:
    """Return the page of deliveries that the query asks for; raises InvalidFieldError."""
    deps = request.app[DEPS]
    kind = "deliveries" if webhook is None else f"deliveries {webhook.id}"
    query = ListQuery(request, kind, DELIVERY_FILTERS, deps.clock.wall_ms())
    state, event_id = read_state(query.given), read_event_id(query.given)
    event_type = await _read_event_type(deps, query)
    position = query.position(1)

    def read(conn: sqlite3.Connection) -> tuple[list[DeliveryRow], int | None]:
        event_row = None if event_id is None else find_event(conn, event_id)
        if event_id is not None and event_row is None:
            return [], None
        wanted = DeliveryFilter(
            webhook_row=None if webhook is None else webhook.row,
            event_row=event_row,
            state=state,
            event_type=event_type,
            since_ms=query.since_ms,
            until_ms=query.until_ms,
        )

        def page(before: int | None, limit: int) -> tuple[list[DeliveryRow], int | None]:
            found = list_deliveries(conn, wanted, before, limit)
            return found.rows, found.before_row

        return filled(page, None if position is None else position[0], query.limit, deps)

    rows, before = await deps.storage.read(read)
    offset_ms = wall_offset_ms(deps.clock)
    return DeliveryList(
        data=[presenters.delivery(row, offset_ms) for row in rows],
        next_cursor=query.next_cursor(None if before is None else (before,)),
    )


async def list_event_log(request: web.Request) -> web.Response:
    """GET /v1/events."""
    return answer(await read_events(request))


async def read_events(request: web.Request) -> EventList:
    """Return the page of events that the query asks for; raises InvalidFieldError."""
    deps = request.app[DEPS]
    query = ListQuery(request, "events", EVENT_FILTERS, deps.clock.wall_ms())
    event_type = await _read_event_type(deps, query)
    wanted = EventFilter(event_type=event_type, since_ms=query.since_ms, until_ms=query.until_ms)
    position = query.position(2)
    begin = None if position is None else (position[0], position[1])

    def read(conn: sqlite3.Connection) -> tuple[list[EventRow], tuple[int, int] | None]:
        def page(
            before: tuple[int, int] | None, limit: int
        ) -> tuple[list[EventRow], tuple[int, int] | None]:
            found = list_events(conn, wanted, before, limit)
            return found.rows, found.before

        return filled(page, begin, query.limit, deps)

    rows, before_event = await deps.storage.read(read)
    return EventList(
        data=[presenters.event(row) for row in rows],
        next_cursor=query.next_cursor(before_event),
    )


def filled(
    page: Callable[[Position | None, int], tuple[list[Row], Position | None]],
    begin: Position | None,
    limit: int,
    deps: Deps,
) -> tuple[list[Row], Position | None]:
    """Put short pages together, for as long as a request may search."""
    deadline = deps.clock.monotonic() + SEARCH_S
    rows, before = page(begin, limit)
    while before is not None and len(rows) < limit and deps.clock.monotonic() < deadline:
        more, before = page(before, limit - len(rows))
        rows += more
    return rows, before


async def _read_event_type(deps: Deps, query: ListQuery) -> str | None:
    """Return the `eventType` to filter by: one that is known, or was when something came in."""
    name = query.given.get("eventType")
    if name is None or any(info.name == name for info in deps.event_types):
        return name
    if await deps.storage.read(lambda conn: event_type_number(conn, name)) is None:
        check_event_type(deps, "eventType", name)
    return name


async def get_one_delivery(request: web.Request) -> web.Response:
    """GET /v1/deliveries/{deliveryId}."""
    deps = request.app[DEPS]
    read_query(request, ())
    row = _delivery_row(request)
    found = await deps.storage.read(lambda conn: delivery_detail(conn, row))
    if found is None:
        raise _no_delivery(request)
    # Rendering every attempt's request again can take milliseconds: not on the event loop.
    view = await asyncio.to_thread(
        presenters.delivery_detail, found, deps.describe, deps.render, wall_offset_ms(deps.clock)
    )
    return answer(view)


async def retry_delivery(request: web.Request) -> web.Response:
    """POST /v1/deliveries/{deliveryId}/retry."""
    deps = request.app[DEPS]
    read_query(request, ())
    await decode_body(request, NoBody, optional=True)
    row = _delivery_row(request)
    if await deps.storage.read(lambda conn: get_delivery(conn, row)) is None:
        raise _no_delivery(request)
    await deps.changes.retry_one(row)
    found = await deps.storage.read(lambda conn: get_delivery(conn, row))
    if found is None:
        raise _no_delivery(request)
    return answer(presenters.delivery(found, wall_offset_ms(deps.clock)))


def _delivery_row(request: web.Request) -> int:
    row = ids.delivery_row(request.match_info["deliveryId"])
    if row is None:
        raise _no_delivery(request)
    return row


def _no_delivery(request: web.Request) -> NotFoundError:
    given = request.match_info["deliveryId"][:40]
    return NotFoundError(f"there is no delivery {given!r}; GET /v1/deliveries lists them")


async def get_one_event(request: web.Request) -> web.Response:
    """GET /v1/events/{eventId}."""
    deps = request.app[DEPS]
    read_query(request, ())
    event_id = request.match_info["eventId"]
    found = None
    if ids.is_id("evt", event_id):
        found = await deps.storage.read(lambda conn: event_detail(conn, event_id))
    if found is None:
        raise NotFoundError(f"there is no event {event_id[:40]!r}; GET /v1/events lists them")
    return answer(presenters.event_detail(found, wall_offset_ms(deps.clock)))


async def send_events(request: web.Request) -> web.Response:
    """POST /v1/events: one event, or an array of them, all or nothing."""
    deps = request.app[DEPS]
    read_query(request, ())
    body = await read_body(request)
    if not body:
        # Also where nothing was sent the caller should hear of the type first.
        check_content_type(request)
    events = await _parsed(deps, body)
    await deps.intake.room()
    accepted = [
        AcceptedEvent(ok=True, event_id=each.event_id, duplicate=each.duplicate)
        for each in (await deps.intake.accept(events) if events else [])
    ]
    return answer(accepted if body.lstrip().startswith(b"[") else accepted[0])


async def _parsed(deps: Deps, body: bytes) -> list[NewEvent]:
    """Check the body; raises RefusedEventError."""
    parse = deps.intake.parser.parse_many
    try:
        if len(body) > LARGE_BODY:
            return await asyncio.to_thread(parse, body)
        return parse(body)
    except RefusedEventError as error:
        deps.intake.count_refused(error.code)
        raise

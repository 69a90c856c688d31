"""The event log, and one event with its data and where it went."""

from typing import Final

from aiohttp import web

from prynt_relay.api import presenters
from prynt_relay.api.deps import DEPS
from prynt_relay.api.log_handlers import EVENT_FILTERS, read_events
from prynt_relay.api.outputs import EventList
from prynt_relay.clock import wall_offset_ms
from prynt_relay.dashboard import words
from prynt_relay.dashboard.delivery_pages import asking, names_of, next_url
from prynt_relay.dashboard.samples import sample_deliveries, sample_events
from prynt_relay.dashboard.site import SITE
from prynt_relay.dashboard.webhook_forms import see_other
from prynt_relay.errors import InvalidFieldError, NotFoundError
from prynt_relay.model import ids
from prynt_relay.store.history_detail import event_detail

PER_PAGE: Final = 50
SHOWN_DELIVERIES: Final = 100


async def event_list(request: web.Request) -> web.Response:
    """GET /events."""
    deps, site = request.app[DEPS], request.app[SITE]
    asked = request.query.get("eventId", "").strip()
    if ids.is_id("evt", asked):
        return see_other(f"/events/{asked}")
    mistake, found = "", EventList(data=[], next_cursor=None)
    try:
        if asked:
            raise InvalidFieldError("eventId", f"must be evt_ and 13 of base62, not {asked[:40]!r}")
        asked_for = request.clone(rel_url=request.rel_url.without_query_params("eventId"))
        found = await read_events(asking(asked_for, PER_PAGE))
    except InvalidFieldError as error:
        mistake = words.mistake(error.field, error.reason)
    names = (*EVENT_FILTERS, "eventId")
    return await site.render(
        request,
        "events.html",
        status=422 if mistake else 200,
        rows=found.data,
        samples=await sample_events(deps, (row.event_id for row in found.data)),
        next_url=next_url(request, found.next_cursor),
        first_url=str(request.rel_url.without_query_params("cursor")),
        is_first="cursor" not in request.query,
        given={name: request.query.get(name, "") for name in names},
        is_filtered=any(request.query.get(name) for name in names),
        event_types=[info.name for info in deps.event_types],
        mistake=mistake,
        has_webhooks=any(True for _ in deps.registry),
    )


async def event_page(request: web.Request) -> web.Response:
    """GET /events/{eventId}."""
    deps, site = request.app[DEPS], request.app[SITE]
    event_id = request.match_info["eventId"]
    found = None
    if ids.is_id("evt", event_id):
        found = await deps.storage.read(lambda conn: event_detail(conn, event_id, SHOWN_DELIVERIES))
    if found is None:
        raise NotFoundError(
            f"There is no event {event_id[:40]!r}. It may be older than history is kept."
        )
    view = presenters.event_detail(found, wall_offset_ms(deps.clock))
    return await site.render(
        request,
        "event.html",
        event=view,
        data=bytes(view.data).decode(errors="replace"),
        names=names_of(deps, view.deliveries),
        samples=await sample_deliveries(deps, (row.id for row in view.deliveries)),
        api_version=found.event.api_version,
    )

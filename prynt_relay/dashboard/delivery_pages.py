"""The delivery log, one delivery with its attempts, and sending it again."""

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import web

from prynt_relay.api import presenters
from prynt_relay.api.deps import DEPS, Deps
from prynt_relay.api.log_handlers import DELIVERY_FILTERS, read_deliveries
from prynt_relay.api.outputs import Attempt, Delivery, DeliveryList
from prynt_relay.clock import wall_offset_ms
from prynt_relay.dashboard import words
from prynt_relay.dashboard.samples import sample_deliveries
from prynt_relay.dashboard.site import SITE
from prynt_relay.dashboard.webhook_forms import see_other
from prynt_relay.dashboard.webhook_pages import describe, webhook_of
from prynt_relay.errors import InvalidFieldError, NotFoundError
from prynt_relay.model import ids
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.store.history_detail import MAX_ATTEMPTS, DeliveryDetail, delivery_detail

PER_PAGE: Final = 50
SHOWN_ATTEMPTS: Final = 20
"""Of one delivery, unless all that are kept are asked for."""

_NOT_REPEATED: Final = frozenset({"host", "content-length"})
"""Headers that curl sets by itself."""


async def all_deliveries(request: web.Request) -> web.Response:
    """GET /deliveries."""
    return await _log(request, None)


async def webhook_deliveries(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/deliveries."""
    return await _log(request, webhook_of(request))


async def _log(request: web.Request, webhook: Webhook | None) -> web.Response:
    deps, site = request.app[DEPS], request.app[SITE]
    asked = request.query.get("eventId", "").strip()
    if ids.is_id("del", asked):
        # The field takes what people have at hand.
        return see_other(f"/deliveries/{asked}")
    mistake, found = "", DeliveryList(data=[], next_cursor=None)
    try:
        found = await read_deliveries(asking(request, PER_PAGE), webhook)
    except InvalidFieldError as error:
        mistake = words.mistake(error.field, error.reason)
    return await site.render(
        request,
        "deliveries.html",
        status=422 if mistake else 200,
        rows=found.data,
        next_url=next_url(request, found.next_cursor),
        first_url=str(request.rel_url.without_query_params("cursor")),
        is_first="cursor" not in request.query,
        given={name: request.query.get(name, "") for name in DELIVERY_FILTERS},
        is_filtered=any(request.query.get(name) for name in DELIVERY_FILTERS),
        states=[state.label for state in DeliveryState],
        event_types=[info.name for info in deps.event_types],
        mistake=mistake,
        names=names_of(deps, found.data),
        samples=await sample_deliveries(deps, (row.id for row in found.data)),
        **({"webhook": None} if webhook is None else describe(request, webhook)),
    )


def asking(request: web.Request, limit: int) -> web.Request:
    """Return the request as the API's list takes it: no empty fields, and our own page size."""
    given = {name: value for name, value in request.query.items() if value.strip()}
    given.setdefault("limit", str(limit))
    return request.clone(rel_url=request.rel_url.with_query(given))


def next_url(request: web.Request, cursor: str | None) -> str | None:
    """Return where the next page is; the cursor holds the filters as they were resolved."""
    if cursor is None:
        return None
    given = {name: value for name, value in request.query.items() if value.strip()}
    return str(request.rel_url.with_query({**given, "cursor": cursor}))


def names_of(deps: Deps, rows: Iterable[Delivery]) -> Mapping[str, str]:
    """Return what people call each delivery's webhook; empty for one that was deleted."""
    names = {}
    for row in rows:
        webhook = deps.registry.by_id(row.webhook_id)
        names[row.webhook_id] = "" if webhook is None else webhook.description or webhook.host
    return names


async def delivery_page(request: web.Request) -> web.Response:
    """GET /deliveries/{deliveryId}."""
    deps, site = request.app[DEPS], request.app[SITE]
    limit = MAX_ATTEMPTS if "all" in request.query else SHOWN_ATTEMPTS
    found = await _read(request, limit)
    view = await asyncio.to_thread(
        presenters.delivery_detail, found, deps.describe, deps.render, wall_offset_ms(deps.clock)
    )
    body = await asyncio.to_thread(_body, deps, found)
    webhook = deps.registry.by_id(view.webhook_id)
    return await site.render(
        request,
        "delivery.html",
        delivery=view,
        body=body,
        folded=any(each.request.body != body for each in view.attempts),
        webhook=webhook,
        host="" if webhook is None else webhook.host,
        left_out=view.attempt_count - len(view.attempts),
        may_show_more=view.attempt_count > len(view.attempts) and limit < MAX_ATTEMPTS,
        retried="retried" in request.query,
    )


def _body(deps: Deps, found: DeliveryDetail) -> str:
    """Return the body, which is the same in every attempt, also before the first."""
    body = deps.render(found.format, found.event, found.delivery.webhook_id)
    return body.decode(errors="replace")


async def _read(request: web.Request, limit: int) -> DeliveryDetail:
    given = request.match_info["deliveryId"]
    row = ids.delivery_row(given)
    found = None
    if row is not None:
        found = await request.app[DEPS].storage.read(lambda conn: delivery_detail(conn, row, limit))
    if found is None:
        raise NotFoundError(
            f"There is no delivery {given[:40]!r}. It may be older than history is kept."
        )
    return found


async def retry(request: web.Request) -> web.Response:
    """POST /deliveries/{deliveryId}/retry."""
    found = await _read(request, 1)
    await request.app[DEPS].changes.retry_one(found.delivery.row)
    return see_other(f"/deliveries/{ids.delivery_id(found.delivery.row)}?retried=")


async def curl(request: web.Request) -> web.Response:
    """GET /deliveries/{deliveryId}/attempts/{number}/curl: the request as a command."""
    deps = request.app[DEPS]
    found = await _read(request, MAX_ATTEMPTS)
    view = await asyncio.to_thread(
        presenters.delivery_detail, found, deps.describe, deps.render, wall_offset_ms(deps.clock)
    )
    for attempt in view.attempts:
        if str(attempt.number) == request.match_info["number"]:
            return web.Response(text=curl_command(attempt), content_type="text/plain")
    raise NotFoundError("There is no such attempt; the oldest of very many aren't shown.")


def curl_command(attempt: Attempt) -> str:
    """Return a request as a shell's command, every part of it quoted."""
    parts = [f"curl --request POST {shlex.quote(attempt.request.url)}"]
    for name, value in attempt.request.headers.items():
        if name.lower() not in _NOT_REPEATED:
            parts.append(f"--header {shlex.quote(f'{name}: {value}')}")
    parts.append(f"--data-raw {shlex.quote(attempt.request.body)}")
    return " \\\n  ".join(parts) + "\n"

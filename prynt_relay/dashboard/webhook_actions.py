"""What can be done with a webhook: test, enable, disable, rotate, delete, send again."""

from typing import Any, Final

from aiohttp import web
from multidict import MultiDict, MultiMapping

from prynt_relay.api.deps import DEPS
from prynt_relay.api.inputs import duration_s
from prynt_relay.api.webhook_handlers import MAX_ROTATION_S
from prynt_relay.dashboard import words
from prynt_relay.dashboard.forms import form_fields
from prynt_relay.dashboard.site import SESSION, SITE
from prynt_relay.dashboard.webhook_forms import see_other
from prynt_relay.dashboard.webhook_pages import describe, webhook_of
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model import ids
from prynt_relay.model.moments import parse_moment
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.store.history_retry import WindowCount, count_window

RETRIABLE: Final = ("failed", "held", "scheduled", "delivered")
ROTATIONS: Final = {
    "0s": "At once",
    "1h": "In an hour",
    "24h": "In 24 hours",
    "7d": "In 7 days",
}
WINDOWS: Final = ("1h", "24h", "7d", "30d")


async def test(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/test: a sample now; its answer is on the page that follows."""
    webhook = webhook_of(request)
    event_type = (await form_fields(request)).get("event_type") or None
    row = await request.app[DEPS].changes.test(webhook.id, event_type)
    return see_other(f"/webhooks/{webhook.id}?tested={ids.delivery_id(row)}#test")


test.__test__ = False  # type: ignore[attr-defined]


async def enable(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/enable."""
    return await _switch(request, enabled=True)


async def disable(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/disable."""
    return await _switch(request, enabled=False)


async def _switch(request: web.Request, *, enabled: bool) -> web.Response:
    webhook = webhook_of(request)
    await request.app[DEPS].changes.patch(webhook.id, WebhookInput(enabled=enabled))
    return see_other(f"/webhooks/{webhook.id}?done={'enabled' if enabled else 'disabled'}")


async def rotate(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/rotate."""
    deps, site = request.app[DEPS], request.app[SITE]
    webhook = webhook_of(request)
    text = (await form_fields(request)).get("activate_in", "24h")
    rotation = await deps.changes.rotate(
        webhook.id, duration_s("activateIn", text, most_s=MAX_ROTATION_S)
    )
    site.sessions.keep_secret(
        request[SESSION], webhook.id, rotation.secret, rotation.active_from_ms
    )
    return see_other(f"/webhooks/{webhook.id}/secret")


async def delete(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/delete."""
    await request.app[DEPS].changes.delete(webhook_of(request).id)
    return see_other("/webhooks?done=deleted")


async def confirm_disable(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/disable."""
    return await _confirm(request, "webhook_disable.html")


async def confirm_delete(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/delete."""
    site = request.app[SITE]
    return await _confirm(request, "webhook_delete.html", history_s=site.settings.history_s())


async def confirm_rotate(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/rotate."""
    return await _confirm(request, "webhook_rotate.html", rotations=ROTATIONS)


async def _confirm(request: web.Request, template: str, **more: Any) -> web.Response:
    deps, site = request.app[DEPS], request.app[SITE]
    webhook = webhook_of(request)
    backlog = await deps.upkeep.backlog(webhook.row)
    return await site.render(
        request, template, **describe(request, webhook), backlog=backlog, **more
    )


async def confirm_retry(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/retry: choose a window, see how many deliveries that is."""
    deps, site = request.app[DEPS], request.app[SITE]
    webhook = webhook_of(request)
    count: WindowCount | None = None
    mistake = ""
    given = MultiDict(request.query)
    given.setdefault("since", "24h")
    if "state" not in given:
        given.extend([("state", name) for name in RETRIABLE[:3]])
    since_ms, until_ms = 0, None
    try:
        since_ms, until_ms, states = _window(given, deps.clock.wall_ms())
        count = await deps.storage.read(
            lambda conn: count_window(conn, webhook.row, since_ms, until_ms, states)
        )
    except InvalidFieldError as error:
        mistake = words.mistake(error.field, error.reason)
    return await site.render(
        request,
        "webhook_retry.html",
        status=422 if mistake else 200,
        **describe(request, webhook),
        since=given.get("since", ""),
        until=given.get("until", ""),
        chosen=set(given.getall("state", [])),
        states=RETRIABLE,
        windows=WINDOWS,
        count=count,
        mistake=mistake,
        since_iso=iso_ms(since_ms),
        until_iso=None if until_ms is None else iso_ms(until_ms),
    )


async def retry(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/retry."""
    deps = request.app[DEPS]
    webhook = webhook_of(request)
    since_ms, until_ms, states = _window(await form_fields(request), deps.clock.wall_ms())
    count = await deps.changes.retry_window(webhook.id, since_ms, until_ms, states)
    return see_other(f"/webhooks/{webhook.id}?retried={count}")


def _window(
    given: MultiMapping[str], now_ms: int
) -> tuple[int, int | None, frozenset[DeliveryState]]:
    """Return a retry's window and states; raises InvalidFieldError."""
    since_ms = parse_moment("since", given.get("since", "").strip() or "24h", now_ms)
    until = given.get("until", "").strip()
    until_ms = parse_moment("until", until, now_ms) if until else None
    names = given.getall("state", [])
    if not names:
        raise InvalidFieldError("states", "must name at least one state")
    for name in names:
        if name not in RETRIABLE:
            raise InvalidFieldError("states", f"can't have {name[:40]!r}")
    return since_ms, until_ms, frozenset(DeliveryState[name.upper()] for name in names)

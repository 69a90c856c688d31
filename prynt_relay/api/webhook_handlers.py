"""`/v1/webhooks`: make, read, change, delete, rotate, test, retry."""

import asyncio
from typing import Final

from aiohttp import web
from msgspec import UNSET, UnsetType

from prynt_relay.api.answers import answer
from prynt_relay.api.bodies import decode_body
from prynt_relay.api.deps import DEPS, Deps
from prynt_relay.api.inputs import (
    ChangeWebhook,
    CreateWebhook,
    RetryWindow,
    RotateSecret,
    TestWebhook,
    duration_s,
)
from prynt_relay.api.outputs import (
    CreatedWebhook,
    RetriedWindow,
    RotatedSecret,
    TestedAttempt,
    WebhookList,
    WebhookView,
)
from prynt_relay.api.presenters import attempt, webhook_fields
from prynt_relay.api.queries import ListQuery, read_query
from prynt_relay.errors import (
    ConflictError,
    FieldConflictError,
    InvalidFieldError,
    NotFoundError,
)
from prynt_relay.model import ids
from prynt_relay.model.moments import parse_moment
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.model.webhook import Webhook
from prynt_relay.store.history_detail import DeliveryDetail, delivery_detail

MAX_ROTATION_S: Final = 30 * 86_400.0
"""How far ahead a rotation may be planned."""


def find_webhook(request: web.Request) -> Webhook:
    """Return the webhook that the path names; raises NotFoundError."""
    webhook_id = request.match_info["webhookId"]
    webhook = request.app[DEPS].registry.by_id(webhook_id)
    if webhook is None:
        raise NotFoundError(f"there is no webhook {webhook_id[:40]!r}; GET /v1/webhooks lists them")
    return webhook


def shown(deps: Deps, webhook: Webhook) -> WebhookView:
    """Return a webhook as answers have it."""
    return webhook_fields(webhook, deps.clock.wall_ms(), deps.filter_failures(webhook.row))


async def create_webhook(request: web.Request) -> web.Response:
    """POST /v1/webhooks."""
    deps = request.app[DEPS]
    read_query(request, ())
    wanted = (await decode_body(request, CreateWebhook)).wanted()
    webhook, secret = await deps.changes.create(wanted)
    view = shown(deps, webhook)
    fields = {name: getattr(view, name) for name in view.__struct_fields__}
    return answer(
        CreatedWebhook(**fields, signing_secret=secret),
        status=201,
        headers={"Location": f"/v1/webhooks/{webhook.id}"},
    )


async def list_webhooks(request: web.Request) -> web.Response:
    """GET /v1/webhooks."""
    deps = request.app[DEPS]
    now_ms = deps.clock.wall_ms()
    query = ListQuery(request, "webhooks", (), now_ms)
    position = query.position(1)
    webhooks = list(deps.registry)
    webhooks.reverse()
    if position is not None:
        webhooks = [webhook for webhook in webhooks if webhook.row < position[0]]
    page = webhooks[: query.limit]
    more = (page[-1].row,) if len(webhooks) > query.limit else None
    views = [shown(deps, webhook) for webhook in page]
    return answer(WebhookList(data=views, next_cursor=query.next_cursor(more)))


async def get_webhook(request: web.Request) -> web.Response:
    """GET /v1/webhooks/{webhookId}."""
    read_query(request, ())
    return answer(shown(request.app[DEPS], find_webhook(request)))


async def change_webhook(request: web.Request) -> web.Response:
    """PATCH /v1/webhooks/{webhookId}."""
    deps = request.app[DEPS]
    read_query(request, ())
    webhook = find_webhook(request)
    body = await decode_body(request, ChangeWebhook)
    try:
        changed = await deps.changes.patch(webhook.id, body.wanted())
    except FieldConflictError as error:
        if _names_both(body, error):
            raise
        raise ConflictError(f"{error}; change both fields together") from None
    return answer(shown(deps, changed))


def _names_both(body: ChangeWebhook, error: FieldConflictError) -> bool:
    """Whether a request contradicts itself, and not the webhook as it is."""
    names = (error.field.partition(".")[0], error.other)
    return all(getattr(body, name) is not UNSET for name in names)


async def delete_webhook(request: web.Request) -> web.Response:
    """DELETE /v1/webhooks/{webhookId}."""
    read_query(request, ())
    await request.app[DEPS].changes.delete(find_webhook(request).id)
    return web.Response(status=204)


async def rotate_secret(request: web.Request) -> web.Response:
    """POST /v1/webhooks/{webhookId}/rotate-secret."""
    read_query(request, ())
    webhook = find_webhook(request)
    body = await decode_body(request, RotateSecret, optional=True)
    activate_in_s = duration_s("activateIn", body.activate_in, most_s=MAX_ROTATION_S)
    rotation = await request.app[DEPS].changes.rotate(webhook.id, activate_in_s)
    return answer(
        RotatedSecret(signing_secret=rotation.secret, active_from=iso_ms(rotation.active_from_ms))
    )


async def test_webhook(request: web.Request) -> web.Response:
    """POST /v1/webhooks/{webhookId}/test."""
    deps = request.app[DEPS]
    read_query(request, ())
    webhook = find_webhook(request)
    body = await decode_body(request, TestWebhook, optional=True)
    event_type = None if isinstance(body.event_type, UnsetType) else body.event_type
    if event_type is not None:
        check_event_type(deps, "eventType", event_type)
    try:
        row = await deps.changes.test(webhook.id, event_type)
    except InvalidFieldError as error:
        # A known type: it is the webhook's format that can't tell of it.
        raise ConflictError(str(error)) from None
    found = await deps.storage.read(lambda conn: delivery_detail(conn, row, 1))
    if found is None or not found.attempts:
        raise NotFoundError("the test's delivery was purged before it could be shown")
    return answer(await asyncio.to_thread(_tested, deps, found))


def _tested(deps: Deps, found: DeliveryDetail) -> TestedAttempt:
    row = found.delivery
    body = deps.render(found.format, found.event, row.webhook_id)
    view = attempt(found, found.attempts[-1], deps.describe, body)
    fields = {name: getattr(view, name) for name in view.__struct_fields__}
    return TestedAttempt(
        **fields,
        webhook_id=row.webhook_id,
        delivery_id=ids.delivery_id(row.row),
        event_id=row.event_id,
        event_type=row.event_type,
    )


async def retry_window(request: web.Request) -> web.Response:
    """POST /v1/webhooks/{webhookId}/retry."""
    deps = request.app[DEPS]
    read_query(request, ())
    webhook = find_webhook(request)
    body = await decode_body(request, RetryWindow)
    now_ms = deps.clock.wall_ms()
    since_ms = parse_moment("since", body.since, now_ms)
    until_ms = None if body.until is UNSET else parse_moment("until", str(body.until), now_ms)
    if not body.states:
        raise InvalidFieldError("states", "must name at least one state, or be left out")
    states = frozenset(DeliveryState[name.upper()] for name in body.states)
    count = await deps.changes.retry_window(webhook.id, since_ms, until_ms, states)
    return answer(RetriedWindow(scheduled=count))


def check_event_type(deps: Deps, field: str, name: str) -> None:
    """Raise InvalidFieldError for an event type that the relay doesn't take."""
    known = [info.name for info in deps.event_types]
    if name not in known:
        why = f"{name[:64]!r} is not a known event type; known are {', '.join(known)}"
        raise InvalidFieldError(field, why)

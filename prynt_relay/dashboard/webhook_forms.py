"""Making and changing a webhook: a form in, the API's own body out."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from multidict import MultiMapping

from prynt_relay.api.bodies import decode
from prynt_relay.api.deps import DEPS, Deps
from prynt_relay.api.inputs import ChangeWebhook, CreateWebhook, MatchEvents
from prynt_relay.api.match_handlers import judge
from prynt_relay.dashboard import words
from prynt_relay.dashboard.forms import form_field, form_fields
from prynt_relay.dashboard.site import SESSION, SITE
from prynt_relay.dashboard.webhook_pages import describe, webhook_of
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.durations import format_duration
from prynt_relay.model.webhook import Webhook

TRIED_EVENTS: Final = 50
"""How many events a filter is tried on as it is typed."""

EMPTY_HEADERS: Final = 2
MAX_HEADER_ROWS: Final = 40


class HeaderLine(msgspec.Struct, frozen=True):
    """A row of the custom headers; `is_kept`: the value stays as it is unless one is typed."""

    name: str
    value: str
    is_kept: bool


class Form(msgspec.Struct):
    """What the form shows: texts, as they were typed or as the webhook has them."""

    url: str = ""
    description: str = ""
    all_events: bool = False
    events: tuple[str, ...] = ()
    format: str = "prynt"
    signatures: tuple[str, ...] = ("prynt",)
    timeout: str = ""
    retry_schedule: str = ""
    no_retry: bool = False
    filter: str = ""
    auth_username: str = ""
    has_auth: bool = False
    headers: tuple[HeaderLine, ...] = ()
    enabled: bool = True


def form_of(webhook: Webhook) -> Form:
    """Return the form as it shows a webhook."""
    schedule = webhook.retry_schedule_s
    return Form(
        url=webhook.url,
        description=webhook.description,
        all_events="*" in webhook.events,
        events=webhook.events,
        format=webhook.format.label,
        signatures=tuple(each.label for each in webhook.signatures),
        timeout="" if webhook.timeout_s is None else format_duration(webhook.timeout_s),
        retry_schedule=", ".join(format_duration(each) for each in schedule or ()),
        no_retry=schedule == (),
        filter=webhook.filter or "",
        auth_username="" if webhook.auth is None else webhook.auth.username,
        has_auth=webhook.auth is not None,
        headers=tuple(HeaderLine(name, "", is_kept=True) for name, _ in webhook.headers),
        enabled=webhook.enabled,
    )


def typed(fields: MultiMapping[str]) -> Form:
    """Return the form as somebody filled it in; a password isn't shown again."""
    names, values = fields.getall("header_name", []), fields.getall("header_value", [])
    kept = set(fields.getall("header_kept", []))
    return Form(
        url=fields.get("url", "").strip(),
        description=fields.get("description", "").strip(),
        all_events=fields.get("which") == "all",
        events=tuple(fields.getall("events", [])),
        format=fields.get("format", "prynt"),
        signatures=tuple(fields.getall("signatures", [])),
        timeout=fields.get("timeout", "").strip(),
        retry_schedule=fields.get("retry_schedule", "").strip(),
        no_retry="no_retry" in fields,
        filter=fields.get("filter", "").strip(),
        auth_username=fields.get("auth_username", "").strip(),
        has_auth="auth_kept" in fields,
        headers=tuple(
            HeaderLine(name.strip(), value, name in kept)
            for name, value in list(zip(names, values, strict=False))[:MAX_HEADER_ROWS]
            if name.strip() or value
        ),
        enabled="disabled" not in fields,
    )


def body_of(form: Form, password: str, before: Webhook | None) -> dict[str, Any]:
    """Return the API's body for what was typed.

    Raises InvalidFieldError where the form says less than a body must.
    """
    body: dict[str, Any] = {
        "url": form.url,
        "description": form.description,
        "events": ["*"] if form.all_events else list(form.events),
        "format": form.format,
        "signatures": list(form.signatures),
        "timeout": form.timeout or None,
        "retrySchedule": _schedule(form),
        "filter": form.filter or None,
        "headers": _headers(form, before),
        "auth": _auth(form, password, before),
    }
    if before is None:
        body["enabled"] = form.enabled
        # A creation's defaults are what isn't there.
        return {name: value for name, value in body.items() if value is not None}
    return body


def _schedule(form: Form) -> list[str] | None:
    if form.no_retry:
        return []
    texts = form.retry_schedule.replace(",", " ").split()
    return texts or None


def _headers(form: Form, before: Webhook | None) -> dict[str, str]:
    known = {} if before is None else dict(before.headers)
    headers: dict[str, str] = {}
    for line in form.headers:
        if not line.name:
            raise InvalidFieldError("headers", "a value has no name; name it, or clear the value")
        if line.name in headers:
            raise InvalidFieldError("headers", f"{line.name[:128]!r} is given twice")
        value = line.value
        if not value and line.is_kept:
            value = known.get(line.name, "")
        if not value:
            raise InvalidFieldError(f"headers.{line.name[:128]}", "needs a value")
        headers[line.name] = value
    return headers


def _auth(form: Form, password: str, before: Webhook | None) -> dict[str, str] | None:
    if not form.auth_username:
        if password:
            raise InvalidFieldError("auth", "a password needs a user name beside it")
        return None
    if not password and before is not None and before.auth is not None:
        password = before.auth.password
    return {"type": "basic", "username": form.auth_username, "password": password}


async def new_form(request: web.Request) -> web.Response:
    """GET /webhooks/new."""
    return await _show(request, Form(), None)


async def create(request: web.Request) -> web.Response:
    """POST /webhooks/new."""
    deps, site = request.app[DEPS], request.app[SITE]
    fields = await form_fields(request)
    form = typed(fields)
    try:
        body = msgspec.json.encode(body_of(form, fields.get("auth_password", ""), None))
        wanted = (await asyncio.to_thread(decode, body, CreateWebhook)).wanted()
        webhook, secret = await deps.changes.create(wanted)
    except InvalidFieldError as error:
        return await _show(request, form, None, error)
    site.sessions.keep_secret(request[SESSION], webhook.id, secret, None)
    return see_other(f"/webhooks/{webhook.id}/secret")


async def edit_form(request: web.Request) -> web.Response:
    """GET /webhooks/{webhookId}/edit."""
    webhook = webhook_of(request)
    return await _show(request, form_of(webhook), webhook)


async def edit(request: web.Request) -> web.Response:
    """POST /webhooks/{webhookId}/edit."""
    webhook = webhook_of(request)
    fields = await form_fields(request)
    form = typed(fields)
    try:
        body = msgspec.json.encode(body_of(form, fields.get("auth_password", ""), webhook))
        wanted = (await asyncio.to_thread(decode, body, ChangeWebhook)).wanted()
        await request.app[DEPS].changes.patch(webhook.id, wanted)
    except InvalidFieldError as error:
        return await _show(request, form, webhook, error)
    return see_other(f"/webhooks/{webhook.id}?done=saved")


async def check_url(request: web.Request) -> web.Response:
    """POST /check/url: what the API would say of a URL. A POST, since URLs can be secrets."""
    url = (await form_field(request, "url")).strip()
    try:
        request.app[SITE].settings.check_url(url)
    except InvalidFieldError as error:
        return _refused(error)
    return web.json_response({"ok": True, "message": "This URL can be used."})


async def check_filter(request: web.Request) -> web.Response:
    """POST /check/filter: what the API would say of a filter, and what it makes of events."""
    expression = (await form_field(request, "filter")).strip()
    tried = MatchEvents(filter=expression, limit=TRIED_EVENTS)
    try:
        judged = await judge(request.app[DEPS], tried, expression, None)
    except InvalidFieldError as error:
        return _refused(error)
    if not judged:
        return web.json_response({"ok": True, "message": "This is a valid filter."})
    passed = sum(each.matches for each in judged)
    message = f"Of the latest {words.plural(len(judged), 'event')} it lets {passed} through."
    failed = [each for each in judged if (each.reason or "").startswith("the filter fails")]
    if failed:
        message += f" On {words.number(len(failed))} {failed[0].reason}"
    return web.json_response({"ok": not failed, "message": message})


def _refused(error: InvalidFieldError) -> web.Response:
    return web.json_response({"ok": False, "message": words.mistake(error.field, error.reason)})


def see_other(location: str) -> web.Response:
    """Send the browser on, so that loading again repeats nothing."""
    return web.Response(status=303, headers={hdrs.LOCATION: location})


async def _show(
    request: web.Request,
    form: Form,
    webhook: Webhook | None,
    mistake: InvalidFieldError | None = None,
) -> web.Response:
    deps, site = request.app[DEPS], request.app[SITE]
    blanks = (HeaderLine("", "", is_kept=False),) * EMPTY_HEADERS
    context = {} if webhook is None else describe(request, webhook)
    return await site.render(
        request,
        "webhook_form.html",
        status=200 if mistake is None else 422,
        form=form,
        is_new=webhook is None,
        header_lines=(*form.headers, *blanks),
        categories=_categories(deps, form.events),
        mistake_field="" if mistake is None else _form_field(mistake.field),
        mistake="" if mistake is None else words.mistake(mistake.field, _reason(form, mistake)),
        timeout_s=site.settings.timeout_s(),
        retry_schedule_s=list(site.settings.retry_schedule_s()),
        disable_after_s=site.settings.disable_after_s(),
        allow_http=site.settings.allow_http,
        **context,
    )


def _categories(deps: Deps, chosen: Sequence[str]) -> Mapping[str, list[tuple[str, str]]]:
    """Return types and descriptions by category; chosen ones that are no longer known come last."""
    found: dict[str, list[tuple[str, str]]] = {}
    for info in deps.event_types:
        found.setdefault(info.category, []).append((info.name, info.description))
    known = {info.name for info in deps.event_types}
    unknown = [name for name in chosen if name != "*" and name not in known]
    if unknown:
        text = "No longer known to this relay; take it out to save."
        found["Unknown"] = [(name, text) for name in unknown]
    return found


def _reason(form: Form, mistake: InvalidFieldError) -> str:
    """Return what is wrong in the form's words, where the API's speak of its body."""
    if mistake.field == "events" and not form.events:
        return "is empty: tick at least one type, or choose All events"
    if mistake.field == "signatures" and not form.signatures:
        return "is empty: tick at least one"
    return mistake.reason


def _form_field(field: str) -> str:
    """Return which part of the form an API field belongs to."""
    name = field.split(".", 1)[0].split("[", 1)[0]
    return {"retrySchedule": "retry_schedule", "(body)": "url"}.get(name, name)

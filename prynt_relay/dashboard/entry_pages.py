"""Signing in and out, the overview, static files, and finding something by its id."""

from typing import Final
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from prynt_relay.api.deps import DEPS
from prynt_relay.api.open_handlers import read_stats
from prynt_relay.dashboard import charts, guard
from prynt_relay.dashboard.attention import look_around
from prynt_relay.dashboard.forms import form_field
from prynt_relay.dashboard.site import SESSION, SITE
from prynt_relay.errors import NotFoundError
from prynt_relay.model.ids import is_id

FOR_EVER: Final = "public, max-age=31536000, immutable"

_log = structlog.stdlib.get_logger(__name__)


async def sign_in_form(request: web.Request) -> web.Response:
    """GET /sign-in."""
    target = _safe_target(request.query.get("next", ""))
    if SESSION in request:
        return web.Response(status=303, headers={hdrs.LOCATION: target})
    return await _sign_in_page(request, target)


async def sign_in(request: web.Request) -> web.Response:
    """POST /sign-in: the key against a session."""
    site = request.app[SITE]
    target = _safe_target(await form_field(request, "next"))
    token = await form_field(request, guard.CSRF_FIELD)
    cookie = request.cookies.get(guard.FORM_COOKIE, "")
    if not guard.is_same_site(request) or not guard.same_text(token, cookie):
        return await _sign_in_page(
            request, target, 403, "The form was out of date. Please enter the key again."
        )
    address = request.remote or ""
    wait_s = site.sign_ins.wait_s(address)
    if wait_s > 0:
        response = await _sign_in_page(
            request,
            target,
            429,
            f"Too many wrong keys came from your address. Try again in {wait_s + 1:.0f} seconds.",
        )
        response.headers["Retry-After"] = f"{wait_s + 1:.0f}"
        return response
    key = (await form_field(request, "key")).strip()
    opened = site.sessions.open(key)
    if opened is None:
        site.sign_ins.failed(address)
        _log.warning("a wrong key was refused", action="sign_in_refused", address=address)
        return await _sign_in_page(request, target, 401, "That is not the API key.")
    site.sessions.close(request.cookies.get(guard.COOKIE))
    _log.info("somebody signed in", action="signed_in", address=address)
    response = web.Response(status=303, headers={hdrs.LOCATION: target})
    secure = guard.is_behind_tls(request)
    response.set_cookie(
        guard.COOKIE, opened, httponly=True, samesite="Strict", secure=secure, path="/"
    )
    response.del_cookie(guard.FORM_COOKIE, path="/sign-in")
    return response


async def sign_out(request: web.Request) -> web.Response:
    """POST /sign-out."""
    request.app[SITE].sessions.close(request.cookies.get(guard.COOKIE))
    response = web.Response(status=303, headers={hdrs.LOCATION: "/sign-in?out="})
    response.del_cookie(guard.COOKIE, path="/")
    return response


async def _sign_in_page(
    request: web.Request, target: str, status: int = 200, mistake: str = ""
) -> web.Response:
    token = request.app[SITE].sessions.random_token()
    response = await request.app[SITE].render(
        request,
        "sign_in.html",
        status=status,
        next=target,
        csrf=token,
        mistake=mistake,
        signed_out="out" in request.query,
    )
    response.set_cookie(
        guard.FORM_COOKIE,
        token,
        httponly=True,
        samesite="Strict",
        secure=guard.is_behind_tls(request),
        path="/sign-in",
    )
    return response


def _safe_target(text: str) -> str:
    """Return a path of our own to go to after signing in: never another site's."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\", "/sign-"))
    if not plain or any(ord(char) < 33 or char == "\\" for char in text) or len(text) > 2_000:
        return "/"
    return quote(text, safe="/?&=%:+,.~-_")


async def overview(request: web.Request) -> web.Response:
    """GET /: how things are."""
    deps, site = request.app[DEPS], request.app[SITE]
    stats = await read_stats(deps, None, None)
    is_day = request.query.get("range") == "day"
    intervals = stats.hours if is_day else stats.minutes
    latest = next((each.duration_ms for each in reversed(intervals) if each.duration_ms), None)
    return await site.render(
        request,
        "overview.html",
        attention=look_around(deps, site, stats.backlog),
        backlog=stats.backlog,
        is_day=is_day,
        events=sum(each.events for each in intervals),
        attempts=sum(sum(each.attempts.values()) for each in intervals),
        ratio=charts.percent(charts.success_ratio(intervals)),
        latest=latest,
        has_webhooks=any(True for _ in deps.registry),
        charts=(
            charts.events_chart(intervals),
            charts.attempts_chart(intervals),
            charts.success_chart(intervals),
            charts.latency_chart(intervals),
        ),
    )


async def find(request: web.Request) -> web.Response:
    """GET /find: straight to what has an id."""
    text = request.query.get("id", "").strip()
    for kind, where in (("del", "deliveries"), ("evt", "events"), ("wh", "webhooks")):
        if is_id(kind, text):
            return web.Response(status=303, headers={hdrs.LOCATION: f"/{where}/{text}"})
    raise NotFoundError(
        f"{text[:40]!r} is no id: deliveries begin with del_, events with evt_ and webhooks with "
        "wh_, and 13 letters and digits follow"
    )


async def live(request: web.Request) -> web.Response:
    """GET /live: attempts as they happen."""
    deps = request.app[DEPS]
    webhooks = list(deps.registry)
    webhooks.reverse()
    return await request.app[SITE].render(
        request,
        "live.html",
        webhooks=webhooks[:200],
        chosen=request.query.get("webhook", ""),
        event_types=[info.name for info in deps.event_types],
    )


async def nothing_here(request: web.Request) -> web.Response:
    """Answer for a path below a page's that leads nowhere."""
    return await guard.refusal(request, 404, "There is no such page.")


async def favicon(request: web.Request) -> web.Response:
    """GET /favicon.ico: what browsers ask for beside texts, which can't name an icon."""
    return web.Response(
        status=303, headers={hdrs.LOCATION: request.app[SITE].asset_url("icon.svg")}
    )


async def asset(request: web.Request) -> web.Response:
    """GET /assets/{name}: style, script, icon."""
    found = request.app[SITE].assets.get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound(reason="There is no such file.")
    return web.Response(
        body=found.body,
        content_type=found.content_type,
        charset="utf-8" if found.content_type.startswith("text/") else None,
        headers={hdrs.CACHE_CONTROL: FOR_EVER},
    )

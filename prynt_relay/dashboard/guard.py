"""What every request to the dashboard passes: the session, the token against forgery, headers.

A page that changes nothing needs the session's cookie. What changes something needs the session's
token as well, in a form field or a header that no other site can send, and must not come from
another site according to the browser either (`Sec-Fetch-Site`, `Origin`).
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import hdrs, web

from prynt_relay.api.problems import from_relay_error, internal_error, title_of
from prynt_relay.dashboard.forms import form_field
from prynt_relay.dashboard.site import SESSION, SITE
from prynt_relay.errors import RelayError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE: Final = "prynt_relay_session"
FORM_COOKIE: Final = "prynt_relay_form"
"""Holds the sign-in form's token: before signing in there is no session to hold one."""

CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
REFRESH_HEADER: Final = "X-Prynt-Refresh"
"""Marks what a page asks by itself: that somebody left it open isn't use of a session."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

_log = structlog.stdlib.get_logger(__name__)


def open_page(handler: Handler) -> Handler:
    """Let everybody read: the sign-in form and the static files."""

    async def handle(request: web.Request) -> web.StreamResponse:
        _remember_session(request)
        return await _answer(request, handler)

    return handle


def page(handler: Handler) -> Handler:
    """Let who is signed in read; send others to the sign-in form, and back afterwards."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if not _remember_session(request):
            return secured(_to_sign_in(request))
        return await _answer(request, handler)

    return handle


def action(handler: Handler) -> Handler:
    """Let who is signed in change something, with the session's token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if not _remember_session(request):
            return secured(_to_sign_in(request))
        return await _answer(request, _with_token(handler))

    return handle


def _with_token(handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        given = request.headers.get(CSRF_HEADER) or await form_field(request, CSRF_FIELD)
        if not is_same_site(request) or not same_text(given, request[SESSION].csrf):
            return await refusal(
                request,
                403,
                "This form is out of date, or didn't come from this dashboard. Nothing was "
                "changed: go back, load the page again and repeat it.",
            )
        response = await handler(request)
        _log.info(
            "request",
            action="api_request",
            method=request.method,
            path=_pattern(request),
            status=response.status,
        )
        return response

    return handle


def is_same_site(request: web.Request) -> bool:
    """Whether the browser doesn't say that another site sent this.

    `Sec-Fetch-Site` is the browser's own word and right behind every proxy. Without TLS browsers
    leave it out; then `Origin` has to name the host that was asked.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is None or urlsplit(origin).netloc == request.host


def same_text(given: str, wanted: str) -> bool:
    """Compare two tokens without telling by the time how far they agree."""
    return bool(wanted) and hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def is_behind_tls(request: web.Request) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy that says so.

    Who forges the header only makes its own cookie stricter.
    """
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def has_session(request: web.Request) -> bool:
    """Whether the request's cookie names a session; lets its pages read the API's streams.

    That a page is left open on one isn't use of the session.
    """
    site = request.app.get(SITE)
    if site is None or not is_same_site(request):
        return False
    return site.sessions.find(request.cookies.get(COOKIE), use=False) is not None


def _remember_session(request: web.Request) -> bool:
    by_itself = REFRESH_HEADER in request.headers
    session = request.app[SITE].sessions.find(request.cookies.get(COOKIE), use=not by_itself)
    if session is not None:
        request[SESSION] = session
    return session is not None


def _to_sign_in(request: web.Request) -> web.Response:
    if request.method in {hdrs.METH_GET, hdrs.METH_HEAD} and request.path != "/":
        location = f"/sign-in?next={quote(request.path_qs, safe='/')}"
    else:
        location = "/sign-in"
    return web.Response(status=303, headers={hdrs.LOCATION: location})


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = await refusal(request, error.status, error.reason or title_of(error.status))
    except RelayError as error:
        problem = from_relay_error(error)
        if problem is None:
            response = await _unforeseen(request)
        else:
            response = await refusal(request, problem.status, problem.detail)
            response.headers.update(problem.headers)
    except ConnectionError:
        raise  # the browser is gone: nobody to answer
    except Exception:  # noqa: BLE001 - whatever it is, the reader gets a page and the log a traceback
        response = await _unforeseen(request)
    return secured(response)


def secured(response: web.StreamResponse) -> web.StreamResponse:
    """Put on the headers that every answer carries."""
    response.headers.update(HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    return response


async def refusal(request: web.Request, status: int, message: str) -> web.Response:
    """Return a page that says why not."""
    return await request.app[SITE].render(
        request, "refusal.html", status=status, title=title_of(status), message=message
    )


async def _unforeseen(request: web.Request) -> web.Response:
    request_id = f"req_{request.app[SITE].sessions.random_token()[:16]}"
    _log.exception(
        "a request failed in a way that was not foreseen",
        action="api_error",
        path=_pattern(request),
        request_id=request_id,
    )
    return await refusal(request, 500, internal_error(request_id).detail)


def _pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "(none)" if resource is None else resource.canonical

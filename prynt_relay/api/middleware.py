"""What every request passes: its id, the key, errors turned into answers, one log line."""

import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Final

import structlog
from aiohttp import hdrs, web

from prynt_relay.api.deps import DEPS
from prynt_relay.api.idempotency import IdempotentPosts
from prynt_relay.api.operations import Operation
from prynt_relay.api.problems import (
    ProblemError,
    from_http_exception,
    from_relay_error,
    internal_error,
)
from prynt_relay.errors import RelayError
from prynt_relay.http_listener import SERVER

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = "X-Request-Id"

_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_CHANGING: Final = frozenset({hdrs.METH_POST, hdrs.METH_PATCH, hdrs.METH_DELETE})
_ABOUT_API: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_log = structlog.stdlib.get_logger(__name__)


class Gate:
    """The API's middleware, for the paths of its operations and for those that nobody serves.

    What another room mounts beside it (the dashboard) passes with a request id and no more.
    """

    def __init__(self, operations: Collection[Operation], posts: IdempotentPosts) -> None:
        self._operations: Mapping[tuple[str, str], Operation] = {
            (operation.method, operation.path): operation for operation in operations
        }
        self._paths = {operation.path for operation in operations}
        self._posts = posts

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer `request`; never raises but for what aiohttp itself needs to see."""
        resource = request.match_info.route.resource
        path = None if resource is None else resource.canonical
        request_id = _id_of(request)
        _request_id.set(request_id)
        nobodys = request.match_info.http_exception is not None
        if path not in self._paths and not nobodys:
            return await handler(request)
        started = time.monotonic()
        try:
            response = await self._answer(request, handler, path)
        except web.HTTPException as error:
            response = self._refusal(request, error).response(request_id)
        except RelayError as error:
            problem = from_relay_error(error)
            if problem is None:
                problem = self._unforeseen(path, request_id)
            response = problem.response(request_id)
        except ConnectionError:
            raise  # the client is gone: nobody to answer
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log a traceback
            response = self._unforeseen(path, request_id).response(request_id)
        if not response.prepared:
            response.headers.update(_ABOUT_API)
        self._tell(request, path, response.status, time.monotonic() - started, request_id)
        return response

    async def _answer(
        self, request: web.Request, handler: Handler, path: str | None
    ) -> web.StreamResponse:
        method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
        operation = self._operations.get((method, path or ""))
        in_api = path is not None or request.path.startswith("/v1/") or request.path == "/v1"
        if in_api and (operation is None or operation.needs_key):
            check_key(request)
        if operation is not None and operation.method == hdrs.METH_POST:
            return await self._posts.handle(request, handler)
        return await handler(request)

    @staticmethod
    def _refusal(request: web.Request, error: web.HTTPException) -> "ProblemError | _Allowed":
        problem = from_http_exception(error)
        if request.method == hdrs.METH_OPTIONS and error.status == 405:
            return _Allowed(problem.headers["Allow"])
        return problem

    @staticmethod
    def _unforeseen(path: str | None, request_id: str) -> ProblemError:
        _log.exception(
            "a request failed in a way that was not foreseen",
            action="api_error",
            path=path,
            request_id=request_id,
        )
        return internal_error(request_id)

    @staticmethod
    def _tell(
        request: web.Request, path: str | None, status: int, took_s: float, request_id: str
    ) -> None:
        fields = {
            "method": request.method[:20],
            # The pattern, not the path: no id or cursor of a caller's making in the log.
            "path": path or "(none)",
            "status": status,
            "duration_ms": round(took_s * 1000, 1),
            "request_id": request_id,
        }
        if status >= 500 or (request.method in _CHANGING and status < 400):
            _log.info("request", action="api_request", **fields)
        else:
            _log.debug("request", action="api_request", **fields)


class _Allowed:
    """The answer to OPTIONS: which methods there are."""

    def __init__(self, allow: str) -> None:
        self._allow = allow

    def response(self, _: str) -> web.Response:
        """Return it."""
        return web.Response(status=204, headers={"Allow": self._allow})


async def on_prepare(_: web.Request, response: web.StreamResponse) -> None:
    """Put on what every answer carries, streams too."""
    response.headers[hdrs.SERVER] = SERVER
    response.headers[REQUEST_ID] = _request_id.get()
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def _id_of(request: web.Request) -> str:
    """Return the caller's own id for the request where it gave a harmless one, else a new one."""
    given = request.headers.get(REQUEST_ID, "")
    if _GIVEN_ID.match(given):
        return given
    return "req_" + request.app[DEPS].random_bytes(8).hex()


def check_key(request: web.Request) -> None:
    """Raise ProblemError (401) unless the request may pass; a stream asks again and again."""
    deps = request.app[DEPS]
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and deps.key_check.valid(token.strip()):
        return
    if not scheme and request.method in _READING and deps.has_session(request):
        return
    what = "is not valid" if scheme.lower() == "bearer" else "is missing"
    challenge = 'Bearer realm="prynt-relay"' + (', error="invalid_token"' if scheme else "")
    raise ProblemError(
        401,
        "unauthorized",
        f"the API key {what}; send 'Authorization: Bearer' with the key in the daemon's state "
        "folder, file api-key",
        headers={hdrs.WWW_AUTHENTICATE: challenge},
    )

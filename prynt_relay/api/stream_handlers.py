"""Server-Sent Events (WHATWG HTML, section 9.2): attempts as they are settled."""

import asyncio
import re
from typing import Final

from aiohttp import hdrs, web

from prynt_relay.api.deps import DEPS
from prynt_relay.api.hub import Frame, Gap, Reader
from prynt_relay.api.middleware import check_key
from prynt_relay.api.outputs import ENCODER, StreamGap
from prynt_relay.api.problems import ProblemError
from prynt_relay.api.queries import read_query
from prynt_relay.api.webhook_handlers import find_webhook
from prynt_relay.errors import InvalidFieldError

HEARTBEAT_S: Final = 15.0
"""A comment after so much silence, so that neither end nor a proxy takes the stream for dead."""

LOOK_S: Final = 1.0
"""How often a silent stream looks whether its reader is still there; its place may be wanted."""

STUCK_S: Final = 60.0
"""A reader that takes nothing for so long is cut off; it may resume."""

RECONNECT_MS: Final = 2_000
LAST_EVENT_ID: Final = "Last-Event-ID"
LAST_EVENT_ID_PATTERN: Final = "^[0-9]{1,18}$"

_ID: Final = re.compile(r"[0-9]{1,18}\Z")
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


async def stream_all(request: web.Request) -> web.StreamResponse:
    """GET /v1/stream."""
    return await _stream(request, None)


async def stream_webhook(request: web.Request) -> web.StreamResponse:
    """GET /v1/webhooks/{webhookId}/stream."""
    return await _stream(request, find_webhook(request).row)


async def _stream(request: web.Request, webhook_row: int | None) -> web.StreamResponse:
    read_query(request, ())
    after_row = _last_event_id(request)
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers=_HEADERS)
    hub = request.app[DEPS].hub
    async with hub.reader(webhook_row, after_row) as reader:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        try:
            await _follow(request, response, reader)
        except (ConnectionError, TimeoutError):
            # The reader left, or takes nothing: it resumes with the last id that it has.
            response.force_close()
            if request.transport is not None:
                request.transport.abort()
    return response


async def _follow(request: web.Request, response: web.StreamResponse, reader: Reader) -> None:
    await _write(response, b"retry: %d\n\n" % RECONNECT_MS)
    now = asyncio.get_running_loop().time
    heartbeat_at = now() + HEARTBEAT_S
    while True:
        found = await reader.next(min(LOOK_S, HEARTBEAT_S))
        if found is None:
            await _write(response, b": the relay is shutting down\n\n")
            await response.write_eof()
            return
        if request.transport is None or request.transport.is_closing():
            return
        if not _is_allowed(request):
            # The key was rotated, or the session ended, since the stream began.
            await _write(response, b": not authorized any more\n\n")
            await response.write_eof()
            return
        if isinstance(found, Gap) or found or now() >= heartbeat_at:
            await _write(response, _text(found))
            heartbeat_at = now() + HEARTBEAT_S


def _is_allowed(request: web.Request) -> bool:
    try:
        check_key(request)
    except ProblemError:
        return False
    return True


def _text(found: list[Frame] | Gap) -> bytes:
    if isinstance(found, Gap):
        data = ENCODER.encode(StreamGap(missed=found.missed))
        return b"id: %d\nevent: gap\ndata: %b\n\n" % (found.last_row, data)
    if not found:
        return b": still here\n\n"
    return b"".join([frame.data for frame in found])


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(STUCK_S):
        await response.write(data)


def _last_event_id(request: web.Request) -> int | None:
    text = request.headers.get(LAST_EVENT_ID)
    if text is None or text == "":
        return None
    if not _ID.match(text):
        raise InvalidFieldError(LAST_EVENT_ID, f"must be the id of an event, not {text[:40]!r}")
    return int(text)

"""`Idempotency-Key` on POST: a repetition gets the first answer instead of a second effect.

Only answers of success are kept, for 24 h: what failed changed nothing, so it may be tried again
with the same key. Which requests are under way is known in memory alone; a crash in between
leaves the key free, and whether the request took effect is for the caller to look up.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from prynt_relay.api.bodies import LARGE_BODY, read_body
from prynt_relay.api.doors import SecretBox, Storage
from prynt_relay.api.problems import ProblemError
from prynt_relay.clock import Clock
from prynt_relay.errors import (
    InvalidFieldError,
    ShuttingDownError,
    StorageError,
    StorageUnavailableError,
)
from prynt_relay.store.api_requests import StoredAnswer, find_answer, keep_answer

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEPT_MS: Final = 24 * 3_600_000
KEY_PATTERN: Final = r"^[!-~]{1,255}$"

_KEY: Final = re.compile(r"[!-~]{1,255}\Z")
_KEPT_HEADERS: Final = ("Location", "Content-Type")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.stdlib.get_logger(__name__)


class IdempotentPosts:
    """Wraps handlers of POSTs."""

    def __init__(self, storage: Storage, secret_box: SecretBox, clock: Clock) -> None:
        self._storage = storage
        self._box = secret_box
        self._clock = clock
        # Bounded by the requests that are being handled.
        self._under_way: set[str] = set()

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer from what is kept, or let `handler` answer and keep that.

        Raises ProblemError: 409 while the first request is under way, 422 for another request.
        """
        key = _key(request)
        if key is None:
            return await handler(request)
        if key in self._under_way:
            raise ProblemError(
                409,
                "idempotency_key_in_use",
                "a request with this Idempotency-Key is under way; repeat it once that is answered",
                headers={"Retry-After": "1"},
            )
        self._under_way.add(key)
        try:
            fingerprint = await _fingerprint(request)
            oldest_ms = self._clock.wall_ms() - KEPT_MS
            kept = await self._storage.read(lambda conn: find_answer(conn, key, oldest_ms))
            if kept is not None:
                return self._replay(key, kept, fingerprint)
            response = await handler(request)
            if 200 <= response.status < 300 and isinstance(response, web.Response):
                await self._keep(key, fingerprint, response)
            return response
        finally:
            self._under_way.discard(key)

    def _replay(self, key: str, kept: StoredAnswer, fingerprint: bytes) -> web.Response:
        if kept.request_hash != fingerprint:
            raise ProblemError(
                422,
                "idempotency_key_reused",
                "this Idempotency-Key came with another request before; take a new one for each",
            )
        try:
            body = self._box.open(kept.response, kept.response_key, _bound_to(key))
        except StorageError as error:
            raise ProblemError(
                409, "idempotency_answer_lost", f"the kept answer can't be read: {error}"
            ) from None
        headers = {**kept.headers, REPLAYED: "true"}
        return web.Response(status=kept.status, body=body, headers=headers)

    async def _keep(self, key: str, fingerprint: bytes, response: web.Response) -> None:
        body = response.body
        plain = body if isinstance(body, bytes) else b""
        # A created webhook's and a rotation's hold a signing secret.
        sealed, key_id = self._box.seal(plain, _bound_to(key))
        headers = {
            name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers
        }
        answer = StoredAnswer(
            fingerprint, response.status, headers, sealed, key_id, self._clock.wall_ms()
        )
        try:
            await self._storage.write(lambda conn: keep_answer(conn, key, answer))
        except (StorageUnavailableError, ShuttingDownError) as error:
            # The request took effect: its caller must hear of that first of all.
            _log.warning(
                "an answer could not be kept for its Idempotency-Key",
                action="idempotency_not_kept",
                error=str(error),
            )


def _key(request: web.Request) -> str | None:
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    if len(given) > 1 or not _KEY.match(given[0]):
        raise InvalidFieldError(HEADER, "must be one value of 1 to 255 printable ASCII characters")
    return given[0]


async def _fingerprint(request: web.Request) -> bytes:
    """Return what tells this request from another one with the same key."""
    body = await read_body(request)
    text = f"{request.method} {request.rel_url}\n".encode() + body
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(_digest, text)
    return _digest(text)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _bound_to(key: str) -> str:
    return f"api_requests {key}"

"""The daemon's API as the contract's section 6 has it, over memory, on a thread of its own.

For the command line's tests: what is in it, what it answers and when a stream breaks is theirs to
say, which no real daemon lets them do. A real one is behind the story in tests/system.
"""

import asyncio
import functools
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

KEY = "sk_live_dGhpcyBpcyBhIHRlc3Qga2V5IQ"

Row = dict[str, Any]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4_000 else float(digits)


_loads = functools.partial(json.loads, parse_int=_integer)  # any integer, as the daemon


def problem(status: int, code: str, detail: str, **more: Any) -> web.Response:
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}
    return web.json_response(body | more, status=status, content_type="application/problem+json")


class FakeApi:
    """`with FakeApi() as api:`; its lists are newest first, as the API answers them."""

    def __init__(self) -> None:
        self.webhooks: list[Row] = []
        self.deliveries: list[Row] = []
        self.events: list[Row] = []
        self.raw_events: dict[str, str] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.raw_bodies: list[bytes] = []
        self.key = KEY
        self.page_size = 250
        self.empty_pages = 0
        self.test_answer: Row | None = None
        self.match_answer: list[Row] = []
        self.history: list[tuple[str, str, str]] = []  # (id, event, data) of the stream
        self.resumed_from: list[str | None] = []
        self.refuse_streams_with: tuple[int, str] | None = None
        self.refuse_webhooks_with: tuple[int, str] | None = None
        self._streams: set[asyncio.Queue[tuple[str, str, str] | None]] = set()
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._streaming = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def push(self, name: str, data: Any) -> None:
        """Send an event to the streams that are open, and keep it for those that resume."""
        entry = (f"{next(self._numbers)}", name, json.dumps(data))

        def send() -> None:
            self.history.append(entry)
            for queue in self._streams:
                queue.put_nowait(entry)

        self._loop.call_soon_threadsafe(send)

    def break_streams(self) -> None:
        """Close every stream's connection."""
        self._streaming.clear()
        self._loop.call_soon_threadsafe(self._end_streams)

    def wait_for_stream(self) -> None:
        """Return once a stream is open."""
        assert self._streaming.wait(10)

    def _end_streams(self) -> None:
        for queue in self._streams:
            queue.put_nowait(None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._end_streams()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        add = app.router.add_route
        add("GET", "/v1/webhooks", self._list_webhooks)
        add("POST", "/v1/webhooks", self._create)
        add("GET", "/v1/webhooks/{id}", self._get_webhook)
        add("PATCH", "/v1/webhooks/{id}", self._patch)
        add("DELETE", "/v1/webhooks/{id}", self._delete)
        add("POST", "/v1/webhooks/{id}/rotate-secret", self._rotate)
        add("POST", "/v1/webhooks/{id}/test", self._test)
        add("POST", "/v1/webhooks/{id}/match", self._match)
        add("POST", "/v1/match", self._match)
        add("POST", "/v1/webhooks/{id}/retry", self._retry)
        add("GET", "/v1/webhooks/{id}/deliveries", self._list_deliveries)
        add("GET", "/v1/deliveries", self._list_deliveries)
        add("GET", "/v1/deliveries/{id}", self._get_delivery)
        add("POST", "/v1/deliveries/{id}/retry", self._retry_one)
        add("GET", "/v1/events", self._list_events)
        add("POST", "/v1/events", self._send_events)
        add("GET", "/v1/events/{id}", self._get_event)
        add("GET", "/v1/webhooks/{id}/stream", self._stream)
        add("GET", "/v1/stream", self._stream)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return problem(401, "unauthorized", "A valid API key is needed.")
        raw = await request.read()
        self.raw_bodies.append(raw)
        body = _loads(raw) if raw else None
        self.requests.append((request.method, request.path_qs, body))
        return await handler(request)

    def _webhook(self, request: web.Request) -> Row:
        for row in self.webhooks:
            if row["id"] == request.match_info["id"]:
                return row
        text = json.dumps(
            {
                "title": "Not found",
                "status": 404,
                "code": "not_found",
                "detail": f"There is no webhook {request.match_info['id']}.",
            }
        )
        raise web.HTTPNotFound(text=text, content_type="application/problem+json")

    def _page(self, request: web.Request, rows: list[Row]) -> web.Response:
        limit = min(int(request.query.get("limit", "20")), self.page_size)
        start = int(request.query.get("cursor", "0"))
        if self.empty_pages:
            self.empty_pages -= 1
            return web.json_response({"data": [], "nextCursor": str(start)})
        end = start + limit
        next_cursor = str(end) if end < len(rows) else None
        return web.json_response({"data": rows[start:end], "nextCursor": next_cursor})

    async def _list_webhooks(self, request: web.Request) -> web.Response:
        return self._page(request, self.webhooks)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not body["url"].startswith("https://"):
            return problem(
                400,
                "invalid_request",
                "The request is not valid.",
                errors=[{"field": "url", "message": "must be https"}],
            )
        row = {
            "id": f"wh_{next(self._numbers):013d}",
            "url": body["url"],
            "events": body.get("events", ["identification.complete"]),
            "description": body.get("description", ""),
            "enabled": body.get("enabled", True),
            "disabledReason": None,
            "disabledAt": None,
            "failingSince": None,
            "createdAt": "2026-02-14T10:30:00.000Z",
            "updatedAt": "2026-02-14T10:30:00.000Z",
        }
        self.webhooks.insert(0, row)
        return web.json_response(row | {"signingSecret": "whsec_" + "a" * 32}, status=201)

    async def _get_webhook(self, request: web.Request) -> web.Response:
        if self.refuse_webhooks_with is not None:
            status, why = self.refuse_webhooks_with
            return problem(status, "refused", why)
        return web.json_response(self._webhook(request))

    async def _patch(self, request: web.Request) -> web.Response:
        row = self._webhook(request)
        shown = {k: v for k, v in (await request.json()).items() if k not in ("auth", "headers")}
        row.update(shown)
        return web.json_response(row)

    async def _delete(self, request: web.Request) -> web.Response:
        self.webhooks.remove(self._webhook(request))
        return web.Response(status=204)

    async def _rotate(self, request: web.Request) -> web.Response:
        self._webhook(request)
        return web.json_response(
            {"signingSecret": "whsec_" + "b" * 32, "activeFrom": "2026-02-15T10:30:00.000Z"}
        )

    async def _test(self, request: web.Request) -> web.Response:
        self._webhook(request)
        return web.json_response(self.test_answer)

    async def _match(self, request: web.Request) -> web.Response:
        if "id" in request.match_info:
            self._webhook(request)
        return web.json_response({"data": self.match_answer})

    def _matching(self, request: web.Request) -> list[Row]:
        wanted = {
            "webhookId": request.match_info.get("id"),
            "state": request.query.get("state"),
            "eventType": request.query.get("eventType"),
        }
        return [
            {k: v for k, v in row.items() if k != "attempts"}
            for row in self.deliveries
            if all(value in (None, row[name]) for name, value in wanted.items())
        ]

    async def _retry(self, request: web.Request) -> web.Response:
        self._webhook(request)
        states = (await request.json()).get("states", ["failed", "held", "scheduled"])
        count = sum(
            row["state"] in states and (row["state"] != "scheduled" or row["attemptCount"] > 0)
            for row in self._matching(request)
        )
        return web.json_response({"scheduled": count})

    async def _list_deliveries(self, request: web.Request) -> web.Response:
        return self._page(request, self._matching(request))

    async def _get_delivery(self, request: web.Request) -> web.Response:
        for row in self.deliveries:
            if row["id"] == request.match_info["id"]:
                return web.json_response(row)
        return problem(404, "not_found", f"There is no delivery {request.match_info['id']}.")

    async def _retry_one(self, request: web.Request) -> web.Response:
        return await self._get_delivery(request)

    async def _list_events(self, request: web.Request) -> web.Response:
        kind = request.query.get("eventType")
        return self._page(request, [e for e in self.events if kind in (None, e["eventType"])])

    async def _get_event(self, request: web.Request) -> web.Response:
        text = self.raw_events.get(request.match_info["id"])
        if text is None:
            return problem(404, "not_found", f"There is no event {request.match_info['id']}.")
        return web.Response(text=text, content_type="application/json")

    async def _send_events(self, request: web.Request) -> web.Response:
        body = await request.json(loads=_loads)
        answers = [
            {"ok": True, "eventId": f"evt_{next(self._numbers):013d}", "duplicate": False}
            for _ in (body if isinstance(body, list) else [body])
        ]
        return web.json_response(answers if isinstance(body, list) else answers[0])

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_streams_with is not None:
            status, why = self.refuse_streams_with
            return problem(status, "refused", why)
        last_id = request.headers.get("Last-Event-ID")
        self.resumed_from.append(last_id)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        queue: asyncio.Queue[tuple[str, str, str] | None] = asyncio.Queue()
        for entry in self.history:
            if last_id is not None and int(entry[0]) > int(last_id):
                queue.put_nowait(entry)
        self._streams.add(queue)
        self._streaming.set()
        try:
            while (event := await queue.get()) is not None:
                number, name, data = event
                await response.write(f"id: {number}\nevent: {name}\ndata: {data}\n\n".encode())
        finally:
            self._streams.discard(queue)
        if request.transport is not None:
            request.transport.abort()
        return response

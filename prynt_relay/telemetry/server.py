"""The `/metrics` endpoint, on a port of its own."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from prynt_relay.http_listener import SERVER, Connection, listen
from prynt_relay.telemetry.metrics import GaugeName, GaugeReader, Metrics, SnapshotCollector

GAUGE_TIMEOUT_S: Final = 5.0
"""A gauge that can't be read in this time is left out; Prometheus itself gives up after 10 s."""

_log = structlog.get_logger(__name__)


class _Connection(Connection):
    """One connection of a scraper's, or of someone who tries what there is."""

    __slots__ = ()

    def refusal(self, status: int, error: BaseException | None) -> web.Response:
        """Return a line of plain text."""
        why = "the log has more" if status >= 500 else "this is not a valid HTTP/1.1 request"
        return web.Response(status=status, text=f"{status}: {why}\n")


class MetricsServer:
    """Serves the metrics as Prometheus or OpenMetrics text, whichever the scraper asks for.

    `start` and `stop` may each be called twice, and `start` again after `stop`.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        """Serve at `host` and `port`; port 0 is any that is free."""
        self._metrics = metrics
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._renderer: ThreadPoolExecutor | None = None
        self._process = ProcessCollector(registry=None)
        # One scrape at a time: renderings side by side would only fight for the interpreter.
        self._lock = asyncio.Lock()
        self.address: tuple[str, int] = (host, port)

    async def start(self) -> None:
        """Listen; `address` then holds the real port. Raises RelayError where that fails."""
        if self._runner is not None:
            return
        app = web.Application(middlewares=[_in_a_line])
        app.on_response_prepare.append(_say_who)
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/", _pointer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "access_log": None,
            "logger": logging.getLogger("prynt_relay.telemetry"),
        }
        self._server = await listen(
            "metrics.listen",
            runner,
            lambda handler: _Connection(handler, **options),
            (self._host, self._port),
        )
        self._runner = runner
        # A thread of its own: the loop's default pool may be busy with slower things.
        self._renderer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        host, port, *_ = self._server.sockets[0].getsockname()
        self.address = (host, port)

    async def stop(self) -> None:
        """Close the port; a scrape under way gets a second to finish."""
        runner, self._runner = self._runner, None
        if self._server is not None:
            self._server.close()
        if runner is not None:
            await runner.cleanup()
        renderer, self._renderer = self._renderer, None
        if renderer is not None:
            renderer.shutdown(wait=False)

    async def _scrape(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        async with self._lock:
            gauges = await _read_gauges(self._metrics.gauges)
            snapshot = self._metrics.snapshot(gauges)
            body, content_type = await asyncio.get_running_loop().run_in_executor(
                self._renderer, self._render, SnapshotCollector(snapshot), accept
            )
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _render(self, collector: SnapshotCollector, accept: str) -> tuple[bytes, str]:
        registry = CollectorRegistry()
        registry.register(collector)
        registry.register(self._process)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


@web.middleware
async def _in_a_line(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = error.headers.get(hdrs.ALLOW)
        return web.Response(
            status=error.status,
            text=f"{error.status}: GET /metrics is all that there is\n",
            headers={} if allow is None else {hdrs.ALLOW: allow},
        )


async def _say_who(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SERVER


async def _pointer(_request: web.Request) -> web.Response:
    return web.Response(text="prynt-relay: the metrics are at /metrics\n")


async def _read_gauges(readers: dict[GaugeName, GaugeReader]) -> dict[GaugeName, float]:
    """Read all gauges side by side; one that fails is logged and left out, the others are shown."""

    async def read(reader: GaugeReader) -> float:
        value = reader()
        return await value if inspect.isawaitable(value) else value

    results = await asyncio.gather(
        *(asyncio.wait_for(read(reader), GAUGE_TIMEOUT_S) for reader in readers.values()),
        return_exceptions=True,
    )
    gauges: dict[GaugeName, float] = {}
    for name, result in zip(readers, results, strict=True):
        if isinstance(result, Exception):
            _log.warning(
                "a gauge can't be read", action="gauge_unreadable", gauge=name, error=repr(result)
            )
        elif isinstance(result, BaseException):
            raise result
        else:
            gauges[name] = result
    return gauges

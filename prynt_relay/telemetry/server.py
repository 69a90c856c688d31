"""The `/metrics` endpoint, on a port of its own."""

import asyncio
import errno
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from prynt_relay.errors import RelayError
from prynt_relay.telemetry.metrics import GaugeName, GaugeReader, Metrics, SnapshotCollector

GAUGE_TIMEOUT_S: Final = 5.0
"""A gauge that can't be read in this time is left out; Prometheus itself gives up after 10 s."""

_log = structlog.get_logger(__name__)


class MetricsServer:
    """Serves the metrics as Prometheus or OpenMetrics text, whichever the scraper asks for.

    `start` and `stop` may each be called twice, and `start` again after `stop`.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        """Serve at `host` and `port`; port 0 is any that is free."""
        self._metrics = metrics
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._renderer: ThreadPoolExecutor | None = None
        self._process = ProcessCollector(registry=None)
        # One scrape at a time: renderings side by side would only fight for the interpreter.
        self._lock = asyncio.Lock()
        self.address: tuple[str, int] = (host, port)

    async def start(self) -> None:
        """Listen; `address` then holds the real port. Raises RelayError where that fails."""
        if self._runner is not None:
            return
        app = web.Application()
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/", _pointer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            hint = " (another program listens there)" if error.errno == errno.EADDRINUSE else ""
            raise RelayError(
                f"metrics.listen: can't listen on {self._host} port {self._port}: "
                f"{error.strerror}{hint}"
            ) from error
        self._runner = runner
        # A thread of its own: the loop's default pool may be busy with slower things.
        self._renderer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        host, port, *_ = runner.addresses[0]
        self.address = (host, port)

    async def stop(self) -> None:
        """Close the port; a scrape under way gets a second to finish."""
        runner, self._runner = self._runner, None
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

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
import structlog.testing
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from prynt_relay.errors import RelayError
from prynt_relay.model.states import Outcome
from prynt_relay.telemetry import server as server_module
from prynt_relay.telemetry.metrics import Metrics
from prynt_relay.telemetry.server import MetricsServer
from tests.pace import stretched


@pytest.fixture
async def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def url(metrics: Metrics) -> AsyncIterator[str]:
    server = MetricsServer(metrics, "127.0.0.1", 0)
    await server.start()
    yield f"http://127.0.0.1:{server.address[1]}/metrics"
    await server.stop()


async def get(url: str, **headers: str) -> tuple[str, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        return await response.text(), response.headers["Content-Type"]


async def test_a_scrape_shows_the_counters_the_gauges_and_the_process(
    url: str, metrics: Metrics
) -> None:
    """`/metrics` answers Prometheus text with gauges as they are at that moment."""
    metrics.attempt("wh_a", Outcome.SUCCESS, 0.1)
    in_flight = 5
    metrics.gauge("in_flight", lambda: in_flight)

    async def held() -> float:
        await asyncio.sleep(0)
        return 9

    metrics.gauge("held", held)
    text, content_type = await get(url)
    assert content_type.startswith("text/plain; version=")
    assert "prynt_relay_deliveries_in_flight 5.0\n" in text
    assert "prynt_relay_deliveries_held 9.0\n" in text
    assert 'prynt_relay_delivery_attempts_total{outcome="success"} 1.0\n' in text
    assert "process_resident_memory_bytes " in text
    in_flight = 6
    assert "prynt_relay_deliveries_in_flight 6.0\n" in (await get(url))[0]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/", 200, "prynt-relay: the metrics are at /metrics\n"),
        ("HEAD", "/metrics", 200, ""),
        ("GET", "/nope", 404, "404: GET /metrics is all that there is\n"),
        ("POST", "/metrics", 405, "405: GET /metrics is all that there is\n"),
    ],
)
async def test_every_answer_is_plain_and_tells_no_versions(
    url: str, method: str, path: str, status: int, text: str
) -> None:
    """`Server` is as the API has it; a refusal is one line of text, a 405 with what is allowed."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url.removesuffix("/metrics") + path) as answer,
    ):
        assert (answer.status, await answer.text()) == (status, text)
        assert answer.headers["Server"] == "prynt-relay"
        assert answer.content_type == "text/plain"
        assert answer.headers.get("Allow") == ("GET,HEAD" if status == 405 else None)


@pytest.mark.parametrize("request_line", [b"\x16\x03\x01 TLS", b"GET / SPAM/1"])
async def test_what_is_no_http_gets_a_line_and_no_versions(url: str, request_line: bytes) -> None:
    """A client that speaks TLS, say, learns that this is plain HTTP, and not what serves it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(request_line + b"\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"\r\nServer: prynt-relay\r\n" in head
    assert body == b"400: this is not a valid HTTP/1.1 request\n"


async def test_open_metrics_is_spoken_to_those_who_ask(url: str, metrics: Metrics) -> None:
    """With the Accept header of a Prometheus server the answer is valid OpenMetrics."""
    metrics.attempt("wh_a", Outcome.SUCCESS, 0.1)
    text, content_type = await get(
        url, Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    )
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # its own
    names = {family.name for family in families}
    assert "prynt_relay_webhook_attempts" in names


async def test_a_gauge_that_fails_or_hangs_costs_only_itself(
    url: str, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scrape goes on without it, and the log says which and why."""
    monkeypatch.setattr(server_module, "GAUGE_TIMEOUT_S", 0.05)

    def broken() -> float:
        raise OSError(5, "Input/output error")

    async def hanging() -> float:
        await asyncio.Event().wait()
        return 0

    metrics.gauge("wal_bytes", broken)
    metrics.gauge("scheduled", hanging)
    metrics.gauge("in_flight", lambda: 3)
    with structlog.testing.capture_logs() as lines:
        text, _ = await get(url)
    assert "prynt_relay_deliveries_in_flight 3.0\n" in text
    assert "prynt_relay_wal_bytes" not in text
    assert "prynt_relay_deliveries_scheduled" not in text
    assert {line["gauge"] for line in lines} == {"wal_bytes", "scheduled"}
    assert {line["action"] for line in lines} == {"gauge_unreadable"}


async def test_a_port_that_is_taken_is_named() -> None:
    """The error says which setting and which address, and a later start works."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = MetricsServer(Metrics(), "127.0.0.1", port)
        with pytest.raises(RelayError, match=rf"^metrics\.listen: 127\.0\.0\.1:{port} is in use; "):
            await server.start()
    await server.start()
    await server.start()
    assert server.address[1] == port
    await server.stop()
    await server.stop()
    await server.start()
    assert "prynt_relay_build_info" in (await get(f"http://127.0.0.1:{port}/metrics"))[0]
    await server.stop()


async def test_ten_thousand_webhooks_do_not_hold_the_loop(metrics: Metrics) -> None:
    """While a scrape of as many series as the default limit allows runs, the loop goes on."""
    for n in range(10_000):
        for outcome in Outcome:
            metrics.attempt(f"wh_{n:013}", outcome, 0.1)
    server = MetricsServer(metrics, "127.0.0.1", 0)
    await server.start()
    gaps: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    watcher = asyncio.create_task(watch())
    url = f"http://127.0.0.1:{server.address[1]}/metrics"
    # The client is a process of its own, or its work would be measured too.
    client = f"import urllib.request as u; [u.urlopen({url!r}).read() for _ in range(3)]"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", client)
    assert await process.wait() == 0
    watcher.cancel()
    await server.stop()
    gaps.sort()
    # The bar is 20 ms; the machine may be busy with other things, so the worst few may be its.
    assert gaps[-4] < stretched(0.02), gaps[-10:]

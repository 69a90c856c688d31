"""CPU and time per request: the transport's whole send path against a bare `session.post` loop.

    python -m tests.bench.transport_send [--requests 20000] [--rounds 5] [--body 1000] [--profile]

Both sides sign, send the same bytes with 100 requests in flight, and read the answer; the transport
also renders the body and makes an attempt's result of the answer. The receiver is a process of its
own that answers a fixed 200. Sides alternate; the table shows medians.
"""

import argparse
import asyncio
import contextlib
import cProfile
import hashlib
import hmac
import json
import multiprocessing
import pstats
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
import msgspec
import uvloop

from prynt_relay.clock import SystemClock
from prynt_relay.model.states import Format, Outcome
from prynt_relay.transport import formats
from tests.integration.attempts import EVENT, SECRET, sender, webhook
from tests.integration.receivers import shared_authority

IN_FLIGHT = 100
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n"
    b'Date: Sun, 22 Nov 2026 10:00:00 GMT\r\nServer: bench\r\n\r\n{"received":true}'
)


class Receiver(asyncio.Protocol):
    """Answers each complete request with the same bytes."""

    def __init__(self) -> None:
        self.missing = 0
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        while data:
            if not self.missing:
                data = self.head + data
                end = data.find(b"\r\n\r\n")
                if end < 0:
                    self.head = data
                    return
                self.head = b""
                at = data.lower().find(b"content-length: ") + 16
                self.missing = end + 4 + int(data[at : data.find(b"\r", at)])
            taken = min(self.missing, len(data))
            self.missing -= taken
            data = data[taken:]
            if not self.missing:
                self.transport.write(ANSWER)  # type: ignore[attr-defined]


def serve(pipe: Connection, certificate: str | None) -> None:
    """Run the receiver and tell its port."""

    async def main() -> None:
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Receiver, "127.0.0.1", 0, ssl=context, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())


async def in_flight(count: int, once: Callable[[], Awaitable[None]]) -> None:
    async def several(n: int) -> None:
        for _ in range(n):
            await once()

    await asyncio.gather(*(several(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))


async def measure(count: int, once: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return CPU microseconds per request, and requests per second."""
    await in_flight(5 * IN_FLIGHT, once)
    cpu, wall = time.process_time(), time.perf_counter()
    await in_flight(count, once)
    return (
        (time.process_time() - cpu) / count * 1e6,
        count / (time.perf_counter() - wall),
    )


async def bare(url: str, body: bytes, count: int) -> tuple[float, float]:
    """What a competent user would write."""
    context = ssl.create_default_context(cafile=shared_authority().ca_file)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def once() -> None:
            timestamp = str(int(time.time()))
            signed = timestamp.encode() + b"." + body
            signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "bench/1",
                "X-Prynt-Event": EVENT.event_type,
                "X-Prynt-Delivery": EVENT.event_id,
                "X-Prynt-Timestamp": timestamp,
                "X-Prynt-Signature": f"sha256={signature}",
            }
            async with session.post(url, data=body, headers=headers, ssl=context) as response:
                await response.read()
                assert response.status == 200

        return await measure(count, once)


async def ours(url: str, data: bytes, count: int, *, profile: bool) -> tuple[float, float]:
    """The transport's whole send path."""
    event = msgspec.structs.replace(EVENT, data=data)
    hook = webhook(url, timeout_s=None)
    async with sender(clock=SystemClock()) as one:

        async def once() -> None:
            result = await one.send(hook, event, Format.PRYNT)
            assert result.outcome is Outcome.SUCCESS, result

        if not profile:
            return await measure(count, once)
        profiler = cProfile.Profile()
        profiler.enable()
        figures = await measure(count, once)
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
        return figures


def compare(url: str, options: argparse.Namespace) -> dict[str, float]:
    data = json.dumps({"x": "y" * options.body}).encode()
    body = formats.render(Format.PRYNT, msgspec.structs.replace(EVENT, data=data), "wh_" + "0" * 13)
    sides: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    for _ in range(options.rounds):
        sides["bare"].append(uvloop.run(bare(url, body, options.requests)))
        mine = ours(url, data, options.requests, profile=options.profile)
        sides["ours"].append(uvloop.run(mine))
    figures = {}
    for name, rounds in sides.items():
        figures[f"{name}_cpu_us"] = statistics.median(cpu for cpu, _ in rounds)
        figures[f"{name}_per_s"] = statistics.median(rate for _, rate in rounds)
    figures["cpu_ratio"] = figures["ours_cpu_us"] / figures["bare_cpu_us"]
    figures["rate_ratio"] = figures["ours_per_s"] / figures["bare_per_s"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--body", type=int, default=850)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    leaf = shared_authority().ca.issue_cert("receiver.test", "127.0.0.1")
    with leaf.private_key_and_cert_chain_pem.tempfile() as certificate:
        for scheme, context in (("http", None), ("https", certificate)):
            here, there = multiprocessing.Pipe()
            receiver = multiprocessing.Process(target=serve, args=(there, context), daemon=True)
            receiver.start()
            figures = compare(f"{scheme}://127.0.0.1:{here.recv()}/hook", options)
            receiver.terminate()
            receiver.join()
            print(scheme, json.dumps({name: round(x, 2) for name, x in figures.items()}))


if __name__ == "__main__":
    main()

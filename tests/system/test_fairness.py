"""One webhook's trouble stays its own: hundreds that are broken, and one that works."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.receivers import Receiver, shared_authority
from tests.programs import program, unavailable
from tests.system.daemons import HOST, Daemon

TROUBLED = 300
BACKLOG = 20
"""Events for each of the troubled webhooks before the measurement begins."""
P99_S = 0.25
COUNT = 150
"""Events of the healthy one in a measurement: all but the slowest of them have to be in time."""


@contextlib.asynccontextmanager
async def hostile(mode: str) -> AsyncIterator[tuple[int, Path]]:
    """Receivers in a process of their own; gives their port and certificate authority."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.hostile_receivers", mode,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        place = json.loads(await process.stdout.readline())
        yield place["port"], Path(place["ca"])
    finally:
        process.kill()
        await process.wait()


async def measure(daemon: Daemon, receiver: Receiver, count: int) -> float:
    """Send `count` events to the healthy webhook, 50 a second; returns p99 from ack to receipt."""
    before = len(receiver.requests)
    acknowledged: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    async with daemon.publisher() as lines:
        started = loop.time()
        for number in range(count):
            answer = await lines.send({"eventType": "verdict.allow", "data": {"n": number}})
            acknowledged[answer["eventId"]] = loop.time()
            # The rate is the load, not a way to wait for something.
            await asyncio.sleep(max(started + (number + 1) / 50 - loop.time(), 0))
    requests = (await receiver.wait_for(before + count, timeout_s=20))[before:]
    waits = sorted(
        r.received_at - acknowledged[r.header("X-Prynt-Delivery") or ""] for r in requests
    )
    return waits[int(len(waits) * 0.99)]


def authorities(folder: Path, *files: Path) -> Path:
    """One file with all certificate authorities."""
    merged = folder / "authorities.pem"
    merged.write_text("\n".join(file.read_text() for file in files))
    return merged


async def scenario(folder: Path, url: str, ca_file: Path, prefix: tuple[str, ...] = ()) -> None:
    """Measure beside the troubled webhooks, and again right after a restart."""
    async with Receiver(host=HOST) as receiver:
        daemon = Daemon(
            folder,
            delivery={"timeout": "10s", "retry_schedule": ["2s", "3s"]},
            egress={"ca_file": str(ca_file)},
        )
        await daemon.start(prefix=prefix)
        try:
            for number in range(TROUBLED):
                await daemon.webhook(url.format(number), "verdict.block")
            await daemon.webhook(receiver.url, "verdict.allow")
            await daemon.publish(*[{"eventType": "verdict.block", "data": {"n": 1}}] * BACKLOG)
            p99_s = await measure(daemon, receiver, COUNT)
            assert p99_s < P99_S
            await daemon.kill()
            await daemon.start(prefix=prefix)
            p99_s = await measure(daemon, receiver, COUNT)
            assert p99_s < P99_S
        finally:
            await daemon.kill()


@pytest.mark.parametrize("mode", ["hang", "drip"])
async def test_webhooks_that_hold_their_connections_delay_no_other(
    tmp_path: Path, mode: str
) -> None:
    """300 that never answer, or answer and drip, each with a backlog: one that works is at once."""
    async with hostile(mode) as (port, ca_file):
        merged = authorities(tmp_path, ca_file, shared_authority().ca_file)
        await scenario(tmp_path, f"https://{HOST}:{port}/{{}}", merged)


async def test_names_that_no_server_answers_for_delay_no_other(tmp_path: Path) -> None:
    """300 webhooks whose names nobody resolves: one that works is served at once."""
    if os.geteuid() != 0:
        unavailable("only root can give the daemon a resolv.conf of its own")
    unshare = program("unshare", "util-linux")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.53", 53))
        resolv = tmp_path / "resolv.conf"
        resolv.write_text("nameserver 127.0.0.53\n")
        mount = f'mount --bind {resolv} "$(readlink -f /etc/resolv.conf)" && exec "$@"'
        await scenario(
            tmp_path,
            "https://dead{}.example.com/",
            shared_authority().ca_file,
            prefix=(unshare, "-m", "sh", "-c", mount, "sh"),
        )

"""Thousands of publishers that say nothing, and publishers that never read."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.receivers import Receiver
from tests.programs import program, unavailable
from tests.system.daemons import HOST, Daemon, until

CROWD = 10_000
SPARE = 2_000
"""Descriptors beside the crowd's."""
LINE = b'{"eventType":"verdict.block","data":{"text":"%b"}}\n' % (b"x" * 300)
ACK_S = 1.0
DEAF = 10
"""Publishers that don't read."""


def descriptors(pid: int) -> int:
    return len(list((Path("/proc") / str(pid) / "fd").iterdir()))


@contextlib.contextmanager
def many_descriptors() -> Iterator[None]:
    """Let this process have the crowd's other ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD + SPARE
    if soft < needed and hard != resource.RLIM_INFINITY and hard < needed and os.geteuid() != 0:
        unavailable(f"a process may have {hard} descriptors here, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), max(hard, needed)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, needed)))


def connect(path: Path, count: int) -> list[socket.socket]:
    """Open connections; where the queue is full a blocking one waits for its turn."""
    made = []
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.append(one)
        one.connect(str(path))
        one.settimeout(20)
    return made


def ask(one: socket.socket) -> bool:
    """Send an event over a connection of the crowd; returns whether it was taken."""
    one.sendall(LINE)
    with one.makefile("rb") as answers:
        return bool(json.loads(answers.readline())["ok"])


async def slowest_ack_s(daemon: Daemon, count: int) -> float:
    """The longest time that a new publisher waits for one of its acks."""
    slowest = 0.0
    async with daemon.publisher() as lines:
        for _ in range(count):
            began = time.monotonic()
            assert (await lines.send_line(LINE.rstrip()))["ok"]
            slowest = max(slowest, time.monotonic() - began)
    return slowest


async def test_ten_thousand_idle_publishers_are_in_nobodys_way(tmp_path: Path) -> None:
    """They are all accepted, cost little, delay no other, and can publish at any time."""
    prlimit = program("prlimit", "util-linux")
    # Such a soft limit is what a shell or a container gives; the hard one is what is allowed.
    limit = f"--nofile=1024:{CROWD + SPARE}"
    with many_descriptors():
        async with Receiver(host=HOST) as receiver:
            daemon = Daemon(tmp_path)
            await daemon.start(prefix=(prlimit, limit))
            try:
                await daemon.webhook(receiver.url)
                before, memory = descriptors(daemon.pid), daemon.memory_mb()
                crowd = await asyncio.to_thread(connect, daemon.socket, CROWD)
                try:

                    async def all_accepted() -> bool:
                        return descriptors(daemon.pid) >= CROWD

                    await until(all_accepted, "all of them were accepted")
                    assert await slowest_ack_s(daemon, 50) < ACK_S
                    assert (await daemon.request("GET", "/readyz", key=None))[0] == 200
                    took = await asyncio.to_thread(lambda: [ask(one) for one in crowd[::100]])
                    assert all(took)
                    each_kb = (daemon.memory_mb() - memory) * 1024 / CROWD
                    print(f"{each_kb:.1f} KB for each idle publisher")
                    assert each_kb < 16
                finally:
                    for one in crowd:
                        one.close()
                await receiver.wait_for(50 + CROWD // 100, timeout_s=30)

                async def all_gone() -> bool:
                    return descriptors(daemon.pid) < before + 100

                await until(all_gone, "their descriptors were given back")
                assert await slowest_ack_s(daemon, 20) < ACK_S
            finally:
                assert await daemon.stop() == 0


class NeverReads:
    """A publisher that writes as long as it may and reads nothing until it is asked to."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self.sent = 0
        """Bytes that the kernel took."""

    def write_until_stuck(self) -> None:
        """Write lines until nobody has taken a byte for half a second."""
        self._socket.settimeout(0.5)
        piece = LINE * 50
        with contextlib.suppress(TimeoutError):
            while True:
                self.sent += self._socket.send(piece[self.sent % len(piece) :])

    def read_all(self) -> list[bool]:
        """Finish the line that was cut off, and read the answer to each."""
        self._socket.settimeout(30)
        lines = -(-self.sent // len(LINE))
        missing = lines * len(LINE) - self.sent
        with self._socket.makefile("rb") as answers:
            taken = [
                bool(json.loads(answers.readline())["ok"]) for _ in range(lines - bool(missing))
            ]
            if missing:
                self._socket.sendall(LINE[-missing:])
                taken.append(bool(json.loads(answers.readline())["ok"]))
        return taken

    def close(self) -> None:
        self._socket.close()


@pytest.mark.timeout(180)
async def test_publishers_that_do_not_read_are_not_read_from(tmp_path: Path) -> None:
    """They get stuck in bounded memory and delay no other; every line is answered in the end."""
    async with Daemon(tmp_path) as daemon:
        assert await slowest_ack_s(daemon, 20) < ACK_S
        memory = daemon.memory_mb()
        stuck = [NeverReads(daemon.socket) for _ in range(DEAF)]
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*(asyncio.to_thread(one.write_until_stuck) for one in stuck))
            assert await slowest_ack_s(daemon, 50) < ACK_S
            growth = daemon.memory_mb() - memory
            print(f"{growth:.0f} MB for {DEAF} publishers that don't read")
            assert growth < 5 * DEAF
            for one in stuck:
                answers = await asyncio.to_thread(one.read_all)
                assert len(answers) > 100
                assert all(answers)
        finally:
            for one in stuck:
                one.close()

"""The wall clock jumps by a day under the running daemon; monotonic time goes on."""

import asyncio
import itertools
import struct
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.receiver import verify
from tests.integration.receivers import Receiver, Reply, Request
from tests.system.daemons import HOST, Daemon, until
from tests.system.shims import compiled

SOURCE = Path(__file__).parent / "shims" / "clock.c"
DAY_S = 86_400
EVENT: dict[str, Any] = {"eventType": "verdict.block", "data": {}}
RETRY_S = 1.0
AFTER_START_S = 2.0
"""The same where a restart falls into it."""
LATE_S = 1.0
"""How much later than scheduled an attempt may come, on a busy machine."""


class Wall:
    """The daemon's wall clock, as far as it is off."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.jump_to(0)

    def jump_to(self, shift_s: int) -> None:
        """Set the daemon's wall clock so much before or after the real one."""
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", shift_s))


def answer(request: Request) -> Reply:
    return Reply(200 if request.target == "/works" else 500)


def at(receiver: Receiver, path: str) -> list[Request]:
    return [request for request in receiver.requests if request.target == path]


async def arrived(receiver: Receiver, path: str, count: int) -> list[Request]:
    async def all_there() -> bool:
        return len(at(receiver, path)) >= count

    await until(all_there, f"{count} requests at {path}")
    return at(receiver, path)


async def state_of(daemon: Daemon, webhook: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await daemon.api("GET", f"/v1/webhooks/{webhook['id']}")
    return found


@pytest.mark.parametrize("day_s", [DAY_S, -DAY_S], ids=["forward", "back"])
async def test_a_jump_of_a_day_neither_stalls_the_schedule_nor_makes_it_burst(
    tmp_path: Path, day_s: int
) -> None:
    """Retries keep their distance, nothing is disabled, signatures have the time of the wall."""
    library = await compiled(SOURCE, tmp_path)
    wall = Wall(tmp_path / "wall-shift")
    env = {"LD_PRELOAD": str(library), "WALL_SHIFT_FILE": str(wall.file)}
    async with (
        Receiver(host=HOST, respond=answer) as receiver,
        Daemon(tmp_path, env=env) as daemon,
    ):
        soon = await daemon.webhook(receiver.url_for("/soon"), retrySchedule=["1s", "1s"])
        later = await daemon.webhook(receiver.url_for("/later"), retrySchedule=["1h"])
        works = await daemon.webhook(receiver.url_for("/works"))
        await daemon.publish(EVENT)
        await arrived(receiver, "/soon", 1)
        await arrived(receiver, "/later", 1)

        wall.jump_to(day_s)
        await daemon.publish(EVENT)
        first, second = await arrived(receiver, "/works", 2)
        requests = await arrived(receiver, "/soon", 6)

        # Two events, three attempts each, at their distances although the wall moved between.
        for event_id in {request.header("X-Prynt-Delivery") for request in requests}:
            times = [r.received_at for r in requests if r.header("X-Prynt-Delivery") == event_id]
            assert len(times) == 3
            for earlier, next_one in itertools.pairwise(times):
                assert RETRY_S * 0.97 <= next_one - earlier <= RETRY_S + LATE_S
        # What is due in an hour isn't due because of a day on the wall.
        assert len(at(receiver, "/later")) == 2
        for webhook in (soon, later, works):
            shown = await state_of(daemon, webhook)
            assert shown["enabled"], shown
        # The wall's time is what receivers read and check.
        for request, shift_s in ((first, 0), (second, day_s)):
            stamp = int(request.header("X-Prynt-Timestamp") or "")
            assert abs(stamp - (request.wall_s + shift_s)) < 2 + LATE_S
            verify(request.body, request.headers, works["signingSecret"], now_s=stamp)


@pytest.mark.parametrize("day_s", [DAY_S, -DAY_S], ids=["forward", "back"])
async def test_a_jump_between_two_runs_puts_nothing_off(tmp_path: Path, day_s: int) -> None:
    """A wall that jumped while the daemon was down delays no retry and disables no webhook."""
    library = await compiled(SOURCE, tmp_path)
    wall = Wall(tmp_path / "wall-shift")
    daemon = Daemon(tmp_path, env={"LD_PRELOAD": str(library), "WALL_SHIFT_FILE": str(wall.file)})
    async with Receiver(host=HOST, respond=Reply(500)) as receiver:
        await daemon.start()
        webhook = await daemon.webhook(receiver.url_for("/soon"), retrySchedule=["2s", "2s"])
        (published,) = await daemon.publish(EVENT)
        await arrived(receiver, "/soon", 1)

        async def on_disk() -> bool:
            rows = (await daemon.api("GET", "/v1/deliveries"))["data"]
            return bool(rows[0]["attemptCount"] == 1)

        await until(on_disk, "the first attempt is on disk")
        await daemon.kill()
        wall.jump_to(day_s)
        await daemon.start()
        try:
            began = asyncio.get_running_loop().time()
            requests = await arrived(receiver, "/soon", 3)
            assert asyncio.get_running_loop().time() - began <= 2 * AFTER_START_S + 2 * LATE_S
            assert {r.header("X-Prynt-Delivery") for r in requests} == {published["eventId"]}
            assert (await state_of(daemon, webhook))["enabled"]
            (fresh,) = await daemon.publish(EVENT)
            (*_, request) = await arrived(receiver, "/soon", 4)
            assert request.header("X-Prynt-Delivery") == fresh["eventId"]
        finally:
            await daemon.stop()

"""Names whose addresses change after they were found good (DNS rebinding), against the daemon.

127.0.0.1 stands for the public address, being the only one allowed; 127.0.0.2 for a private one.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from tests.integration.receivers import Receiver, Reply
from tests.integration.transport.name_server import Answer, NameServer
from tests.programs import program, unavailable
from tests.system.daemons import Daemon, until

HOST = "rebinding.receiver.test"
MIXED_HOST = "mixed.receiver.test"
PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
RESOLVER = "127.0.0.54"
CLOSE = Reply(close=True)
"""An open connection is used again without asking for its name."""


class Alternating(NameServer):
    """Answers with the next of several addresses each time."""

    def __init__(self, *addresses: str) -> None:
        super().__init__({}, (RESOLVER, 53))
        self._addresses = addresses
        self._asked = 0

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        # Each lookup asks twice, for IPv4 and for IPv6.
        answer: Answer = [self._addresses[self._asked // 2 % len(self._addresses)]]
        self._asked += 1
        self.zone = {HOST: answer}
        super().datagram_received(data, addr)


@contextlib.asynccontextmanager
async def relay(folder: Path) -> AsyncIterator[Daemon]:
    """A daemon that asks our name server, and takes only one address for public."""
    if os.geteuid() != 0:
        unavailable("only root can give the daemon a resolv.conf of its own")
    unshare = program("unshare", "util-linux")
    resolv = folder / "resolv.conf"
    resolv.write_text(f"nameserver {RESOLVER}\n")
    mount = f'mount --bind {resolv} "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    daemon = Daemon(
        folder,
        egress={"allow_addresses": [f"{PUBLIC}/32"]},
        delivery={"retry_schedule": [], "timeout": "5s"},
    )
    await daemon.start(prefix=(unshare, "-m", "sh", "-c", mount, "sh"))
    try:
        yield daemon
    finally:
        await daemon.stop()


async def attempt(daemon: Daemon, event_type: str = "verdict.block") -> str:
    """Publish an event and return how its only attempt ended."""
    (published,) = await daemon.publish({"eventType": event_type, "data": {}})
    path = f"/v1/events/{published['eventId']}"

    async def ended() -> bool:
        (delivery,) = (await daemon.api("GET", path))["deliveries"]
        return bool(delivery["lastOutcome"])

    await until(ended, "the attempt ended")
    outcome: str = (await daemon.api("GET", path))["deliveries"][0]["lastOutcome"]
    return outcome


async def test_a_name_that_turns_private_is_never_connected_to(tmp_path: Path) -> None:
    """Public, then private or both: blocked, without one connection to the private address."""
    async with (
        NameServer({HOST: [PUBLIC], MIXED_HOST: [PUBLIC]}, (RESOLVER, 53)) as names,
        Receiver(host=HOST, bind=PUBLIC, respond=CLOSE) as public,
        Receiver(host=HOST, bind=PRIVATE, port=public.port) as private,
        relay(tmp_path) as daemon,
    ):
        await daemon.webhook(public.url, "verdict.block")
        await daemon.webhook(public.url.replace(HOST, MIXED_HOST), "verdict.allow")
        for event_type in ("verdict.block", "verdict.allow"):
            assert await attempt(daemon, event_type) == "success"
        names.zone.update({HOST: [PRIVATE], MIXED_HOST: [PUBLIC, PRIVATE]})

        # What was found is remembered for five seconds: of both names at the same time.
        for event_type in ("verdict.block", "verdict.allow"):

            async def is_blocked(event_type: str = event_type) -> bool:
                return await attempt(daemon, event_type) == "blocked_address"

            await until(is_blocked, f"{event_type}: the new address was noticed", timeout_s=30)
        assert private.connections == 0


async def test_a_name_that_alternates_is_never_connected_to_where_it_is_private(
    tmp_path: Path,
) -> None:
    """However check and connection fall on the answers, only the public address is reached."""
    async with (
        Alternating(PUBLIC, PRIVATE),
        Receiver(host=HOST, bind=PUBLIC, respond=CLOSE) as public,
        Receiver(host=HOST, bind=PRIVATE, port=public.port) as private,
        relay(tmp_path) as daemon,
    ):
        await daemon.webhook(public.url)
        outcomes = set()

        async def both() -> bool:
            outcomes.add(await attempt(daemon))
            return len(outcomes) == 2

        await until(both, "found public and found private", timeout_s=40)
        assert outcomes == {"success", "blocked_address"}
        assert public.requests
        assert private.connections == 0

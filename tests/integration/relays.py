"""A whole relay in the test's process: real files, sockets and TLS."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from prynt_relay.clock import Clock
from prynt_relay.config.settings import (
    Api,
    Config,
    Delivery,
    Egress,
    Email,
    Intake,
    Listen,
    Metrics,
)
from prynt_relay.daemon.relay import Relay
from prynt_relay.model.delivery import Settlement
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput
from tests.integration.receivers import Receiver, shared_authority


def local_config(folder: Path, **sections: Any) -> Config:
    """A configuration that delivers to loopback and listens on free ports."""
    defaults: dict[str, Any] = {
        "intake": Intake(socket=folder / "events.sock"),
        "delivery": Delivery(timeout_s=2.0, retry_schedule_s=(300.0, 1800.0)),
        "egress": Egress(
            allow_http=True,
            allow_addresses=("127.0.0.0/8",),
            ca_file=shared_authority().ca_file,
        ),
        "api": Api(listen=Listen(host="127.0.0.1", port=0)),
        "metrics": Metrics(listen=Listen(host="127.0.0.1", port=0)),
        "email": Email(),
    }
    return Config(state_dir=folder / "state", **(defaults | sections))


async def loopback(_host: str) -> list[str]:
    """Resolve every name to this machine."""
    return ["127.0.0.1"]


@contextlib.asynccontextmanager
async def running(
    config: Config, *, clock: Clock | None = None, drain_s: float = 1.0
) -> AsyncIterator[Relay]:
    """A relay that was started and will be stopped; fails the test if it failed by itself."""
    relay = Relay(config, clock=clock, lookup=loopback)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(relay.supervisor.handle_loop_exception)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop(drain_s)
        loop.set_exception_handler(None)
    if relay.supervisor.failed.done():
        raise AssertionError(relay.supervisor.failed.result())


async def subscribe(
    relay: Relay, receiver: Receiver, *events: str, path: str | None = None, **fields: Any
) -> tuple[Webhook, str]:
    """Create a webhook that delivers to `receiver`; returns it with its secret."""
    url = receiver.url if path is None else receiver.url_for(path)
    return await relay.changes.create(WebhookInput(url=url, events=events or ("*",), **fields))


class Settlements:
    """What the relay has written about attempts, and a way to wait for more."""

    def __init__(self, relay: Relay) -> None:
        self.all: list[Settlement] = []
        self._more = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        relay.dispatcher.observe(self._settled)

    def _settled(self, batch: Sequence[Settlement]) -> None:
        self.all += batch
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._more:
            self._more.notify_all()

    async def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Settlement]:
        """Return all of them once there are `count`."""
        async with asyncio.timeout(timeout_s), self._more:
            await self._more.wait_for(lambda: len(self.all) >= count)
        return list(self.all)


class Publisher:
    """A client of the intake socket that waits for each answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, relay: Relay) -> "Publisher":
        return cls(*await asyncio.open_unix_connection(str(relay.config.intake.socket)))

    async def send(self, event_type: str, data: object, **keys: str) -> dict[str, Any]:
        """Send one event and return its answer."""
        return await self.send_line(
            json.dumps({"eventType": event_type, "data": data, **keys}).encode()
        )

    async def send_line(self, line: bytes) -> dict[str, Any]:
        self._writer.write(line + b"\n")
        answer: dict[str, Any] = json.loads(await self._reader.readline())
        return answer

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

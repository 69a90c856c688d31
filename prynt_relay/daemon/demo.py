"""`prynt-relay demo`: the daemon, two verifying receivers and a publisher, in one terminal."""

import asyncio
import contextlib
import errno
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import uvloop
from aiohttp import web
from rich.console import Console
from rich.text import Text

from prynt_relay.config.settings import (
    Api,
    Config,
    Delivery,
    Egress,
    Intake,
    Listen,
    Log,
    Metrics,
)
from prynt_relay.daemon.relay import Relay
from prynt_relay.model.catalogue import sample_data
from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.receiver import WebhookError, verify
from prynt_relay.telemetry import logs

RETRY_SCHEDULE_S: Final = (2.0, 4.0)
EVENT_EVERY_S: Final = 0.8
OPENING: Final = ("identification.complete", "verdict.block")
"""The first events, so that a failure and its retry are seen at once."""

WEIGHTS: Final = (10, 5, 3, 2, 2, 2, 3, 2, 1, 1, 1)
"""How often each of the specification's types comes."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise what happened: rich would end the process amid a task."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Screen:
    """Standard output, whose first failure ends the demo instead of whatever wrote to it."""

    def __init__(self) -> None:
        self._console = _Console(file=sys.stdout, soft_wrap=True, highlight=False)
        self.failed: asyncio.Future[OSError] = asyncio.get_running_loop().create_future()

    def print(self, text: str | Text) -> None:
        """Print a line; nothing any more once that failed."""
        if self.failed.done():
            return
        try:
            self._console.print(text)
        except OSError as error:
            self.failed.set_result(error)

    def event(
        self, colour: str, what: str, where: str, kind: str, event_id: str = "", note: str = ""
    ) -> None:
        """Print what happened just now, in columns."""
        text = Text(time.strftime("%H:%M:%S "), style="dim")
        text.append(f"{what:<10}", style=colour)
        text.append(f"{where:<7}", style="bold")
        text.append(f"{kind:<24}{event_id:<18}", style="default")
        text.append(note, style="dim")
        self.print(text)


class DemoReceiver:
    """An endpoint that verifies what comes; a flaky one refuses each event's first attempt."""

    def __init__(
        self, name: str, screen: Screen, counts: Counter[str], *, flaky: bool = False
    ) -> None:
        self.name = name
        self.secret = ""
        self._screen = screen
        self._counts = counts
        self._flaky = flaky
        # The demo's events are few; the oldest are forgotten when it runs for long.
        self._seen: dict[str, int] = {}

    async def handle(self, request: web.Request) -> web.Response:
        """Verify, print, answer."""
        body = await request.read()
        try:
            verify(body, request.headers, [self.secret])
        except WebhookError as error:
            self._counts["not verified"] += 1
            self._screen.event("red", "refused", self.name, "", str(error))
            return web.Response(status=401)
        event = json.loads(body)
        attempt = self._seen[event["eventId"]] = self._seen.get(event["eventId"], 0) + 1
        if len(self._seen) > 10_000:
            del self._seen[next(iter(self._seen))]
        if self._flaky and attempt == 1:
            self._counts["failed attempts"] += 1
            self._screen.event(
                "yellow", "failed", self.name, event["eventType"], event["eventId"], "answered 503"
            )
            return web.Response(status=503, text="try again later")
        self._counts["delivered"] += 1
        note = f"verified #{attempt}" if attempt > 1 else "verified"
        self._screen.event(
            "green", "delivered", self.name, event["eventType"], event["eventId"], note
        )
        return web.Response(status=200)


def run() -> int:
    """Run until Ctrl-C; returns the exit code."""
    logs.configure("error", "console")
    with (
        tempfile.TemporaryDirectory(prefix="prynt-relay-demo-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_demo(Path(folder)))


async def _demo(folder: Path) -> int:
    counts: Counter[str] = Counter()
    screen = Screen()
    steady = DemoReceiver("steady", screen, counts)
    flaky = DemoReceiver("flaky", screen, counts, flaky=True)
    server, port = await _serve_receivers(steady, flaky)
    relay = Relay(_config(folder))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(relay.supervisor.handle_loop_exception)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await relay.start()
    try:
        base = f"http://127.0.0.1:{port}"
        for receiver, events in ((steady, ("*",)), (flaky, ("verdict.block", "verdict.challenge"))):
            _, receiver.secret = await relay.changes.create(
                WebhookInput(
                    url=f"{base}/{receiver.name}", events=events, description=receiver.name
                )
            )
        _introduce(relay, screen)
        publisher = loop.create_task(_publish(relay, screen, counts))
        waits: list[asyncio.Task[Any]] = [
            loop.create_task(stop.wait()),
            publisher,
            loop.create_task(relay.failed()),
        ]
        await asyncio.wait((*waits, screen.failed), return_when=asyncio.FIRST_COMPLETED)
        failure = publisher.exception() if publisher.done() else None
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        if failure is not None:
            raise failure
    finally:
        await relay.stop(1.0)
        await server.cleanup()
    _summarise(counts, screen)
    if screen.failed.done():
        raise screen.failed.result()
    return 0 if stop.is_set() else 1


def _config(folder: Path) -> Config:
    return Config(
        state_dir=folder / "state",
        intake=Intake(socket=folder / "events.sock"),
        delivery=Delivery(retry_schedule_s=RETRY_SCHEDULE_S),
        egress=Egress(allow_http=True, allow_addresses=("127.0.0.0/8",)),
        api=Api(listen=_listen(8420)),
        metrics=Metrics(listen=_listen(9420)),
        log=Log(level="error"),
    )


def _listen(port: int) -> Listen:
    """The usual port, or any other where a daemon has it already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return Listen(host="127.0.0.1", port=port)
    return Listen(host="127.0.0.1", port=0)


async def _serve_receivers(*receivers: DemoReceiver) -> tuple[web.AppRunner, int]:
    app = web.Application()
    for receiver in receivers:
        app.router.add_post(f"/{receiver.name}", receiver.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def _publish(relay: Relay, screen: Screen, counts: Counter[str]) -> None:
    """Write events to the socket as an identification server would, and wait for each ack."""
    rng = random.Random()  # noqa: S311 - variety, not secrecy
    reader, writer = await asyncio.open_unix_connection(str(relay.config.intake.socket))
    opening = iter(OPENING)
    try:
        while True:
            event_type = next(opening, None) or rng.choices(EVENT_TYPES, WEIGHTS)[0]
            line = json.dumps({"eventType": event_type, "data": sample_data(event_type, rng=rng)})
            started = time.perf_counter()
            writer.write(line.encode() + b"\n")
            answer = json.loads(await reader.readline())
            took_ms = (time.perf_counter() - started) * 1000
            counts["events"] += 1
            screen.event(
                "cyan",
                "event",
                "socket",
                event_type,
                answer["eventId"],
                f"in {took_ms:.1f} ms",
            )
            await asyncio.sleep(EVENT_EVERY_S)
    finally:
        writer.close()


def _introduce(relay: Relay, screen: Screen) -> None:
    api, metrics = relay.api.address, relay.metrics_server.address
    key_file = relay.config.state_dir / "api-key"
    first, second = RETRY_SCHEDULE_S
    screen.print("[bold]prynt-relay demo[/bold]: one daemon, two webhooks, events every second.")
    for name, text in (
        ("steady", "a webhook for every event, which answers 200"),
        ("flaky", "a webhook for verdict.block and .challenge, whose first attempts fail"),
        (
            "retries",
            f"shortened to {first:.0f} s and {second:.0f} s here; 5 min and 30 min by default",
        ),
        ("socket", f"{relay.config.intake.socket}"),
        ("events", "each with the time from the socket until it was on disk"),
        ("API", f"http://{api[0]}:{api[1]}  (the dashboard is there too)"),
        ("API key", f"in {key_file}"),
        ("metrics", f"http://{metrics[0]}:{metrics[1]}/metrics"),
        ("stop", "Ctrl-C; everything is in a temporary folder and goes with it"),
    ):
        screen.print(f"  [bold]{name:<9}[/bold]{text}")
    screen.print(
        f"  [bold]{'try':<9}[/bold]prynt --api-url http://{api[0]}:{api[1]} "
        f"--api-key $(cat {key_file}) webhooks list\n"
    )


def _summarise(counts: Counter[str], screen: Screen) -> None:
    screen.print(
        f"\n{counts['events']} events in, {counts['delivered']} deliveries verified, "
        f"{counts['failed attempts']} failed on purpose, "
        f"{counts['not verified']} with a wrong signature."
    )

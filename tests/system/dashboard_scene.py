"""A state folder with a day and a half of history, as the dashboard's tests and pictures need it.

The relay runs in this process on a clock that is moved by hand, with real receivers. What a
moved clock can't measure, how long attempts take, is put into the database afterwards.
"""

import asyncio
import json
import random
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from prynt_relay.daemon.relay import Relay
from prynt_relay.model.catalogue import sample_data
from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook_input import WebhookInput
from tests.clock import FakeClock
from tests.integration.receivers import Receiver, Reply, Request
from tests.integration.relays import local_config, running

SPAN_H: Final = 31
_WEIGHTS: Final = (10, 5, 3, 2, 2, 2, 3, 2, 1, 1, 1)
_WEBHOOKS: Final[tuple[tuple[str, str, str, dict[str, Any]], ...]] = (
    (
        "staging",
        "Checkout, staging",
        "https://staging.shop.example/hooks/prynt",
        {"events": ("*",)},
    ),
    (
        "risk",
        "Risk analytics",
        "https://risk.shop.example/in/prynt?tenant=eu",
        {"events": ("rule.matched", "signal.bot.detected")},
    ),
    (
        "slack",
        "Slack #fraud-alerts",
        "https://hooks.slack.example/services/T024BE7LD/B7Q1X9",
        {"events": ("alert.triggered", "verdict.block"), "format": Format.SLACK},
    ),
    (
        "warehouse",
        "Data warehouse",
        "https://ingest.warehouse.example/v2/events",
        {"events": ("visitor.new",), "signatures": (SignatureScheme.STANDARD,)},
    ),
    (
        "fraud",
        "Fraud service, production",
        "https://api.shop.example/webhooks/prynt",
        {"events": ("*",), "headers": (("X-Tenant", "shop-eu"),)},
    ),
)


class Scene:
    """Makes the history; `ids` are the webhooks' by their short names."""

    def __init__(self, folder: Path, seed: int = 7) -> None:
        self.folder = folder
        self.ids: dict[str, str] = {}
        self._rng = random.Random(seed)
        self._end_ms = int(time.time() * 1000)
        self._clock = FakeClock(self._end_ms - SPAN_H * 3_600_000)

    async def make(self) -> None:
        """Live through it."""
        config = local_config(self.folder)
        async with (
            Receiver(respond=self._respond) as receiver,
            running(config, clock=self._clock) as relay,
        ):
            for name, description, _, fields in _WEBHOOKS:
                webhook, _ = await relay.changes.create(
                    WebhookInput(
                        url=receiver.url_for(f"/{name}"), description=description, **fields
                    )
                )
                self.ids[name] = webhook.id
            while self._left_s() > 4200:
                await self._step(relay, 600, self._rng.randint(14, 26))
            await relay.changes.patch(self.ids["risk"], WebhookInput(enabled=False))
            while self._left_s() > 60:
                await self._step(relay, 60, self._rng.randint(1, 5))
            prefix = receiver.url_for("/")
            host = f"{receiver.host}:{receiver.port}"
        self._retouch(prefix, host)

    def _left_s(self) -> float:
        return (self._end_ms - self._clock.wall_ms()) / 1000

    async def _step(self, relay: Relay, seconds: float, events: int) -> None:
        await self._clock.advance(seconds)
        lines = []
        for _ in range(events):
            kind = self._rng.choices(EVENT_TYPES, _WEIGHTS)[0]
            lines.append({"eventType": kind, "data": sample_data(kind, rng=self._rng)})
        await relay.acceptor.accept(relay.acceptor.parser.parse_many(json.dumps(lines).encode()))
        await self._quiet(relay)

    async def _quiet(self, relay: Relay) -> None:
        """Wait until nothing is due."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            due = await relay.store.earliest_due()
            if all(ms > self._clock.schedule_ms() for ms in due.values()):
                return
            await self._clock.advance(1)
            await asyncio.sleep(0.002)
        raise AssertionError("deliveries stay due")

    def _respond(self, request: Request) -> Reply:
        name = request.target.strip("/").partition("?")[0]
        json_type = (("Content-Type", "application/json"),)
        if name == "staging":
            return Reply(502, b"<html>\n<h1>502 Bad Gateway</h1>\n<hr>nginx\n</html>\n",
                         (("Server", "nginx"), ("Content-Type", "text/html")))  # fmt: skip
        if name == "warehouse" and self._left_s() < 15 * 3600:
            body = b'{"error":{"code":"signature_mismatch","message":"no known secret fits"}}'
            return Reply(
                401, body, (*json_type, ("X-Request-Id", f"{self._rng.getrandbits(64):016x}"))
            )
        if name == "fraud" and self._rng.random() < 0.04:
            return Reply(503, b"upstream connect error", (("Retry-After", "120"),))
        if name == "slack":
            return Reply(200, b"ok", (("Content-Type", "text/plain"),))
        return Reply(200, b'{"received":true}', (*json_type, ("Server", "envoy")))

    def _retouch(self, prefix: str, host: str) -> None:
        """Give the webhooks presentable URLs, and the attempts durations."""
        with sqlite3.connect(self.folder / "state" / "relay.db") as db:
            for name, _, url, _ in _WEBHOOKS:
                db.execute("UPDATE webhooks SET url = ? WHERE url = ?", (url, f"{prefix}{name}"))
                db.execute(
                    "UPDATE webhook_revisions SET template = replace(replace(template, ?, ?), ?, ?)"
                    " WHERE template LIKE ?",
                    (f"{prefix}{name}", url, host, url.split("/")[2], f"%{prefix}{name}%"),
                )
                db.execute(
                    "UPDATE attempts SET error = replace(error, ?, ?) WHERE webhook ="
                    " (SELECT id FROM webhooks WHERE url = ?)",
                    (host.partition(":")[0], url.split("/")[2], url),
                )
            rows = [row for (row,) in db.execute("SELECT id FROM attempts")]
            took = [(round(self._rng.lognormvariate(3.9, 0.55)) + 3, row) for row in rows]
            db.executemany("UPDATE attempts SET duration_ms = ? WHERE id = ?", took)
            # Nothing is due at once: the names of the URLs lead nowhere.
            db.execute(
                "UPDATE deliveries SET next_attempt_ms = ? + abs(random()) % 1500000"
                " WHERE next_attempt_ms IS NOT NULL",
                (self._end_ms + 120_000,),
            )
            db.execute("DELETE FROM rollups")
            db.execute("UPDATE meta SET rolled_up_attempt_row = 0, rolled_up_event_row = 0")
        db.close()

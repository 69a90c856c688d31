"""A whole relay with its HTTP API in the test's process, and a client that holds its key."""

import contextlib
import io
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from prynt_relay.daemon.relay import Relay
from tests.integration.receivers import Receiver
from tests.integration.relays import Settlements, local_config, running


class Answer:
    """A response, read whole."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem document, which this must be."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        assert self.json["status"] == self.status
        return str(self.json["code"])


class Api:
    """Asks the API of a relay."""

    def __init__(self, relay: Relay, session: aiohttp.ClientSession) -> None:
        self.relay = relay
        self.session = session
        host, port = relay.api.address
        self.url = f"http://{host}:{port}"
        self.key = (relay.config.state_dir / "api-key").read_text().strip()
        self.settlements = Settlements(relay)

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", **more}

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: bool = True,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Send a request; `body` as JSON, or `raw` as it is."""
        sent = dict(headers or {})
        if key:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method,
            self.url + path,
            data=None if data is None else io.BytesIO(data),
            headers=sent,
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.ask(
            "POST", path, body, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    async def webhook(self, receiver: Receiver | None = None, **fields: Any) -> dict[str, Any]:
        """Create a webhook; without a receiver one that nothing listens at."""
        url = receiver.url if receiver else "https://nobody.receiver.test:9/hook"
        answer = await self.post("/v1/webhooks", {"url": url, "events": ["*"], **fields})
        assert answer.status == 201, answer.body
        found: dict[str, Any] = answer.json
        return found

    async def event(self, event_type: str = "verdict.block", **fields: Any) -> str:
        """Hand in an event; returns its id."""
        body = {"eventType": event_type, "data": {"visitorId": "pv_1"}, **fields}
        answer = await self.post("/v1/events", body)
        assert answer.status == 200, answer.body
        return str(answer.json["eventId"])


@contextlib.asynccontextmanager
async def serving(folder: Path, **sections: Any) -> AsyncIterator[Api]:
    """A running relay, and a client of its API."""
    async with (
        running(local_config(folder, **sections)) as relay,
        aiohttp.ClientSession() as session,
    ):
        yield Api(relay, session)

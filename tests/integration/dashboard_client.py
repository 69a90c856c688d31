"""A browser's part towards the dashboard, without one: cookies, forms, tokens."""

import contextlib
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp

from prynt_relay.clock import Clock
from prynt_relay.daemon.relay import Relay
from tests.integration.relays import Settlements, local_config, running

_FORM_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


class Answer:
    """A page, read whole."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body
        self.text = body.decode()

    @property
    def location(self) -> str:
        return str(self.headers.get("Location", ""))

    @property
    def token(self) -> str:
        """The token of the page's forms."""
        found = _FORM_TOKEN.search(self.text)
        assert found is not None, self.text
        return found[1]

    def shows(self, text: str) -> bool:
        """Whether the page has `text` as text: escaped, not as markup."""
        return html.escape(text, quote=True).replace("&#x27;", "&#39;").replace(
            "&quot;", "&#34;"
        ) in self.text.replace("<wbr>", "")


class Browser:
    """A session of its own with one relay."""

    def __init__(self, relay: Relay, session: aiohttp.ClientSession) -> None:
        self.relay = relay
        self.session = session
        self.url = "http://{}:{}".format(*relay.api.address)
        self.settlements = Settlements(relay)
        self.csrf = ""

    @property
    def key(self) -> str:
        return (self.relay.config.state_dir / "api-key").read_text().strip()

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, headers=_named(headers))

    async def post(
        self, path: str, fields: Any = None, *, token: bool = True, **headers: str
    ) -> Answer:
        """Send a form; `fields` is a mapping or a list of pairs."""
        pairs = list(fields.items() if isinstance(fields, dict) else fields or [])
        if token:
            pairs.append(("csrf", self.csrf))
        return await self._ask("POST", path, headers=_named(headers), data=pairs)

    async def _ask(self, method: str, path: str, **more: Any) -> Answer:
        async with self.session.request(
            method, self.url + path, allow_redirects=False, **more
        ) as response:
            return Answer(response, await response.read())

    async def sign_in(self, key: str | None = None) -> Answer:
        form = await self.get("/sign-in")
        answer = await self.post(
            "/sign-in", {"csrf": form.token, "key": key or self.key, "next": "/"}, token=False
        )
        if answer.status == 303:
            self.csrf = (await self.get("/webhooks")).token
        return answer

    def forget(self) -> Self:
        """Lose all cookies."""
        self.session.cookie_jar.clear()
        return self


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextlib.asynccontextmanager
async def browsing(
    folder: Path, *, signed_in: bool = True, clock: Clock | None = None, **sections: Any
) -> AsyncIterator[Browser]:
    """A running relay and a browser that is signed in to its dashboard."""
    async with (
        running(local_config(folder, **sections), clock=clock) as relay,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        browser = Browser(relay, session)
        if signed_in:
            assert (await browser.sign_in()).status == 303
        yield browser

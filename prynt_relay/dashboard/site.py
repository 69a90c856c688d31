"""What every page of the dashboard shares: its settings, sessions, templates and assets."""

import asyncio
import hashlib
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from aiohttp import web

from prynt_relay.api.deps import DEPS
from prynt_relay.dashboard import words
from prynt_relay.dashboard.refusals import Refusals
from prynt_relay.dashboard.sessions import Session, Sessions, SignInLimit
from prynt_relay.version import __version__

HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What pages say of the configuration; `check_url` is the API's rule.

    It raises InvalidFieldError.
    """

    check_url: Callable[[str], object]
    timeout_s: Callable[[], float]
    retry_schedule_s: Callable[[], Sequence[float]]
    disable_after_s: Callable[[], float]
    history_s: Callable[[], float]
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file, named after its content so that a browser may keep it for ever."""

    name: str
    content_type: str
    body: bytes


class Site:
    """One dashboard."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        sign_ins: SignInLimit,
        refusals: Refusals,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.sign_ins = sign_ins
        self.refusals = refusals
        self.assets: dict[str, Asset] = {}
        self._asset_names: dict[str, str] = {}
        for path in sorted((HERE / "static").iterdir()):
            self._add_asset(path)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(words.FILTERS)
        self._templates.globals.update(asset=self.asset_url, version=__version__, words=words)

    def _add_asset(self, path: Path) -> None:
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:12]
        name = f"{path.stem}.{digest}{path.suffix}"
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.assets[name] = Asset(name, kind, body)
        self._asset_names[path.name] = f"/assets/{name}"

    def asset_url(self, name: str) -> str:
        """Return where a static file is."""
        return self._asset_names[name]

    async def render(
        self,
        request: web.Request,
        template: str,
        *,
        status: int = 200,
        **context: Any,
    ) -> web.Response:
        """Return a page. Rendering takes milliseconds, so it happens beside the event loop."""
        session: Session | None = request.get(SESSION)
        shared: Mapping[str, Any] = {
            "csrf": "" if session is None else session.csrf,
            "signed_in": session is not None,
            "path": request.path,
            "done": request.query.get("done", ""),
            "now_ms": request.app[DEPS].clock.wall_ms(),
        }
        # What a page says goes before what all say: the sign-in form has a token of its own.
        text = await asyncio.to_thread(
            self._templates.get_template(template).render, {**shared, **context}
        )
        return web.Response(status=status, text=text, content_type="text/html")


SITE: Final = web.AppKey("site", Site)
SESSION: Final = web.RequestKey("session", Session)

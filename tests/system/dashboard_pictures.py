"""Makes the README's pictures of the dashboard: `python -m tests.system.dashboard_pictures`.

A daemon on a made-up history, and one whose endpoint fails now and then, in Debian's Chromium.
"""

import asyncio
import json
import random
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from playwright.sync_api import Page, ViewportSize

from tests.system.cli_daemon import Daemon
from tests.system.dashboard_browser import Watched, browser
from tests.system.dashboard_receiver import receiving
from tests.system.dashboard_scene import Scene

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SIZE: Final[ViewportSize] = {"width": 1200, "height": 700}
MOST_BYTES: Final = 150_000
_TYPES: Final = (
    *("identification.complete", "identification.complete", "verdict.allow", "verdict.block"),
    *("visitor.returning", "rule.matched", "signal.bot.detected"),
)


def main() -> None:
    """Make all four."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dashboard-pictures-") as folder:
        _of_history(Path(folder) / "history", Path(folder) / "profile")
        _of_live(Path(folder) / "live", Path(folder) / "profile-2")


def _of_history(home: Path, profile: Path) -> None:
    folder = home / ".local/state/prynt-relay"
    folder.parent.mkdir(parents=True)
    scene = Scene(home)
    asyncio.run(scene.make())
    (home / "state").rename(folder)
    daemon = Daemon(home)
    try:
        daemon.start()
        with browser(profile, viewport=SIZE, timezone_id="Europe/Berlin") as context:
            page = _signed_in(context.pages[0], daemon)
            page.set_viewport_size({**SIZE, "height": 875})
            page.goto(f"{daemon.url}/")
            _shoot(page, "overview", "light")
            page.set_viewport_size({**SIZE, "height": 600})
            page.goto(f"{daemon.url}/webhooks")
            _shoot(page, "webhooks", "dark")
            rows = f"/v1/webhooks/{scene.ids['warehouse']}/deliveries?state=failed&limit=1"
            failed = _api(daemon, "GET", rows)["data"][0]["id"]
            page.set_viewport_size({**SIZE, "height": 875})
            page.goto(f"{daemon.url}/deliveries/{failed}")
            _shoot(page, "delivery", "light")
    finally:
        daemon.stop()


def _of_live(home: Path, profile: Path) -> None:
    home.mkdir()
    daemon, rng = Daemon(home), random.Random(3)
    try:
        daemon.start()
        with receiving() as endpoint, browser(profile, viewport=SIZE) as context:
            _api(daemon, "POST", "/v1/webhooks", {"url": endpoint.url, "events": ["*"]})
            page = _signed_in(context.pages[0], daemon)
            page.goto(f"{daemon.url}/live")
            page.wait_for_selector(".live-state.on")
            for _ in range(40):
                endpoint.status = 503 if rng.random() < 0.15 else 200
                before = len(endpoint.requests)
                event = {"eventType": rng.choice(_TYPES), "data": {"visitorId": "pv_1"}}
                _api(daemon, "POST", "/v1/events", event)
                endpoint.wait_for(before + 1)
                threading.Event().wait(rng.uniform(0.02, 0.2))
            page.wait_for_timeout(1_500)
            _shoot(page, "live", "dark")
    finally:
        daemon.stop()


def _signed_in(page: Page, daemon: Daemon) -> Page:
    key = (daemon.folder / ".local/state/prynt-relay/api-key").read_text().strip()
    Watched(page, daemon.url).sign_in(key)
    return page


def _api(daemon: Daemon, method: str, path: str, body: object = None) -> Any:
    key = (daemon.folder / ".local/state/prynt-relay/api-key").read_text().strip()
    request = urllib.request.Request(  # noqa: S310 - our own daemon
        daemon.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the same
        return json.loads(answer.read())


def _shoot(page: Page, name: str, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.wait_for_timeout(100)
    file = IMAGES / f"{name}.png"
    page.screenshot(path=file)
    size = file.stat().st_size
    assert size < MOST_BYTES, f"{file.name} has {size} bytes"
    print(f"{size:8} {file}")


if __name__ == "__main__":
    main()

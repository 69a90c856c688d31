"""Debian's Chromium, driven by Playwright, and what it must not complain of."""

import contextlib
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.programs import program

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_AXE: Final = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


class Watched:
    """A page whose console errors, failed requests and requests elsewhere are collected."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._origin = origin
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._request)
        page.on("response", self._response)
        self.expected_statuses: set[int] = set()

    def _console(self, message: Any) -> None:
        expected = any(f"status of {status}" in message.text for status in self.expected_statuses)
        if message.type in {"error", "warning"} and not expected:
            self.complaints.append(f"console {message.type}: {message.text}")

    def _failed(self, request: Any) -> None:
        # Leaving a page ends its stream and what it was asking by itself.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.url}: {request.failure}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self._origin, "data:", "blob:")):
            self.complaints.append(f"a request elsewhere: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and response.status not in self.expected_statuses:
            self.complaints.append(f"status {response.status}: {response.url}")

    def sign_in(self, key: str) -> None:
        self.page.goto(f"{self._origin}/")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self._origin}/")


@contextlib.contextmanager
def browser(profile: Path, **options: Any) -> Iterator[BrowserContext]:
    """A browser with a profile of its own, which goes with it."""
    chromium = program("chromium", "chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=chromium,
            headless=True,
            args=list(FLAGS),
            **options,
        )
        try:
            yield context
        finally:
            context.close()
            shutil.rmtree(profile, ignore_errors=True)


def axe_violations(page: Page) -> list[str]:
    """What axe-core finds of WCAG 2.1 A and AA in the page as it is."""
    page.evaluate(_AXE)  # through the debugger, which the page's policy doesn't bind
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
    )
    assert len(found["passes"]) > 5, "axe looked at nothing"
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]

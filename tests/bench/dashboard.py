"""The dashboard with a million deliveries, and a page left open on Live.

    python -m tests.bench.dashboard [--deliveries 1000000] [--live-s 600] [--rate 500]

Every page is asked for again and again over one connection; what is told is the time from the
request to the end of the answer, as a client on this machine sees it. Live compares the daemon's
processor time with nobody watching and with a browser on the page, under the same traffic.
"""

import argparse
import http.client
import json
import re
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from prynt_relay.model.states import SignatureScheme
from prynt_relay.model.webhook import Secrets, Webhook
from prynt_relay.transport.describe import template
from tests.bench.processes import cpu_s
from tests.integration import stored_history
from tests.system.cli_daemon import Daemon
from tests.system.dashboard_browser import Watched, browser
from tests.system.dashboard_receiver import receiving

PAGE_P99_MS: Final = 150.0
LIVE_SHARE: Final = 0.05
ASKED: Final = 100
_DRAWN_ROWS: Final = 200


def main() -> None:
    """Run both parts and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--live-s", type=float, default=600)
    parser.add_argument("--rate", type=float, default=500)
    options = parser.parse_args()
    if options.deliveries:
        with tempfile.TemporaryDirectory(prefix="dashboard-pages-") as folder:
            measure_pages(Path(folder), options.deliveries)
    if options.live_s:
        with tempfile.TemporaryDirectory(prefix="dashboard-live-") as folder:
            measure_live(Path(folder), options.live_s, options.rate)


def measure_pages(folder: Path, deliveries: int) -> dict[str, float]:
    """Print each page's median and 99th percentile; returns the latter."""
    with serving(folder):
        pass  # makes the database
    fill(folder / ".local/state/prynt-relay/relay.db", deliveries)
    found = {}
    with serving(folder) as daemon:
        client = SignedIn(daemon)
        for path in pages(client):
            took = sorted(client.timed(path) for _ in range(ASKED))
            found[path] = took[int(len(took) * 0.99) - 1]
            verdict = "" if found[path] <= PAGE_P99_MS else "  over the bar"
            print(f"{statistics.median(took):7.1f} {found[path]:7.1f} ms  {path}{verdict}")
    return found


def fill(database: Path, deliveries: int) -> None:
    """Make a database whose newest event came a minute ago."""
    events = deliveries // stored_history.PER_EVENT
    stored_history.START_MS = int(time.time() * 1000) - 40 * events - 60_000
    stored_history.fill(database, events)
    webhook = Webhook(
        row=1, id="wh_0000000000001", url="https://receiver.test/hook", events=("*",),
        secrets=Secrets("whsec_x"), created_at_ms=0, updated_at_ms=0,
        signatures=(SignatureScheme.PRYNT,),
    )  # fmt: skip
    with closing(sqlite3.connect(database, isolation_level=None)) as conn:
        conn.execute("PRAGMA synchronous=OFF")
        conn.execute("UPDATE webhook_revisions SET template = ?", (template(webhook),))
        conn.execute("UPDATE attempts SET signature = randomblob(32)")
        # Due in a while, so that what is measured isn't the delivering of it.
        conn.execute(
            "UPDATE deliveries SET next_attempt_ms = ? WHERE next_attempt_ms IS NOT NULL",
            (int(time.time() * 1000) + 3_600_000,),
        )


@contextmanager
def serving(folder: Path) -> Iterator[Daemon]:
    """A daemon on what is in `folder`, with its figures brought up to date."""
    daemon = Daemon(folder)
    try:
        daemon.start()
        SignedIn(daemon).timed("/")
        yield daemon
    finally:
        daemon.stop()


class SignedIn:
    """A client with a session."""

    def __init__(self, daemon: Daemon) -> None:
        self._connection = http.client.HTTPConnection(daemon.url.removeprefix("http://"))
        self._cookies: dict[str, str] = {}
        key = (daemon.folder / ".local/state/prynt-relay/api-key").read_text().strip()
        (token,) = re.findall(r'name="csrf" value="([^"]+)"', self.ask("/sign-in"))
        self.ask("/sign-in", {"csrf": token, "key": key, "next": "/"})

    def ask(self, path: str, form: dict[str, str] | None = None) -> str:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Cookie": cookies} if cookies else {}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(form)
        self._connection.request("GET" if form is None else "POST", path, body, headers)
        answer = self._connection.getresponse()
        for each in answer.headers.get_all("Set-Cookie", []):
            name, _, value = each.partition(";")[0].partition("=")
            self._cookies[name] = value
        text = answer.read().decode()
        assert answer.status < 400, (path, answer.status, text)
        return text

    def timed(self, path: str) -> float:
        """Milliseconds to the end of the answer."""
        started = time.perf_counter()
        text = self.ask(path)
        took_ms = (time.perf_counter() - started) * 1000
        assert "</main>" in text, f"{path} is no page"
        return took_ms


def pages(client: SignedIn) -> list[str]:
    """Every kind of page, with the filters that are hardest on the database."""
    webhook = "/webhooks/wh_0000000000007"
    log = client.ask("/deliveries?state=failed")
    delivery = _first(log, r'href="(/deliveries/del_\w+)"')
    event = _first(log, r'href="(/events/evt_\w+)"')
    further = _first(log, r'rel="next" href="([^"]+)"').replace("&amp;", "&")
    return [
        "/", "/?range=day", "/webhooks", "/webhooks/new", webhook,
        *(f"{webhook}/{each}" for each in ("edit", "disable", "delete", "rotate", "deliveries")),
        f"{webhook}/retry?since=30d&state=failed&state=held&state=scheduled&state=delivered",
        f"{webhook}/deliveries?state=held", f"{webhook}/deliveries?eventType=alert.triggered",
        "/deliveries", "/deliveries?state=scheduled", "/deliveries?state=failed", further,
        "/deliveries?state=held&eventType=alert.triggered", "/deliveries?eventType=alert.triggered",
        "/deliveries?since=1h&until=30m", "/deliveries?state=cancelled", delivery,
        "/events", "/events?eventType=alert.triggered", "/events?since=2h&until=1h", event, "/live",
    ]  # fmt: skip


def _first(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, pattern
    return found[1]


def measure_live(folder: Path, seconds: float, rate: float) -> tuple[float, float]:
    """Print what a page on Live costs; returns the daemon's share of a core, the heap's growth."""
    with receiving() as endpoint, serving(folder) as daemon:
        endpoint.keep = 0
        daemon.prynt("webhooks", "create", endpoint.url, "--events", "*")
        pid = _pid(daemon)
        with publishing(daemon, rate):
            alone = _share(pid, seconds / 2)
            profile = folder / "profile"
            with browser(profile) as context:
                watched = Watched(context.pages[0], daemon.url)
                key = (daemon.folder / ".local/state/prynt-relay/api-key").read_text().strip()
                watched.sign_in(key)
                watched.page.goto(f"{daemon.url}/live")
                watched.page.wait_for_selector("#live tbody tr")
                tools = context.new_cdp_session(watched.page)
                time.sleep(min(seconds / 10, 30))
                first = _heap_mb(tools)
                watching = _share(pid, seconds)
                last = _heap_mb(tools)
                rows = watched.page.locator("#live tbody tr").count()
                count = watched.page.locator("#live-count").inner_text()
        print(
            f"the page: {count}; {rows} rows; {first:.1f} MB of heap at first, {last:.1f} at last"
        )
        print(f"the daemon: {alone:.3f} of a core alone, {watching:.3f} with the page open")
        assert rows <= _DRAWN_ROWS
        assert not watched.complaints, watched.complaints
    return watching - alone, last - first


def _share(pid: int, seconds: float) -> float:
    before, started = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(pid) - before) / (time.monotonic() - started)


def _heap_mb(tools: Any) -> float:
    tools.send("HeapProfiler.collectGarbage")
    tools.send("Performance.enable")
    metrics = tools.send("Performance.getMetrics")["metrics"]
    return float(next(e["value"] for e in metrics if e["name"] == "JSHeapUsedSize")) / 1e6


def _pid(daemon: Daemon) -> int:
    process = daemon._process
    assert process is not None
    return process.pid


@contextmanager
def publishing(daemon: Daemon, rate: float) -> Iterator[None]:
    """Write `rate` events a second to the socket until the block ends."""
    path = daemon.folder / ".local/state/prynt-relay/events.sock"
    line = (
        json.dumps({"eventType": "verdict.block", "data": {"visitorId": "pv_1"}}).encode() + b"\n"
    )
    stopping = threading.Event()

    def publish() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            answers = client.makefile("rb")
            due = time.monotonic()
            while not stopping.is_set():
                batch = max(1, round(rate / 20))
                client.sendall(line * batch)
                for _ in range(batch):
                    answers.readline()
                due += batch / rate
                stopping.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(5)


if __name__ == "__main__":
    main()

"""The alert rules, the scrape configuration and the dashboard, judged by the real Prometheus."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.model.states import DeliveryState, Outcome
from prynt_relay.ops import dashboard, files, panels
from prynt_relay.telemetry.metrics import GaugeName, Metrics
from prynt_relay.telemetry.server import MetricsServer
from tests.integration.prometheus_server import Prometheus, run_prometheus
from tests.programs import program

TESTS = Path(__file__).parent / "alerts_test.yml"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
GAUGES: dict[GaugeName, float] = {
    "scheduled": 3,
    "held": 1,
    "in_flight": 2,
    "oldest_due_seconds": 0.5,
    "webhooks_enabled": 2,
    "webhooks_disabled": 1,
    "webhooks_failing_enabled": 1,
    "webhooks_failing_disabled": 0,
    "database_bytes": 1_000_000,
    "wal_bytes": 100_000,
}


def alerts() -> dict[str, str]:
    """Each alert's block of text; the file's shape is fixed, so no YAML parser is needed."""
    blocks = re.split(r"^      - alert: ", files.text("alerts"), flags=re.MULTILINE)[1:]
    return {block.split("\n", 1)[0].strip(): block for block in blocks}


def expression(block: str) -> str:
    """The PromQL of an alert, folded onto one line."""
    found = re.search(
        r"^        expr: (?:\|\n)?(.*?)^        \w+:", block, re.DOTALL | re.MULTILINE
    )
    assert found, block
    return " ".join(found[1].split())


def count_some(metrics: Metrics) -> None:
    """Count traffic of every kind: two webhooks, of which one always fails."""
    metrics.events_received("identification.complete", 5)
    metrics.event_rejected("invalid_event")
    metrics.event_rejected("storage_unavailable")
    for outcome in Outcome:
        webhook = "wh_good" if outcome is Outcome.SUCCESS else "wh_bad"
        metrics.attempt(webhook, outcome, 0.02)
    for state in (DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELLED):
        metrics.finished(state)
    metrics.first_attempt_delay(0.002)
    metrics.commit(0.003, 20)
    metrics.email("sent")
    metrics.email("failed")
    metrics.held_purged(1)


@pytest.fixture
async def target() -> AsyncIterator[tuple[Metrics, str]]:
    metrics = Metrics()
    for name, value in GAUGES.items():
        metrics.gauge(name, partial(float, value))
    server = MetricsServer(metrics, "127.0.0.1", 0)
    await server.start()
    host, port = server.address
    yield metrics, f"{host}:{port}"
    await server.stop()


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    """`promtool check rules` has nothing to say about the alert rules."""
    rules = tmp_path / "alerts.yml"
    rules.write_text(files.text("alerts"))
    done = subprocess.run(
        [program("promtool", "prometheus"), "check", "rules", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_every_alert_fires_and_stays_quiet_as_its_cases_say() -> None:
    """The rules' own unit tests pass."""
    done = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", str(TESTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_and_a_quiet_case() -> None:
    """No alert lacks a case in which it fires, or one in which it doesn't."""
    cases = re.findall(r"alertname: (\w+)\n\s+exp_alerts:(.*)", TESTS.read_text())
    firing = {name for name, expected in cases if not expected.strip()}
    quiet = {name for name, expected in cases if expected.strip() == "[]"}
    assert firing == set(alerts())
    assert quiet == set(alerts())


def test_every_alert_leads_to_its_runbook() -> None:
    """Each alert's runbook is a heading of docs/operations.md, and none is left over."""
    headings = re.findall(r"^### (PryntRelay\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert headings == list(alerts())
    for name, block in alerts().items():
        assert f"runbook: docs/operations.md#{name.lower()}\n" in block


def test_every_alert_says_how_urgent_it_is() -> None:
    """Each alert is critical or a warning, and explains itself in a summary and a description."""
    for name, block in alerts().items():
        assert re.search(r"labels: \{severity: (critical|warning)\}", block), name
        assert "summary: " in block, name
        assert "description: " in block, name


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path) -> None:
    """`promtool check config` accepts the scrape configuration as a prometheus.yml."""
    config = tmp_path / "prometheus.yml"
    config.write_text(files.text("scrape"))
    done = subprocess.run(
        [program("promtool", "prometheus"), "check", "config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_and_the_dashboard_name_the_scraped_job() -> None:
    """The job of the scrape configuration is the one that alerts and dashboard ask for."""
    assert f"job_name: {panels.JOB}\n" in files.text("scrape")
    named = set(re.findall(r'job="([^"]+)"', files.text("alerts")))
    assert named == {panels.JOB}


def test_the_dashboard_fits_its_grid() -> None:
    """Panels have ids of their own, don't overlap, and fill the width of each row."""
    shown: dict[str, Any] = json.loads(dashboard.render())
    ids = [panel["id"] for panel in shown["panels"]]
    assert len(ids) == len(set(ids))
    widths: dict[int, int] = {}
    for panel in shown["panels"]:
        place = panel["gridPos"]
        assert place["x"] == widths.get(place["y"], 0), panel["title"]
        widths[place["y"]] = place["x"] + place["w"]
    assert set(widths.values()) == {dashboard.WIDTH}


def as_prometheus_gets_it(expr: str) -> str:
    """The query with Grafana's variables filled in."""
    return expr.replace("$__rate_interval", "10s").replace("$instance", ".*")


def loosened(expr: str) -> str:
    """An alert's expression with thresholds that anything passes, to see that it finds series."""
    return re.sub(r"(?:>=|==|>) ([\d.]+(?:e\d+)?)", ">= 0", expr)


@pytest.mark.timeout(90)
async def test_every_query_returns_series_after_traffic(
    tmp_path: Path, target: tuple[Metrics, str]
) -> None:
    """A real Prometheus scrapes the metrics; each dashboard and alert query finds its series."""
    metrics, address = target
    rules = tmp_path / "alerts.yml"
    rules.write_text(files.text("alerts"))

    def ask(prometheus: Prometheus) -> list[str]:
        prometheus.wait_until("count_over_time(prynt_relay_build_info[30s]) >= 2")
        for _ in range(4):
            loop.call_soon_threadsafe(count_some, metrics)
            scrapes = prometheus.query("prynt_relay_events_received_total")
            total = max(float(series["value"][1]) for series in scrapes)
            prometheus.wait_until(f"sum(prynt_relay_events_received_total) > {total}")
        empty = [
            query.expr
            for query in panels.queries()
            if not prometheus.query(as_prometheus_gets_it(query.expr))
        ]
        for name, block in alerts().items():
            expr = expression(block)
            if not prometheus.query(expr) and not prometheus.query(loosened(expr)):
                empty.append(f"{name}: {expr}")
        groups = prometheus.get("rules")["groups"]
        empty += [
            f"{rule['name']}: {rule['lastError']}"
            for group in groups
            for rule in group["rules"]
            if rule["health"] == "err"
        ]
        assert [rule["name"] for group in groups for rule in group["rules"]] == list(alerts())
        return empty

    loop = asyncio.get_running_loop()

    def whole() -> list[str]:
        with run_prometheus(tmp_path, address, rules) as prometheus:
            return ask(prometheus)

    assert await asyncio.to_thread(whole) == []

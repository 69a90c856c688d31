"""The alert rules, the scrape configuration and the dashboard, judged by the real Prometheus."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from prynt_relay.ops import dashboard, files, panels
from tests.integration.ops_queries import alerts
from tests.programs import program

TESTS = Path(__file__).parent / "alerts_test.yml"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


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

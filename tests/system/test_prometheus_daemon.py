"""A real Prometheus scrapes the installed daemon, under traffic of every kind."""

import asyncio
from pathlib import Path

import pytest

from prynt_relay.ops import files
from tests.integration.ops_queries import unanswered
from tests.integration.prometheus_server import Prometheus, run_prometheus
from tests.integration.receivers import Receiver
from tests.system.daemons import HOST, Daemon, free_port

EVENT = {"eventType": "verdict.block", "data": {"visitorId": "pv_1"}}


async def traffic(daemon: Daemon) -> None:
    """Events that are delivered and that fail, and lines that are refused, until cancelled."""
    async with daemon.publisher() as lines:
        while True:
            await lines.send(EVENT)
            await lines.send_line(b"no JSON")
            # A pace, not a wait: a scrape every half second should see some of each.
            await asyncio.sleep(0.02)


@pytest.mark.timeout(90)
async def test_every_query_returns_series_for_a_daemon_under_traffic(tmp_path: Path) -> None:
    """Each query of dashboard and alerts finds its series; the failing webhook's among them."""
    rules = tmp_path / "alerts.yml"
    rules.write_text(files.text("alerts"))
    failing = f"https://{HOST}:{free_port()}/"

    def ask(target: str) -> list[str]:
        with run_prometheus(tmp_path, target, rules) as prometheus:
            prometheus.wait_until("count_over_time(prynt_relay_build_info[30s]) >= 8")
            names = prometheus.get("label/__name__/values")
            assert "process_start_time_seconds" in names
            assert alert_states(prometheus)["PryntRelayNotScraped"] == "inactive"
            return unanswered(prometheus)

    async with Receiver(host=HOST) as receiver, Daemon(tmp_path) as daemon:
        await daemon.webhook(receiver.url)
        await daemon.webhook(failing)
        publishing = asyncio.create_task(traffic(daemon))
        try:
            target = f"127.0.0.1:{daemon.metrics_port}"
            assert await asyncio.to_thread(ask, target) == []
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


def alert_states(prometheus: Prometheus) -> dict[str, str]:
    """Each alert's state, as Prometheus evaluated it."""
    groups = prometheus.get("rules")["groups"]
    return {rule["name"]: rule["state"] for group in groups for rule in group["rules"]}

import subprocess

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from prynt_relay.model.states import DeliveryState, Outcome
from prynt_relay.telemetry.histogram import Histogram
from prynt_relay.telemetry.metrics import GaugeName, Metrics, SnapshotCollector
from prynt_relay.version import __version__
from tests.programs import program

ALL_GAUGES: dict[GaugeName, float] = {
    "scheduled": 7,
    "held": 3,
    "in_flight": 2,
    "oldest_due_seconds": 1.5,
    "webhooks_enabled": 4,
    "webhooks_disabled": 1,
    "webhooks_failing_enabled": 2,
    "webhooks_failing_disabled": 1,
    "database_bytes": 4096,
    "wal_bytes": 0,
}

CONTRACT = {
    ("prynt_relay_events_received_total", "counter", ("event_type",)),
    ("prynt_relay_events_rejected_total", "counter", ("code",)),
    ("prynt_relay_delivery_attempts_total", "counter", ("outcome",)),
    ("prynt_relay_deliveries_finished_total", "counter", ("state",)),
    ("prynt_relay_deliveries_scheduled", "gauge", ()),
    ("prynt_relay_deliveries_held", "gauge", ()),
    ("prynt_relay_deliveries_in_flight", "gauge", ()),
    ("prynt_relay_oldest_due_seconds", "gauge", ()),
    ("prynt_relay_webhooks", "gauge", ("state",)),
    ("prynt_relay_webhook_attempts_total", "counter", ("outcome", "webhook")),
    ("prynt_relay_held_purged_total", "counter", ()),
    ("prynt_relay_emails_total", "counter", ("result",)),
    ("prynt_relay_database_bytes", "gauge", ()),
    ("prynt_relay_wal_bytes", "gauge", ()),
    ("prynt_relay_build_info", "gauge", ("version",)),
    ("prynt_relay_attempt_duration_seconds", "histogram", ("le",)),
    ("prynt_relay_event_to_first_attempt_seconds", "histogram", ("le",)),
    ("prynt_relay_commit_duration_seconds", "histogram", ("le",)),
    ("prynt_relay_commit_batch_size", "histogram", ("le",)),
}


def text_of(metrics: Metrics, gauges: dict[GaugeName, float] | None = None) -> str:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(metrics.snapshot(gauges or {})))
    return generate_latest(registry).decode()


def samples(text: str) -> dict[str, float]:
    """Every sample as it stands in the text: `name{labels}` to its value."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def busy() -> Metrics:
    metrics = Metrics()
    metrics.events_received("verdict.block", 3)
    metrics.event_rejected("invalid_json")
    metrics.attempt("wh_a", Outcome.SUCCESS, 0.004)
    metrics.attempt("wh_a", Outcome.TIMEOUT, 10.0)
    metrics.attempt("wh_b", Outcome.HTTP_ERROR, 0.2)
    metrics.finished(DeliveryState.DELIVERED)
    metrics.finished(DeliveryState.CANCELLED, 5)
    metrics.first_attempt_delay(0.002)
    metrics.commit(0.003, 40)
    metrics.email("sent")
    metrics.held_purged(2)
    metrics.filter_failed()
    return metrics


def test_every_metric_of_the_contract_is_there_with_its_labels_and_type() -> None:
    """Section 8's names, types and labels are what a scrape shows."""
    found = set()
    for family in text_string_to_metric_families(text_of(busy(), ALL_GAUGES)):
        name = family.name + ("_total" if family.type == "counter" else "")
        sample = family.samples[0]
        found.add((name, family.type, tuple(sorted(sample.labels))))
    assert found >= CONTRACT
    assert {name for name, _, _ in found - CONTRACT} == {
        "prynt_relay_filter_failures_total",
        "prynt_relay_webhooks_failing",
    }


def test_the_figures_are_what_was_counted() -> None:
    """Each method moves its own metric, and no other, by what it was told."""
    now = samples(text_of(busy(), ALL_GAUGES))
    assert now['prynt_relay_events_received_total{event_type="verdict.block"}'] == 3
    assert now['prynt_relay_events_received_total{event_type="visitor.new"}'] == 0
    assert now['prynt_relay_events_rejected_total{code="invalid_json"}'] == 1
    assert now['prynt_relay_events_rejected_total{code="invalid_event"}'] == 0
    assert now['prynt_relay_delivery_attempts_total{outcome="success"}'] == 1
    assert now['prynt_relay_delivery_attempts_total{outcome="timeout"}'] == 1
    assert now['prynt_relay_delivery_attempts_total{outcome="blocked_address"}'] == 0
    assert now['prynt_relay_deliveries_finished_total{state="delivered"}'] == 1
    assert now['prynt_relay_deliveries_finished_total{state="cancelled"}'] == 5
    assert now['prynt_relay_deliveries_finished_total{state="failed"}'] == 0
    assert now['prynt_relay_webhook_attempts_total{outcome="timeout",webhook="wh_a"}'] == 1
    assert now['prynt_relay_webhook_attempts_total{outcome="success",webhook="wh_b"}'] == 0
    assert now["prynt_relay_held_purged_total"] == 2
    assert now["prynt_relay_filter_failures_total"] == 1
    assert now['prynt_relay_emails_total{result="sent"}'] == 1
    assert now['prynt_relay_emails_total{result="given_up"}'] == 0
    assert now["prynt_relay_deliveries_scheduled"] == 7
    assert now["prynt_relay_oldest_due_seconds"] == 1.5
    assert now['prynt_relay_webhooks{state="enabled"}'] == 4
    assert now['prynt_relay_webhooks{state="disabled"}'] == 1
    assert now['prynt_relay_webhooks_failing{state="enabled"}'] == 2
    assert now[f'prynt_relay_build_info{{version="{__version__}"}}'] == 1
    assert now["prynt_relay_commit_batch_size_sum"] == 40
    assert now['prynt_relay_commit_batch_size_bucket{le="20.0"}'] == 0
    assert now['prynt_relay_commit_batch_size_bucket{le="50.0"}'] == 1
    assert now["prynt_relay_attempt_duration_seconds_count"] == 3


def test_the_timeout_has_a_bucket_edge_of_its_own() -> None:
    """An attempt of exactly 10 s is within the bucket of 10, one a hair longer is not."""
    metrics = Metrics()
    metrics.attempt("wh_a", Outcome.SUCCESS, 10.0)
    metrics.attempt("wh_a", Outcome.TIMEOUT, 10.000001)
    now = samples(text_of(metrics))
    assert now['prynt_relay_attempt_duration_seconds_bucket{le="10.0"}'] == 1
    assert now['prynt_relay_attempt_duration_seconds_bucket{le="15.0"}'] == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-1.0, (1, 0, 0)), (1.0, (1, 0, 0)), (1.5, (0, 1, 0)), (2.0, (0, 1, 0)), (3.0, (0, 0, 1))],
)
def test_a_histogram_counts_into_the_bucket_that_includes_the_value(
    value: float, expected: tuple[int, ...]
) -> None:
    """Bounds are inclusive, and above the last one there is one bucket more."""
    histogram = Histogram((1, 2))
    histogram.observe(value)
    assert histogram.read().counts == expected


def test_unknown_labels_are_counted_together() -> None:
    """A type or code that isn't known can't make a series of its own."""
    metrics = Metrics(("a.b",))
    before = text_of(metrics)
    assert "other" not in before
    for n in range(100):
        metrics.events_received(f"made.up.{n}")
        metrics.event_rejected(f"code{n}")
    now = samples(text_of(metrics))
    assert now['prynt_relay_events_received_total{event_type="other"}'] == 100
    assert now['prynt_relay_events_rejected_total{code="other"}'] == 100
    assert "made.up" not in text_of(metrics)


def test_webhooks_beyond_the_limit_count_in_the_sums_alone() -> None:
    """per_webhook_limit bounds the series; a webhook that is gone makes room for another."""
    metrics = Metrics(per_webhook_limit=2)
    for name in ("wh_a", "wh_b", "wh_c", "wh_a"):
        metrics.attempt(name, Outcome.SUCCESS, 0.1)
    now = samples(text_of(metrics))
    assert now['prynt_relay_delivery_attempts_total{outcome="success"}'] == 4
    assert now['prynt_relay_webhook_attempts_total{outcome="success",webhook="wh_a"}'] == 2
    assert "wh_c" not in text_of(metrics)

    metrics.webhook_gone("wh_b")
    metrics.webhook_gone("wh_never_seen")
    metrics.attempt("wh_c", Outcome.SUCCESS, 0.1)
    assert "wh_c" in text_of(metrics)
    assert "wh_b" not in text_of(metrics)

    metrics.set_per_webhook_limit(1)
    assert "wh_c" not in text_of(metrics)
    assert "wh_a" in text_of(metrics)


def test_no_series_by_webhook_with_a_limit_of_nought() -> None:
    """A limit of 0 turns them off."""
    metrics = Metrics(per_webhook_limit=0)
    metrics.attempt("wh_a", Outcome.SUCCESS, 0.1)
    assert "wh_a" not in text_of(metrics)


def test_a_gauge_that_nobody_reads_is_not_shown() -> None:
    """A figure that isn't known is absent, not nought."""
    assert "prynt_relay_deliveries_held" not in text_of(Metrics())
    assert "prynt_relay_webhooks{" not in text_of(Metrics())


def test_a_snapshot_stays_as_it_was() -> None:
    """What is counted while a scrape renders shows in the next one."""
    metrics = busy()
    collector = SnapshotCollector(metrics.snapshot({}))
    metrics.attempt("wh_a", Outcome.SUCCESS, 0.1)
    metrics.events_received("verdict.block")
    registry = CollectorRegistry()
    registry.register(collector)
    now = samples(generate_latest(registry).decode())
    assert now['prynt_relay_webhook_attempts_total{outcome="success",webhook="wh_a"}'] == 1
    assert now["prynt_relay_attempt_duration_seconds_count"] == 3
    assert now['prynt_relay_events_received_total{event_type="verdict.block"}'] == 3


@pytest.mark.parametrize("make", [Metrics, busy])
def test_promtool_has_nothing_to_say(make: type[Metrics]) -> None:
    """The exposition passes Prometheus's own linter, before and after traffic."""
    text = text_of(make(), ALL_GAUGES)
    result = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")

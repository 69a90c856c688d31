"""What the dashboard shows: rows of panels, each with its PromQL; how it looks is the dashboard's.

`$instance` and `$__rate_interval` are Grafana's variables.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

JOB: Final = "prynt-relay"
_RATE: Final = "$__rate_interval"


class Query(msgspec.Struct, frozen=True):
    """One PromQL expression and the name of its series in the legend."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True):
    """A panel: what it shows, how wide and high (in grid units), in which unit."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    stacked: bool = False
    # (value from which on, colour); the first holds from minus infinity on.
    thresholds: Sequence[tuple[float | None, str]] = ((None, "green"),)


class Row(msgspec.Struct, frozen=True):
    """A titled row of panels of one height."""

    title: str
    height: int
    panels: Sequence[Panel]


def _metric(name: str, labels: str = "") -> str:
    """A metric of the instances chosen on top of the dashboard."""
    inside = ",".join(part for part in ('instance=~"$instance"', labels) if part)
    return f"prynt_relay_{name}{{{inside}}}"


def _process(name: str) -> str:
    return f'process_{name}{{job="{JOB}",instance=~"$instance"}}'


def _per_second(name: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({_metric(name, labels)}[{_RATE}]))"


def _quantiles(name: str, quantiles: Sequence[float]) -> tuple[Query, ...]:
    rates = f"sum by (le) (rate({_metric(name + '_bucket')}[{_RATE}]))"
    return tuple(Query(f"histogram_quantile({q}, {rates})", f"p{q * 100:g}") for q in quantiles)


_FAILURES: Final = 'outcome!="success"'
_SUCCESSES: Final = 'outcome="success"'
_ENABLED: Final = 'state="enabled"'
_DISABLED: Final = 'state="disabled"'
_RED_ABOVE_ZERO: Final = ((None, "green"), (1.0, "red"))

ROWS: Final = (
    Row(
        "At a glance",
        4,
        (
            Panel(
                "Up",
                "Whether the last scrape succeeded.",
                (Query(f'min(up{{job="{JOB}",instance=~"$instance"}})'),),
                kind="stat",
                width=3,
                thresholds=((None, "red"), (1.0, "green")),
            ),
            Panel(
                "Events",
                "Events stored per second.",
                (Query(f"sum(rate({_metric('events_received_total')}[{_RATE}]))"),),
                unit="reqps",
                kind="stat",
                width=4,
            ),
            Panel(
                "Attempts that succeed",
                "The share of all attempts that got a 2xx in time.",
                (
                    Query(
                        f"sum(rate({_metric('delivery_attempts_total', _SUCCESSES)}[{_RATE}])) / "
                        f"sum(rate({_metric('delivery_attempts_total')}[{_RATE}]))"
                    ),
                ),
                unit="percentunit",
                kind="stat",
                width=4,
                thresholds=((None, "red"), (0.5, "orange"), (0.95, "green")),
            ),
            Panel(
                "Oldest due",
                "For how long the most overdue delivery has been waiting for its attempt.",
                (Query(f"max({_metric('oldest_due_seconds')})"),),
                unit="s",
                kind="stat",
                width=4,
                thresholds=((None, "green"), (10.0, "orange"), (120.0, "red")),
            ),
            Panel(
                "Webhooks failing",
                "Enabled webhooks whose latest attempts failed.",
                (Query(f"sum({_metric('webhooks_failing', _ENABLED)})"),),
                kind="stat",
                width=3,
                thresholds=((None, "green"), (1.0, "orange")),
            ),
            Panel(
                "Disabled for failing",
                "Webhooks that were disabled after a day of failures.",
                (Query(f"sum({_metric('webhooks_failing', _DISABLED)})"),),
                kind="stat",
                width=3,
                thresholds=_RED_ABOVE_ZERO,
            ),
            Panel(
                "Version",
                "What runs.",
                (Query(f"max by (version) ({_metric('build_info')})", "{{version}}"),),
                kind="stat-name",
                width=3,
            ),
        ),
    ),
    Row(
        "Intake",
        8,
        (
            Panel(
                "Events received",
                "Events stored, by type; a duplicate isn't one.",
                (Query(_per_second("events_received_total", "event_type"), "{{event_type}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                "Events refused",
                "Lines and requests refused, by error code.",
                (Query(_per_second("events_rejected_total", "code"), "{{code}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                "From receipt to first attempt",
                "How long a delivery waits before it is first sent.",
                _quantiles("event_to_first_attempt_seconds", (0.5, 0.95, 0.99)),
                unit="s",
            ),
        ),
    ),
    Row(
        "Delivery",
        8,
        (
            Panel(
                "Attempts",
                "Attempts made, by outcome.",
                (Query(_per_second("delivery_attempts_total", "outcome"), "{{outcome}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                "Attempt duration",
                "From an attempt's start to the response's headers or the failure.",
                _quantiles("attempt_duration_seconds", (0.5, 0.95, 0.99)),
                unit="s",
            ),
            Panel(
                "Deliveries finished",
                "Deliveries that came to rest, by state.",
                (Query(_per_second("deliveries_finished_total", "state"), "{{state}}"),),
                unit="reqps",
                stacked=True,
            ),
        ),
    ),
    Row(
        "Backlog",
        8,
        (
            Panel(
                "Waiting",
                "Deliveries with an attempt before them, and those kept for disabled webhooks.",
                (
                    Query(f"sum({_metric('deliveries_scheduled')})", "scheduled"),
                    Query(f"sum({_metric('deliveries_held')})", "held"),
                ),
            ),
            Panel(
                "In flight",
                "Attempts under way; delivery.concurrency is the most.",
                (Query(f"sum by (instance) ({_metric('deliveries_in_flight')})", "{{instance}}"),),
            ),
            Panel(
                "Oldest due",
                "For how long the most overdue delivery has been waiting for its attempt.",
                (Query(f"max by (instance) ({_metric('oldest_due_seconds')})", "{{instance}}"),),
                unit="s",
            ),
        ),
    ),
    Row(
        "Webhooks",
        8,
        (
            Panel(
                "Webhooks",
                "Webhooks by state.",
                (
                    Query(f"sum by (state) ({_metric('webhooks')})", "{{state}}"),
                    Query(
                        f"sum by (state) ({_metric('webhooks_failing')})", "failing and {{state}}"
                    ),
                ),
            ),
            Panel(
                "Webhooks that fail most",
                "Failed attempts per second of the ten webhooks that have most of them.",
                (
                    Query(
                        "topk(10, "
                        + _per_second("webhook_attempts_total", "webhook", _FAILURES)
                        + ")",
                        "{{webhook}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "E-mails",
                "Tries to send an e-mail within the hour, by what became of them.",
                (
                    Query(
                        f"sum by (result) (increase({_metric('emails_total')}[1h]))", "{{result}}"
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Storage",
        8,
        (
            Panel(
                "Files",
                "The database file and its write-ahead log.",
                (
                    Query(f"sum by (instance) ({_metric('database_bytes')})", "{{instance}} data"),
                    Query(f"sum by (instance) ({_metric('wal_bytes')})", "{{instance}} log"),
                ),
                unit="bytes",
            ),
            Panel(
                "Commit duration",
                "From a transaction's begin until it is synced to disk.",
                _quantiles("commit_duration_seconds", (0.5, 0.95, 0.99)),
                unit="s",
            ),
            Panel(
                "Rows per commit",
                "How much one sync carries; it grows under load.",
                _quantiles("commit_batch_size", (0.5, 0.99)),
            ),
        ),
    ),
    Row(
        "Process",
        8,
        (
            Panel(
                "Memory",
                "Resident memory.",
                (Query(_process("resident_memory_bytes"), "{{instance}}"),),
                unit="bytes",
                width=6,
            ),
            Panel(
                "CPU",
                "Cores used.",
                (Query(f"rate({_process('cpu_seconds_total')}[{_RATE}])", "{{instance}}"),),
                width=6,
            ),
            Panel(
                "File descriptors",
                "The share of its descriptors that is open.",
                (Query(f"{_process('open_fds')} / {_process('max_fds')}", "{{instance}}"),),
                unit="percentunit",
                width=6,
            ),
            Panel(
                "Restarts",
                "Starts within the hour.",
                (Query(f"changes({_process('start_time_seconds')}[1h])", "{{instance}}"),),
                width=6,
            ),
        ),
    ),
)


def queries() -> Iterator[Query]:
    """Return every query of the dashboard."""
    for row in ROWS:
        for panel in row.panels:
            yield from panel.queries

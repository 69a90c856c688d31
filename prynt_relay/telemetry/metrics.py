"""Every metric of the contract's section 8, counted where it happens and rendered at a scrape.

Counting happens on the event loop and on the hot path, so it is plain integers in lists and
dictionaries. A scrape takes a snapshot on the loop (a copy of those, well under a millisecond)
and renders it in a thread, where 10 microseconds a series hurt nobody.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Final, Literal, get_args

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.states import DeliveryState, Outcome
from prynt_relay.telemetry.histogram import Histogram, HistogramReading
from prynt_relay.version import __version__

GaugeName = Literal[
    "scheduled",
    "held",
    "in_flight",
    "oldest_due_seconds",
    "webhooks_enabled",
    "webhooks_disabled",
    "webhooks_failing_enabled",
    "webhooks_failing_disabled",
    "database_bytes",
    "wal_bytes",
]
GaugeReader = Callable[[], float | Awaitable[float]]
"""Called on the event loop at every scrape; an awaitable may read from the database."""

EmailResult = Literal["sent", "failed", "given_up", "not_configured"]
"""`failed` will be tried again, `given_up` will not; without a mail server: `not_configured`."""

REJECTION_CODES: Final = (
    "invalid_json",
    "invalid_event",
    "unknown_event_type",
    "payload_too_large",
    "storage_unavailable",
    "shutting_down",
)
OTHER: Final = "other"
"""The label value for what isn't known: from outside it would be a label without bound."""

FINISHED_STATES: Final = (DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELLED)

_ATTEMPT_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_FIRST_ATTEMPT_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 300, 1800, 3600),
)
_COMMIT_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_COMMIT_ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)

_OUTCOMES: Final = tuple(outcome.label for outcome in Outcome)
_SUCCESS: Final = int(Outcome.SUCCESS)


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a scrape shows, as it stood at one moment on the loop."""

    events_received: dict[str, int]
    events_rejected: dict[str, int]
    attempts: tuple[int, ...]
    finished: tuple[int, ...]
    webhook_attempts: dict[str, tuple[int, ...]]
    held_purged: int
    filter_failures: int
    emails: dict[str, int]
    attempt_s: HistogramReading
    first_attempt_s: HistogramReading
    commit_s: HistogramReading
    commit_rows: HistogramReading
    gauges: Mapping[GaugeName, float]


class Metrics:
    """The relay's counters. All methods belong to the event loop's thread; none raises."""

    def __init__(
        self, event_types: Collection[str] = EVENT_TYPES, *, per_webhook_limit: int = 1000
    ) -> None:
        """Count `event_types` each on its own, and the first `per_webhook_limit` webhooks."""
        self._received = dict.fromkeys((*event_types, OTHER), 0)
        self._rejected = dict.fromkeys((*REJECTION_CODES, OTHER), 0)
        self._attempts = [0] * len(Outcome)
        self._finished = [0] * len(DeliveryState)
        self._webhooks: dict[str, list[int]] = {}
        self._per_webhook_limit = per_webhook_limit
        self._held_purged = 0
        self._filter_failures = 0
        self._emails: dict[str, int] = dict.fromkeys(get_args(EmailResult), 0)
        self._attempt_s = Histogram(_ATTEMPT_S)
        self._first_attempt_s = Histogram(_FIRST_ATTEMPT_S)
        self._commit_s = Histogram(_COMMIT_S)
        self._commit_rows = Histogram(_COMMIT_ROWS)
        self.gauges: dict[GaugeName, GaugeReader] = {}

    def events_received(self, event_type: str, n: int = 1) -> None:
        """Count events that were stored; a duplicate isn't one."""
        received = self._received
        received[event_type if event_type in received else OTHER] += n

    def event_rejected(self, code: str, n: int = 1) -> None:
        """Count lines or events that were refused with one of section 3's codes."""
        rejected = self._rejected
        rejected[code if code in rejected else OTHER] += n

    def attempt(self, webhook_id: str, outcome: Outcome, duration_s: float) -> None:
        """Count one attempt, in the sums and, where it has series of its own, by webhook.

        The first `per_webhook_limit` webhooks to make an attempt get series; the others count in
        the sums alone until `webhook_gone` makes room.
        """
        self._attempts[outcome] += 1
        self._attempt_s.observe(duration_s)
        counts = self._webhooks.get(webhook_id)
        if counts is None:
            if len(self._webhooks) >= self._per_webhook_limit:
                return
            counts = self._webhooks[webhook_id] = [0] * len(Outcome)
        counts[outcome] += 1

    def webhook_gone(self, webhook_id: str) -> None:
        """Drop a deleted webhook's series."""
        self._webhooks.pop(webhook_id, None)

    def finished(self, state: DeliveryState, n: int = 1) -> None:
        """Count deliveries that came to rest; of the states only `FINISHED_STATES` are shown."""
        self._finished[state] += n

    def first_attempt_delay(self, seconds: float) -> None:
        """Observe the time from an event's receipt to the start of a delivery's first attempt."""
        self._first_attempt_s.observe(seconds)

    def commit(self, duration_s: float, rows: int) -> None:
        """Observe one write transaction: its time from begin to synced, and its rows."""
        self._commit_s.observe(duration_s)
        self._commit_rows.observe(rows)

    def email(self, result: EmailResult) -> None:
        """Count what became of one try to send one e-mail."""
        self._emails[result] += 1

    def held_purged(self, n: int) -> None:
        """Count deliveries that were purged while they were held, so never sent."""
        self._held_purged += n

    def filter_failed(self) -> None:
        """Count an event that a webhook's filter failed on."""
        self._filter_failures += 1

    def gauge(self, name: GaugeName, read: GaugeReader) -> None:
        """Have `read` asked for `name` at every scrape; without a reader it isn't shown."""
        self.gauges[name] = read

    def set_per_webhook_limit(self, limit: int) -> None:
        """Change the limit; above a smaller one the latest webhooks lose their series."""
        self._per_webhook_limit = limit
        while len(self._webhooks) > limit:
            self._webhooks.popitem()

    def snapshot(self, gauges: Mapping[GaugeName, float]) -> Snapshot:
        """Copy everything, with the gauges as they were read."""
        return Snapshot(
            events_received=dict(self._received),
            events_rejected=dict(self._rejected),
            attempts=tuple(self._attempts),
            finished=tuple(self._finished),
            webhook_attempts={name: tuple(counts) for name, counts in self._webhooks.items()},
            held_purged=self._held_purged,
            filter_failures=self._filter_failures,
            emails=dict(self._emails),
            attempt_s=self._attempt_s.read(),
            first_attempt_s=self._first_attempt_s.read(),
            commit_s=self._commit_s.read(),
            commit_rows=self._commit_rows.read(),
            gauges=dict(gauges),
        )


class SnapshotCollector(Collector):
    """A snapshot in Prometheus's terms; reads nothing else, so any thread may render it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family of the contract's section 8."""
        yield from self._counters()
        yield from self._gauges()
        shot = self._snapshot
        yield shot.attempt_s.family(
            "prynt_relay_attempt_duration_seconds",
            "Time of an attempt from its start to the response's headers or the failure.",
        )
        yield shot.first_attempt_s.family(
            "prynt_relay_event_to_first_attempt_seconds",
            "Time from an event's receipt to the start of the first attempt of a delivery.",
        )
        yield shot.commit_s.family(
            "prynt_relay_commit_duration_seconds", "Time of a write transaction until it is synced."
        )
        yield shot.commit_rows.family(
            "prynt_relay_commit_batch_size", "Rows written by one transaction."
        )

    def _counters(self) -> Iterator[Metric]:
        shot = self._snapshot
        yield _counter(
            "events_received",
            "Events stored, by type.",
            "event_type",
            _without_idle_other(shot.events_received),
        )
        yield _counter(
            "events_rejected",
            "Events refused, by error code.",
            "code",
            _without_idle_other(shot.events_rejected),
        )
        yield _counter(
            "delivery_attempts",
            "Attempts made, by outcome.",
            "outcome",
            dict(zip(_OUTCOMES, shot.attempts, strict=True)),
        )
        yield _counter(
            "deliveries_finished",
            "Deliveries that came to rest, by state.",
            "state",
            {state.label: shot.finished[state] for state in FINISHED_STATES},
        )
        family = CounterMetricFamily(
            "prynt_relay_webhook_attempts",
            "Attempts made, by webhook and outcome, for the webhooks within per_webhook_limit.",
            labels=("webhook", "outcome"),
        )
        for webhook_id, counts in shot.webhook_attempts.items():
            for outcome, count in enumerate(counts):
                # Successes from the first attempt on, so that a ratio has its denominator.
                if count or outcome == _SUCCESS:
                    family.add_metric((webhook_id, _OUTCOMES[outcome]), count)
        yield family
        yield CounterMetricFamily(
            "prynt_relay_held_purged",
            "Held deliveries purged by retention, never sent.",
            value=shot.held_purged,
        )
        yield CounterMetricFamily(
            "prynt_relay_filter_failures",
            "Events that a webhook's filter failed on; they are not delivered to it.",
            value=shot.filter_failures,
        )
        yield _counter("emails", "E-mails, by what became of each try.", "result", shot.emails)

    def _gauges(self) -> Iterator[Metric]:
        gauges = self._snapshot.gauges
        for name, metric, documentation in _PLAIN_GAUGES:
            if name in gauges:
                yield GaugeMetricFamily(f"prynt_relay_{metric}", documentation, value=gauges[name])
        for metric, documentation, states in _WEBHOOK_GAUGES:
            family = GaugeMetricFamily(f"prynt_relay_{metric}", documentation, labels=("state",))
            for state, name in states.items():
                if name in gauges:
                    family.add_metric((state,), gauges[name])
            if family.samples:
                yield family
        build = GaugeMetricFamily(
            "prynt_relay_build_info", "Always 1; the version is in its label.", labels=("version",)
        )
        build.add_metric((__version__,), 1)
        yield build


_PLAIN_GAUGES: Final[tuple[tuple[GaugeName, str, str], ...]] = (
    ("scheduled", "deliveries_scheduled", "Deliveries that have an attempt before them."),
    ("held", "deliveries_held", "Deliveries kept for disabled webhooks."),
    ("in_flight", "deliveries_in_flight", "Attempts under way."),
    (
        "oldest_due_seconds",
        "oldest_due_seconds",
        "For how long the most overdue delivery has been due; 0 where none is.",
    ),
    ("database_bytes", "database_bytes", "Size of the database file, without its WAL."),
    ("wal_bytes", "wal_bytes", "Size of the database's write-ahead log."),
)
_WEBHOOK_GAUGES: Final[tuple[tuple[str, str, dict[str, GaugeName]], ...]] = (
    (
        "webhooks",
        "Webhooks, by whether they are enabled.",
        {"enabled": "webhooks_enabled", "disabled": "webhooks_disabled"},
    ),
    (
        "webhooks_failing",
        "Webhooks that fail now (enabled), and that were disabled for failing (disabled).",
        {"enabled": "webhooks_failing_enabled", "disabled": "webhooks_failing_disabled"},
    ),
)


def _counter(name: str, documentation: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"prynt_relay_{name}", documentation, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _without_idle_other(values: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in values.items() if count or name != OTHER}

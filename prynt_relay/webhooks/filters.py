"""Filters: JMESPath expressions over the envelope (contract, section 9).

Compiled once and checked when they are set; evaluated only for webhooks that have one, once per
event and expression however many webhooks share it. One that fails on an event doesn't match it,
and is counted.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from prynt_relay.clock import Clock
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.event import NewEvent, StoredEvent
from prynt_relay.model.payload import parse
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.model.webhook import Webhook
from prynt_relay.webhooks.filter_evaluation import FilterError, Interpreter
from prynt_relay.webhooks.filter_syntax import compile_expression, reads

__all__ = ["Candidate", "Failures", "Filter", "FilterError", "Filters", "compile_filter"]

NESTED_MAX: Final = 16_384
"""Objects and lists that a filter may have decoded for it; they cost some 0.1 µs each."""

_interpreter: Final = Interpreter()


class Filter:
    """One compiled expression."""

    __slots__ = ("_tree", "expression", "needs_webhook_id", "reads")

    def __init__(self, expression: str) -> None:
        self._tree = compile_expression(expression)
        self.expression = expression
        self.reads = reads(self._tree)
        self.needs_webhook_id = self.reads is None or ("webhookId", None) in self.reads
        """Whether it may tell webhooks apart, and so must be evaluated for each."""

    def evaluate(self, envelope: dict[str, Any]) -> bool:
        """Whether it is true of an envelope; raises `FilterError` where it fails on it."""
        return _interpreter.evaluate(self._tree, envelope)


# As many as there may be webhooks: were there fewer, a round of all of them would compile each.
@functools.lru_cache(maxsize=100_000)
def compile_filter(expression: str) -> Filter:
    """The compiled filter; raises `InvalidFieldError` with the place of what is wrong."""
    return Filter(expression)


class Candidate:
    """One event that filters are asked about; what they share is decoded and evaluated once."""

    def __init__(
        self,
        *,
        event_type: str,
        data: bytes,
        api_version: str,
        created_at_ms: int,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Take an event's parts; what isn't known yet is null to filters."""
        self._envelope: dict[str, Any] = {
            "webhookId": None,
            "eventId": event_id,
            "eventType": event_type,
            "apiVersion": api_version,
            "createdAt": iso_ms(created_at_ms),
            "idempotencyKey": idempotency_key,
            "data": {},
        }
        self._data = data
        self._members: dict[str, msgspec.Raw] | None = None
        self._whole = False
        self._results: dict[object, bool | FilterError] = {}

    @classmethod
    def new(cls, event: NewEvent, *, api_version: str, wall_ms: int) -> "Candidate":
        """An event that is coming in; ids that the store will make are null to filters."""
        return cls(
            event_type=event.event_type,
            data=event.data,
            api_version=api_version,
            created_at_ms=wall_ms if event.created_at_ms is None else event.created_at_ms,
            event_id=event.event_id,
            idempotency_key=event.idempotency_key,
        )

    @classmethod
    def stored(cls, event: StoredEvent) -> "Candidate":
        """An event of the past, for trying a filter out."""
        return cls(
            event_type=event.event_type,
            data=event.data,
            api_version=event.api_version,
            created_at_ms=event.created_at_ms,
            event_id=event.event_id,
            idempotency_key=event.idempotency_key,
        )

    def matches(self, filter: Filter, webhook_id: str) -> bool | FilterError:
        """Whether the filter is true of the event, or why it can't be told."""
        key: object = filter.expression
        if filter.needs_webhook_id:
            key = (filter.expression, webhook_id)
        result = self._results.get(key)
        if result is None:
            try:
                self._decode_for(filter)
                self._envelope["webhookId"] = webhook_id
                result = filter.evaluate(self._envelope)
            except FilterError as error:
                result = error
            self._results[key] = result
        return result

    def _decode_for(self, filter: Filter) -> None:
        """Decode what the filter reads of `data` and nobody read before.

        Most filters look at one member: decoding the others of a large event would take longer
        than all else.
        """
        if self._whole:
            return
        if filter.reads is None or ("data", None) in filter.reads:
            self._decode_whole()
            return
        names = [name for first, name in filter.reads if first == "data" and name is not None]
        if self._members is None and names:
            try:
                self._members = msgspec.json.decode(self._data, type=dict[str, msgspec.Raw])
            except msgspec.DecodeError:  # what only `parse` can read
                self._decode_whole()
                return
        decoded = self._envelope["data"]
        for name in names:
            if self._members is not None and name in self._members and name not in decoded:
                text = bytes(self._members[name])
                self._check_nesting(text)
                decoded[name] = parse(text, encodable=False)

    def _decode_whole(self) -> None:
        self._check_nesting(self._data)
        self._envelope["data"] = parse(self._data, encodable=False)
        self._whole = True

    @staticmethod
    def _check_nesting(text: bytes) -> None:
        # Brackets in texts count too: rare enough to be cheaper than telling them apart.
        if text.count(b"{") + text.count(b"[") > NESTED_MAX:
            raise FilterError(
                f"what the filter reads holds more than {NESTED_MAX:,} objects and lists; "
                "name the members that it needs"
            )


class Failures(msgspec.Struct, frozen=True):
    """How often a webhook's filter failed since the daemon started, and how the last time."""

    count: int
    last_at_ms: int
    last_error: str


class Filters:
    """Which webhooks' filters an event matches, and which filters fail."""

    def __init__(
        self,
        *,
        api_version: str,
        clock: Clock,
        on_failure: Callable[[Webhook, FilterError], None] = lambda webhook, error: None,
    ) -> None:
        """`on_failure` is told of each filter that failed on an event, for metrics and the log."""
        self._api_version = api_version
        self._clock = clock
        self._on_failure = on_failure
        # One entry per webhook with a failing filter; `forget` takes those of the deleted.
        self._failures: dict[int, Failures] = {}

    @staticmethod
    def check(expression: str) -> None:
        """Raise `InvalidFieldError`, with the place, for what isn't a filter."""
        compile_filter(expression)

    def matching(self, event: NewEvent, webhooks: Sequence[Webhook]) -> list[Webhook]:
        """Those of `webhooks`, which all have filters, that the event goes to."""
        candidate = Candidate.new(
            event, api_version=self._api_version, wall_ms=self._clock.wall_ms()
        )
        return [webhook for webhook in webhooks if self._matches(candidate, webhook)]

    def failures(self, webhook_row: int) -> Failures | None:
        """How a webhook's filter failed, if it did."""
        return self._failures.get(webhook_row)

    def forget(self, webhook_row: int) -> None:
        """Drop what was counted for a webhook that was deleted or whose filter was changed."""
        self._failures.pop(webhook_row, None)

    def _matches(self, candidate: Candidate, webhook: Webhook) -> bool:
        try:
            result = candidate.matches(compile_filter(webhook.filter or ""), webhook.id)
        except InvalidFieldError as error:
            # It was right when it was set: another version of the relay or of the library.
            result = FilterError(error.reason)
        if isinstance(result, FilterError):
            before = self._failures.get(webhook.row)
            count = 1 if before is None else before.count + 1
            self._failures[webhook.row] = Failures(count, self._clock.wall_ms(), str(result))
            self._on_failure(webhook, result)
            return False
        return result

"""Filters: JMESPath expressions over the envelope (contract, section 9).

Compiled once and checked when they are set; evaluated only for webhooks that have one, once per
event and expression however many webhooks share it, and so much in one turn of the event loop. One
that fails on an event doesn't match it, and is counted.
"""

import asyncio
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

__all__ = [
    "Candidate",
    "Failures",
    "Filter",
    "FilterError",
    "Filters",
    "Matching",
    "compile_filter",
]

TURN_STEPS: Final = 4_000
"""Steps in one turn of the event loop, over all filters and events; what is left goes on in the
next, so that a thousand filters of the worst kind hold nothing else up."""

_EVALUATION_STEPS: Final = 10
"""What an evaluation costs beyond its steps."""
_STEPS_PER_CHAR: Final = 10
"""What compiling costs, which is done when a filter is set, or first asked after a start."""
_LOOKUPS_PER_STEP: Final = 4
"""Webhooks whose filter was evaluated for another one: so many cost a step."""
_LOOKUPS: Final = 256
"""So many of them are looked up before the turn's budget is looked at."""
_SCANNED_PER_STEP: Final = 512
_DECODED_PER_STEP: Final = 64
"""Bytes of an event's data that are looked through, or decoded, in the time of a step."""

NESTED_MAX: Final = 16_384
"""Objects and lists that a filter may have decoded for it; they cost some 0.1 µs each."""

_interpreter: Final = Interpreter()


class Filter:
    """One compiled expression."""

    __slots__ = ("_tree", "compiling", "expression", "needs_webhook_id", "reads")

    def __init__(self, expression: str) -> None:
        self._tree = compile_expression(expression)
        self.expression = expression
        self.compiling = _STEPS_PER_CHAR * len(expression)
        """Steps that compiling took and that nobody was charged for yet."""
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
        self.spent = 0
        """Steps that were taken, decoding included, since somebody set it to 0."""

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
            self.spent += _EVALUATION_STEPS + _interpreter.steps + filter.compiling
            filter.compiling = 0
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
            self.spent += len(self._data) // _SCANNED_PER_STEP
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
                self.spent += len(text) // _DECODED_PER_STEP
                decoded[name] = parse(text, encodable=False)

    def _decode_whole(self) -> None:
        self._check_nesting(self._data)
        self.spent += len(self._data) // _DECODED_PER_STEP
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


class _Turn:
    """What filters may still do in the present turn of the event loop."""

    __slots__ = ("_counting", "left")

    def __init__(self) -> None:
        self.left = TURN_STEPS
        self._counting = False

    def spend(self, steps: int) -> None:
        """Take steps that were made; all come back in the loop's next turn."""
        self.left -= steps
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.left = TURN_STEPS
        self._counting = False


class Matching:
    """An event on its way through the filters of many webhooks."""

    __slots__ = ("_asked", "_candidate", "_filters", "_found", "_webhooks")

    def __init__(
        self, filters: "Filters", candidate: Candidate, webhooks: Sequence[Webhook]
    ) -> None:
        self._filters = filters
        self._candidate = candidate
        self._webhooks = webhooks
        self._asked = 0
        self._found: list[Webhook] = []

    def go_on(self) -> list[Webhook] | None:
        """Ask more filters, as many as this turn of the loop allows.

        Returns the webhooks that match once all were asked; None: call it again in a later turn.
        """
        candidate, webhooks, found = self._candidate, self._webhooks, self._found
        turn, asks = self._filters.turn, self._filters.asks
        while self._asked < len(webhooks):
            if turn.left <= 0:
                return None
            part = webhooks[self._asked : self._asked + _LOOKUPS]
            asked = 0
            for webhook in part:
                asked += 1
                if asks(candidate, webhook):
                    found.append(webhook)
                if candidate.spent:
                    break  # it was evaluated, not looked up
            self._asked += asked
            turn.spend(candidate.spent + asked // _LOOKUPS_PER_STEP)
            candidate.spent = 0
        return found


class Filters:
    """Which webhooks' filters an event matches, and which filters fail."""

    def __init__(
        self,
        *,
        api_version: str,
        clock: Clock,
        on_failure: Callable[[Webhook, Failures], None] = lambda webhook, failures: None,
    ) -> None:
        """`on_failure` is told of each filter that failed on an event, for metrics and the log."""
        self.turn = _Turn()
        self._api_version = api_version
        self._clock = clock
        self._on_failure = on_failure
        # One entry per webhook with a failing filter; `forget` takes those of the deleted.
        self._failures: dict[int, Failures] = {}

    @staticmethod
    def check(expression: str) -> None:
        """Raise `InvalidFieldError`, with the place, for what isn't a filter."""
        compile_filter(expression)

    def matching(self, event: NewEvent, webhooks: Sequence[Webhook]) -> Matching:
        """Begin to ask which of `webhooks`, which all have filters, the event goes to."""
        candidate = Candidate.new(
            event, api_version=self._api_version, wall_ms=self._clock.wall_ms()
        )
        return Matching(self, candidate, webhooks)

    def failures(self, webhook_row: int) -> Failures | None:
        """How a webhook's filter failed, if it did."""
        return self._failures.get(webhook_row)

    def forget(self, webhook_row: int) -> None:
        """Drop what was counted for a webhook that was deleted or whose filter was changed."""
        self._failures.pop(webhook_row, None)

    def asks(self, candidate: Candidate, webhook: Webhook) -> bool:
        """Whether the event goes to a webhook; a filter that fails is counted and says no."""
        try:
            result = candidate.matches(compile_filter(webhook.filter or ""), webhook.id)
        except InvalidFieldError as error:
            # It was right when it was set: another version of the relay or of the library.
            result = FilterError(error.reason)
            candidate.spent += _STEPS_PER_CHAR * len(webhook.filter or "")
        if isinstance(result, FilterError):
            before = self._failures.get(webhook.row)
            count = 1 if before is None else before.count + 1
            failures = Failures(count, self._clock.wall_ms(), str(result))
            self._failures[webhook.row] = failures
            self._on_failure(webhook, failures)
            return False
        return result

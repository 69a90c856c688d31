"""What is to be sent, what was sent, and what the answers mean. No I/O.

An event is in one of three places, in the order in which they were published:

    again ──► sent ──► (answered)
      ▲        │
      └────────┘  the relay said "not now", or the connection was lost
    waiting ─► sent
"""

import enum
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from prynt_relay.publisher.outcomes import Accepted, PublishError, RefusedError, UnansweredError

TRY_AGAIN = frozenset({"storage_unavailable", "shutting_down"})
"""Refusals that may be different in a moment."""


class Outcome(Protocol):
    """A future, asyncio's or a thread's."""

    def done(self) -> bool:
        """Whether the caller has its answer or has given up."""
        ...

    def set_result(self, result: Accepted, /) -> None:
        """Tell the caller that the event was accepted."""
        ...

    def set_exception(self, exception: PublishError, /) -> None:
        """Tell the caller that it wasn't, or that nobody knows."""
        ...


class Item:
    """One event on its way.

    `deadline` is on the caller's monotonic clock, None for none. `release` is called once, when
    the event takes no more room here.
    """

    __slots__ = (
        "deadline",
        "idempotency_key",
        "line",
        "lost",
        "outcome",
        "refused",
        "release",
        "sends",
        "size",
        "under_way",
    )

    def __init__(
        self,
        line: bytes,
        idempotency_key: str,
        outcome: Outcome,
        deadline: float | None,
        release: Callable[[int], None],
    ) -> None:
        self.line = line
        self.size = len(line)
        self.idempotency_key = idempotency_key
        self.outcome = outcome
        self.deadline = deadline
        self.release = release
        self.sends = 0
        self.under_way = False  # sent over the present connection and not answered
        self.lost = False  # it was sent over a connection that ended before the answer
        self.refused: RefusedError | None = None  # "not now", the last time it was answered


class Advice(enum.Enum):
    """What the answers say about the relay."""

    GO_ON = enum.auto()
    PAUSE = enum.auto()
    """It can't store for now."""
    LEAVE = enum.auto()
    """It is going away."""


class ProtocolError(Exception):
    """What came isn't an answer; nothing on this connection can be trusted any more."""


class Outbox:
    """The events that a publisher has taken and not brought to an end; bounded by its owner."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._again: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._received = bytearray()

    def __len__(self) -> int:
        """How many events are here."""
        return len(self._waiting) + len(self._again) + len(self._sent)

    @property
    def sent(self) -> int:
        """How many events are sent and unanswered."""
        return len(self._sent)

    @property
    def sendable(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._waiting or self._again)

    def add(self, item: Item) -> None:
        """Take an event."""
        self._waiting.append(item)

    def next_chunk(self, size: int) -> bytes:
        """The lines to send next, at least one and about `size` bytes; they count as sent."""
        chunk = []
        for queue in (self._again, self._waiting):
            while queue and size > 0:
                item = queue.popleft()
                if item.outcome.done():  # expired, or the caller has given up
                    self._drop(item)
                    continue
                item.sends += 1
                item.under_way = True
                self._sent.append(item)
                chunk.append(item.line)
                size -= item.size
        return b"".join(chunk)

    def receive(self, data: bytes) -> Advice:
        """Read answers; raises ProtocolError for what can't be one."""
        self._received += data
        if b"\n" not in data:
            if len(self._received) > 1_048_576:
                raise ProtocolError("an answer without end")
            return Advice.GO_ON
        *answers, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        advice = Advice.GO_ON
        for answer in answers:
            given = self._answer(answer)
            if given is Advice.LEAVE or advice is Advice.GO_ON:
                advice = given
        return advice

    def disconnected(self) -> None:
        """Send again, first and in their order, the events whose answers will never come."""
        self._received = bytearray()
        lost = []
        for item in self._sent:
            item.under_way = False
            if item.outcome.done():
                self._drop(item)
            else:
                item.lost = True
                lost.append(item)
        self._sent.clear()
        self._again.extend(lost)

    def expire(self, now: float, why: str) -> float | None:
        """Give up the events whose time is over; returns when the next one's is."""
        earliest = None
        for item in self._all():
            if item.deadline is None or item.outcome.done():
                continue
            if item.deadline <= now:
                self._give_up(item, why)
            elif earliest is None or item.deadline < earliest:
                earliest = item.deadline
        self.prune()
        return earliest

    def prune(self) -> None:
        """Forget unsent events that have expired or that their callers have given up."""
        for queue in (self._again, self._waiting):
            for _ in range(len(queue)):
                item = queue.popleft()
                if item.outcome.done():
                    self._drop(item)
                else:
                    queue.append(item)

    def give_up(self, why: str) -> None:
        """Give up all events that are left."""
        for item in self._all():
            if not item.outcome.done():
                self._give_up(item, why)
        for queue in (self._again, self._sent, self._waiting):
            while queue:
                self._drop(queue.popleft())

    def _all(self) -> Iterator[Item]:
        for queue in (self._again, self._sent, self._waiting):
            yield from queue

    def _give_up(self, item: Item, why: str) -> None:
        """Tell the caller what is known; what is on the wire stays in line for its answer."""
        maybe_accepted = item.lost or item.under_way
        if maybe_accepted or item.refused is None:
            error: PublishError = UnansweredError(
                why, maybe_accepted=maybe_accepted, idempotency_key=item.idempotency_key
            )
        else:
            error = item.refused
        item.outcome.set_exception(error)

    def _answer(self, text: bytes) -> Advice:
        if not self._sent:
            raise ProtocolError("an answer to nothing")
        item = self._sent[0]
        result = _read(item, text)  # before it leaves its place: this may raise
        self._sent.popleft()
        item.under_way = False
        if isinstance(result, RefusedError) and result.code in TRY_AGAIN:
            if item.outcome.done():
                self._drop(item)
            else:
                item.refused = result
                self._again.append(item)
            return Advice.LEAVE if result.code == "shutting_down" else Advice.PAUSE
        if not item.outcome.done():
            if isinstance(result, Accepted):
                item.outcome.set_result(result)
            else:
                item.outcome.set_exception(result)
        self._drop(item)
        return Advice.GO_ON

    def _drop(self, item: Item) -> None:
        item.release(item.size)


def _read(item: Item, text: bytes) -> Accepted | RefusedError:
    try:
        answer: dict[str, Any] = json.loads(text)
        if answer["ok"] is True:
            return Accepted(
                str(answer["eventId"]),
                bool(answer["duplicate"]),
                item.idempotency_key,
                item.sends > 1,
            )
        error = answer["error"]
        return RefusedError(str(error["code"]), str(error["message"]))
    except (ValueError, LookupError, TypeError) as error:
        raise ProtocolError(f"not an answer of the relay's: {text[:100]!r}") from error

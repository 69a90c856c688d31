"""What happened, as seen from outside the relay: by publishers, receivers and operators."""

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.sim_world import World

if TYPE_CHECKING:
    from prynt_relay.model.states import Outcome


class Entry(NamedTuple):
    """One thing that happened; `at` is on the schedule's clock, `now` on the world's (ms)."""

    seq: int
    at: int
    now: float
    kind: str
    what: Any = None


class Attempt:
    """A request that reached a receiver."""

    __slots__ = (
        "at", "delivery_row", "duration_ms", "ended_at", "event_id", "event_row", "fate",
        "is_test", "number", "outcome", "slot_s", "started_ms", "webhook_row",
    )  # fmt: skip

    def __init__(
        self, webhook_row: int, event_row: int, event_id: str, *, at: int, started_ms: int,
        is_test: bool,
    ) -> None:  # fmt: skip
        self.webhook_row = webhook_row
        self.event_row = event_row
        self.event_id = event_id
        self.at = at
        self.started_ms = started_ms
        self.is_test = is_test
        self.ended_at: int | None = None
        self.outcome: Outcome | None = None
        self.duration_ms = 0
        self.slot_s = 0.0
        self.delivery_row = 0
        self.number = 0
        # flying → ended → settled (known to be on disk), or cut off by a crash or a stop
        self.fate = "flying"


class Ask:
    """An operator's retry: of one delivery (`event_row`), or of a window (None)."""

    __slots__ = ("accepted", "at", "delivery", "number", "since_ms", "states")

    def __init__(
        self, number: int, *, at: int, delivery: tuple[int, int] | None = None,
        states: frozenset[int] = frozenset(), since_ms: int = 0,
    ) -> None:  # fmt: skip
        self.number = number
        self.at = at
        self.delivery = delivery
        self.states = states
        self.since_ms = since_ms
        # Whether a window was noted, so that it is worked off whatever comes.
        self.accepted = False

    def no_later_than(self, at: int) -> "Ask":
        """The same with what it makes due from `at` on."""
        return Ask(
            self.number, at=min(self.at, at), delivery=self.delivery, states=self.states,
            since_ms=self.since_ms,
        )  # fmt: skip


class Line:
    """A line that a publisher sent."""

    __slots__ = (
        "answer",
        "answered",
        "answered_seq",
        "at",
        "code",
        "event_type",
        "key",
        "message",
        "own_id",
        "seq",
        "wall_ms",
    )  # fmt: skip

    def __init__(
        self, message: int, event_type: str, key: str | None, own_id: str | None,
        code: str | None,
    ) -> None:  # fmt: skip
        self.message = message
        self.event_type = event_type
        self.key = key
        self.own_id = own_id
        self.code = code  # of the refusal that it must get; None: it is good
        self.seq = 0
        self.at = 0
        self.wall_ms = 0
        self.answer: dict[str, Any] | None = None
        self.answered_seq: int | None = None
        self.answered: float | None = None  # the world's time


class Journal:
    """Everything in its order, and what is wrong with it as far as that shows at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seq = 0
        self.at = 0
        self.violations: list[str] = []
        self.by_delivery: dict[tuple[int, int], list[Entry]] = defaultdict(list)
        self.by_webhook: dict[int, list[Entry]] = defaultdict(list)
        self.globals: list[Entry] = []
        self.attempts: list[Attempt] = []
        self.lines: list[Line] = []
        # Names of webhooks by row, and the types that each is subscribed to.
        self.webhook_ids: dict[int, str] = {}
        self.subscriptions: dict[int, tuple[str, ...]] = {}
        self.schedules: dict[int, tuple[float, ...]] = {}
        # What receivers saw of events: their ids and which message they carry.
        self.events: dict[int, tuple[str, int]] = {}
        self.samples: set[int] = set()
        self.jumps: list[int] = []
        self.delivery_rows: dict[int, tuple[int, int]] = {}
        self.crashes = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def tell(self, at: int, *what: object) -> int:
        """Count one thing that happened, for the trace; returns its number."""
        self.seq += 1
        self.at = max(self.at, at)
        self._hash.update(repr((self.seq, at, what)).encode())
        return self.seq

    def webhook(self, row: int, at: int, kind: str, what: Any = None) -> Entry:
        """Something happened to a webhook."""
        number = what.number if isinstance(what, Ask) else repr(what)
        entry = Entry(self.tell(at, kind, row, number), at, self._world.now, kind, what)
        self.by_webhook[row].append(entry)
        return entry

    def delivery(self, attempt: Attempt, at: int, kind: str) -> None:
        """Something happened to an attempt."""
        key = (attempt.webhook_row, attempt.event_row)
        outcome = None if attempt.outcome is None else int(attempt.outcome)
        seq = self.tell(at, kind, key, outcome)
        if not attempt.is_test:
            self.by_delivery[key].append(Entry(seq, at, self._world.now, kind, attempt))

    def everywhere(self, at: int, kind: str, what: Any = None) -> None:
        """Something happened to the relay as a whole."""
        seq = self.tell(at, kind, repr(what))
        self.globals.append(Entry(seq, at, self._world.now, kind, what))

    def wrong(self, invariant: str, text: str) -> None:
        """An invariant doesn't hold."""
        if len(self.violations) < 20:
            self.violations.append(f"{invariant}: {text} (at {self.at}, #{self.seq})")

    @property
    def trace(self) -> str:
        """The same for two runs in which the same happened."""
        return self._hash.hexdigest()

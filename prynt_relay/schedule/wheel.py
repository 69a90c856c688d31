"""A hashed timer wheel: the inner, in-memory one.

It holds only what is due soon; everything later waits in the database, which is the outer wheel.
Adding and expiring cost the same however much it holds.
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")

TICK_MS: Final = 20
"""How late an item can fire: never early, at most one tick after it was due."""

SLOTS: Final = 4096
"""About 82 s; an item further away goes round the wheel until its turn comes."""


class TimerWheel(Generic[T]):
    """Items by the millisecond at which they are due."""

    def __init__(self, now_ms: int) -> None:
        self._slots: list[list[tuple[int, T]]] = [[] for _ in range(SLOTS)]
        self._tick = now_ms // TICK_MS
        self._count = 0
        self._earliest_tick: int | None = None

    def __len__(self) -> int:
        """How many items wait."""
        return self._count

    def add(self, due_ms: int, item: T) -> None:
        """Hold `item` until `due_ms`; what is overdue comes out of the next `expire`."""
        tick = max(-(-due_ms // TICK_MS), self._tick + 1)
        self._slots[tick % SLOTS].append((tick, item))
        self._count += 1
        if self._earliest_tick is None or tick < self._earliest_tick:
            self._earliest_tick = tick

    def expire(self, now_ms: int) -> list[T]:
        """Take out everything that is due at `now_ms`, earliest tick first."""
        now_tick = now_ms // TICK_MS
        if now_tick <= self._tick:
            return []
        earliest = self._earliest_tick
        if earliest is None or earliest > now_tick:
            self._tick = now_tick
            return []
        due: list[tuple[int, T]] = []
        # After a long pause every slot is visited once, not once per missed tick.
        for tick in range(max(earliest, now_tick - SLOTS + 1), now_tick + 1):
            slot = self._slots[tick % SLOTS]
            if slot:
                taken = [entry for entry in slot if entry[0] <= now_tick]
                if taken:
                    due += taken
                    slot[:] = [entry for entry in slot if entry[0] > now_tick]
        due.sort(key=lambda entry: entry[0])
        self._tick = now_tick
        self._count -= len(due)
        self._earliest_tick = self._find_earliest()
        return [item for _, item in due]

    def next_due_ms(self) -> int | None:
        """When `expire` will next have something to give, or None while nothing waits."""
        return None if self._earliest_tick is None else self._earliest_tick * TICK_MS

    def _find_earliest(self) -> int | None:
        if not self._count:
            return None
        for tick in range(self._tick + 1, self._tick + 1 + SLOTS):
            if any(entry[0] == tick for entry in self._slots[tick % SLOTS]):
                return tick
        # Everything left is more than a turn of the wheel away.
        return min(entry[0] for slot in self._slots for entry in slot)

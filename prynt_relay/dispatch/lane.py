"""One webhook's part of the schedule that is in memory.

The database holds every scheduled delivery, ordered by its key `(due_ms, row)`. A lane holds the
first of them. What is where follows from one line, the lane's *mark*:

    a scheduled delivery is in memory exactly if its key is at or below the mark.

So nothing is ever in both places or in neither, however many rows a webhook has: when memory is
full the mark moves down and the rest stays where it already is, in the database; when memory
runs low the next page is read and the mark moves up. Rows that change while a page is being read
are kept in `overlay`, which knows better than the page.
"""

import math
from collections import deque
from typing import Final

from prynt_relay.model.delivery import DueDelivery

HORIZON_MS: Final = 60_000
"""How far ahead of its time a delivery may be in memory."""

LEAD_MS: Final = 2_000
"""How long before it is due a page is asked for."""

PAGE_ROWS: Final = 256
"""Rows read from the database at a time for one webhook."""

LOW_WATER: Final = 64
"""Fewer ready deliveries than this in memory, and the next page is asked for."""

LANE_ROWS: Final = 10_000
"""Most deliveries of one webhook in memory; what comes on top waits in the database."""

SLOW_ROWS: Final = 512
"""The same for one that holds its slots for long. It takes a few a second at most: its backlog
would lie in memory for hours, a growing one for as long as it grows."""

OVERLAY_ROWS: Final = 10_000
"""Most changes remembered while a page is read; beyond it the page is simply read again."""

TOTAL_ROWS: Final = 50_000
"""Most deliveries in memory over all webhooks (about 20 MB); beyond it each keeps `LOW_WATER`."""

TOTAL_EVENT_BYTES: Final = 48 * 1024 * 1024
"""Most payload kept for deliveries in memory; beyond it an event is read when its turn comes."""

BULK_EVERY: Final = 4
"""Of a webhook's attempts at most one in so many is bulk work while its schedule waits."""

BULK_ROWS: Final = 1_000
"""Bulk work of one webhook in memory, beyond which no more of it is made due."""

NEVER: Final = math.inf
_NOTHING: Final[deque[DueDelivery]] = deque(maxlen=0)
"""A line that was never used: an empty one of its own would take 0.7 KB for every webhook."""

Key = tuple[float, float]
NOTHING_IN_MEMORY: Final[Key] = (-math.inf, -math.inf)


class Memory:
    """What all lanes together hold."""

    __slots__ = ("event_bytes", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.event_bytes = 0


class Lane:
    """The deliveries of one webhook that are due now or soon, and what is known of the rest."""

    __slots__ = (
        "_bulk_turn",
        "bulk",
        "busy",
        "disablings",
        "entries",
        "generation",
        "mark",
        "memory",
        "overlay",
        "paged",
        "paused",
        "prefetch",
        "ready",
        "slow",
        "stored_from_ms",
        "webhook_row",
    )

    def __init__(self, webhook_row: int, memory: Memory, *, stored_from_ms: float) -> None:
        self.webhook_row = webhook_row
        self.memory = memory
        # In memory and waiting: the truth about what `ready` and the timer wheel mention.
        self.entries: dict[int, DueDelivery] = {}
        self.ready = _NOTHING
        # Due because a person asked for them, maybe by the hundred thousand: they give way.
        self.bulk = _NOTHING
        self._bulk_turn = 0
        # In flight, or done and not yet settled on disk. Bounded by the slots and by settling.
        self.busy: set[int] = set()
        self.mark: Key = NOTHING_IN_MEMORY
        # No scheduled delivery in the database beyond the mark is due before this.
        self.stored_from_ms = stored_from_ms
        self.overlay: dict[int, DueDelivery | None] | None = None
        # Nothing beyond this key has ever come from a page.
        self.paged = NOTHING_IN_MEMORY
        self.paused = False
        # How often its webhook was disabled: what was in flight then is held in the database.
        self.disablings = 0
        # Whether a page should bring its events along: they will be sent at once.
        self.prefetch = False
        # Whether it may hold `SLOW_ROWS` only.
        self.slow = False
        # Changes when all that was in memory was forgotten: a page asked for before is void.
        self.generation = 0

    def add(self, delivery: DueDelivery) -> bool:
        """Hold a delivery in memory; False, with the mark moved below it, where memory is full."""
        memory = self.memory
        entries = self.entries
        known = entries.get(delivery.row)
        if known is not None:
            self.remove(known)
        held = len(entries)
        most = SLOW_ROWS if self.slow else LANE_ROWS
        if held >= most or (memory.rows >= TOTAL_ROWS and held >= LOW_WATER):
            self.lower_mark(delivery)
            return False
        entries[delivery.row] = delivery
        memory.rows += 1
        event = delivery.event
        if event is not None:
            size = len(event.data)
            if memory.event_bytes + size <= TOTAL_EVENT_BYTES:
                memory.event_bytes += size
            else:
                delivery.event = None
        return True

    def remove(self, delivery: DueDelivery) -> None:
        """A delivery leaves memory: its attempt begins, or the database keeps it alone."""
        del self.entries[delivery.row]
        self.memory.rows -= 1
        if delivery.event is not None:
            self.memory.event_bytes -= len(delivery.event.data)

    def pop_ready(self) -> DueDelivery | None:
        """Take the next delivery that is due; it is busy from here on."""
        while self.ready or self.bulk:
            delivery = self._next_ready()
            if self.entries.get(delivery.row) is delivery:
                self.remove(delivery)
                self.busy.add(delivery.row)
                return delivery
        return None

    def pop_along(self, first: DueDelivery, most: int) -> list[DueDelivery]:
        """Take what is due in the format of `first`, which was popped: up to `most` with it.

        In the order in which the events came in, whatever asked for the attempts.
        """
        found = [first]
        for line in (self.ready, self.bulk):
            while line and len(found) < most:
                delivery = line[0]
                if self.entries.get(delivery.row) is delivery:
                    if delivery.format is not first.format:
                        break  # from before the webhook's format was changed: its turn comes
                    self.remove(delivery)
                    self.busy.add(delivery.row)
                    found.append(delivery)
                line.popleft()
        found.sort(key=lambda delivery: delivery.row)
        return found

    def _next_ready(self) -> DueDelivery:
        """From the schedule first; every so often from what people asked for, so that it ends."""
        if self.bulk and (not self.ready or self._bulk_turn >= BULK_EVERY):
            self._bulk_turn = 0
            return self.bulk.popleft()
        self._bulk_turn += 1
        return self.ready.popleft()

    def add_ready(self, delivery: DueDelivery) -> None:
        """A delivery in memory is due."""
        if delivery.manual:
            if self.bulk is _NOTHING:
                self.bulk = deque()
            self.bulk.append(delivery)
        else:
            if self.ready is _NOTHING:
                self.ready = deque()
            self.ready.append(delivery)

    @property
    def waiting(self) -> int:
        """How many are due; some may have left memory since."""
        return len(self.ready) + len(self.bulk)

    def oldest_due_ms(self) -> float:
        """When the longest-waiting delivery was due; `NEVER` where nothing is."""
        oldest = self.stored_from_ms
        for line in (self.ready, self.bulk):
            while line and self.entries.get(line[0].row) is not line[0]:
                line.popleft()
            if line:
                oldest = min(oldest, line[0].due_ms)
        return oldest

    def raise_mark(self, now_ms: int) -> None:
        """Move the mark up over the stretch in which the database has nothing for us."""
        ceiling = min(now_ms + HORIZON_MS, self.stored_from_ms - 1)
        if ceiling > self.mark[0]:
            self.mark = (ceiling, NEVER)

    def takes(self, delivery: DueDelivery, now_ms: int, *, late: bool = False) -> bool:
        """Whether a scheduled delivery belongs in memory; if not, note that the database has it.

        Called for every row that became scheduled, once that is on disk; `late` says that this was
        some time ago. Then a page may have brought the row, and its attempt be over: the database
        knows, and is asked again.
        """
        key = (delivery.due_ms, delivery.row)
        if late and key <= self.paged:
            if self.overlay is not None:
                self.forget()
            elif key <= self.mark:
                self.lower_mark(delivery)
            else:
                self._leave_to_database(delivery)
            return False
        if self.overlay is not None:
            if len(self.overlay) < OVERLAY_ROWS:
                self.overlay[delivery.row] = delivery
            else:
                # Too much changed under the page: forget it, start again from the database.
                self.forget()
            return False
        self.raise_mark(now_ms)
        if key <= self.mark:
            return True
        self._leave_to_database(delivery)
        return False

    def lower_mark(self, below: DueDelivery) -> None:
        """Memory is full: leave `below` and all that is due later to the database."""
        self.mark = (below.due_ms, below.row - 1)
        self.stored_from_ms = min(self.stored_from_ms, below.due_ms)
        for entry in list(self.entries.values()):
            if (entry.due_ms, entry.row) > self.mark:
                self.remove(entry)

    def _leave_to_database(self, delivery: DueDelivery) -> None:
        known = self.entries.get(delivery.row)
        if known is not None:
            self.remove(known)
        self.stored_from_ms = min(self.stored_from_ms, delivery.due_ms)

    def start_page(self) -> Key:
        """A page is being read: from here on changes go to the overlay. Returns where to start."""
        self.overlay = {}
        return self.mark

    def finish_page(self, page: list[DueDelivery], now_ms: int) -> list[DueDelivery]:
        """Take in a page that was read from the mark on, and what changed in the meantime.

        `page` holds up to `PAGE_ROWS` rows in key order. Returns what is now in memory that was
        not before, due or soon due.
        """
        overlay, self.overlay = self.overlay or {}, None
        horizon_ms = now_ms + HORIZON_MS
        near = [delivery for delivery in page if delivery.due_ms <= horizon_ms]
        if len(near) < len(page):
            self.stored_from_ms = page[len(near)].due_ms
            self.mark = max(self.mark, (min(horizon_ms, self.stored_from_ms - 1), NEVER))
        elif len(page) == PAGE_ROWS:
            last = page[-1]
            self.stored_from_ms = last.due_ms
            self.mark = max(self.mark, (last.due_ms, last.row))
        else:
            self.stored_from_ms = NEVER
            self.mark = max(self.mark, (horizon_ms, NEVER))
        # What is told of late was due before now.
        self.paged = max(self.paged, min(self.mark, (now_ms, NEVER)))
        added = [
            delivery
            for delivery in near
            if delivery.row not in overlay
            and delivery.row not in self.busy
            and delivery.row not in self.entries
        ]
        for row, changed in overlay.items():
            if changed is None or row in self.busy:
                continue
            if (changed.due_ms, changed.row) <= self.mark:
                added.append(changed)
            else:
                self._leave_to_database(changed)
        return added

    def settled(self, row: int) -> None:
        """A row's attempt is on disk; a page read before that no longer knows about it."""
        self.busy.discard(row)
        if self.overlay is not None:
            self.overlay[row] = None

    def forget(self) -> None:
        """Drop everything that isn't in flight; the database has it all."""
        for entry in list(self.entries.values()):
            self.remove(entry)
        self.ready.clear()
        self.bulk.clear()
        self.mark = NOTHING_IN_MEMORY
        self.stored_from_ms = -NEVER
        self.overlay = None
        self.generation += 1

    def shrink(self) -> bool:
        """Forget everything where that is more than the lane may hold by now."""
        if not self.slow or len(self.entries) <= SLOW_ROWS:
            return False
        self.forget()
        return True

    def wants_page(self, now_ms: int) -> bool:
        """Whether the database should be asked for more."""
        return (
            not self.paused
            and self.overlay is None
            and self.stored_from_ms <= now_ms + LEAD_MS
            and len(self.entries) < LOW_WATER
        )

"""Who gets the next free slot: fair between webhooks, and proof against those that hang.

A slot is one request in flight. Three things share them out:

* **Turns.** Webhooks with something to send stand in three lines. One that had nothing to send a
  moment ago joins the first line, which is served first, one delivery each (the idea of fq_codel's
  sparse flows). Proven ones with no more than a burst waiting stand in the second, all others in
  the third, which gets a turn after three of the second's. So a quiet webhook never waits behind
  busy ones, one that keeps up isn't held to the share of those that work off a backlog, and nobody
  starves: whoever can't keep up soon has more than a burst waiting.
* **Allowance.** How many slots one webhook may hold at a time: 1 until it answered, then growing
  with every success up to `per_webhook`, cut by failures. A webhook that comes back after an
  outage is opened up step by step.
* **Standing.** What counts is how long a webhook keeps a slot, not how it answers. Those that
  keep it long may hold a quarter of all slots between them, those and the ones not tried yet
  three quarters; the rest is always free for webhooks that give slots back soon.
"""

import enum
from collections import deque
from typing import Final

from prynt_relay.dispatch.lane import Lane

SLOW_S: Final = 1.0
"""A webhook that keeps its slots longer than this, on a moving average, is slow."""

PROVEN_ALLOWANCE: Final = 8.0
"""Where a webhook starts that was proven before a restart; up to here it opens up one by one."""

BURST: Final = 64
"""Deliveries that a proven webhook may have waiting and be served before those with a backlog: what
a busy one gathers while a commit takes its time. Past it, it takes turns with them."""

SECOND_TURNS: Final = 3
"""Turns of the second line in a row while somebody stands in the third."""

_AVERAGE_WEIGHT: Final = 0.3


class Standing(enum.IntEnum):
    """How much trust a webhook has earned."""

    PROVEN = 0
    UNTRIED = 1
    SLOW = 2


class Turn:
    """One webhook's place in the lines, and the slots that it holds."""

    __slots__ = ("allowance", "deep", "held", "lane", "line", "slot_s", "standing")

    def __init__(self, lane: Lane, *, standing: Standing) -> None:
        self.lane = lane
        self.held = 0
        # More of it is due in the database than is in memory: what waits here says little.
        self.deep = False
        self.standing = standing
        lane.slow = standing is Standing.SLOW
        self.allowance = PROVEN_ALLOWANCE if standing is Standing.PROVEN else 1.0
        self.slot_s: float | None = None
        self.line: deque[Turn] | None = None

    def learn(self, *, success: bool, slot_s: float, most: int) -> bool:
        """Take in how an attempt went; True if the standing changed."""
        if success:
            step = 1.0 if self.allowance < PROVEN_ALLOWANCE else PROVEN_ALLOWANCE / self.allowance
            self.allowance = min(self.allowance + step, most)
        elif slot_s > SLOW_S:
            self.allowance = 1.0
        else:
            self.allowance = max(self.allowance / 2, 1.0)
        if self.slot_s is None:
            self.slot_s = slot_s
        else:
            self.slot_s += (slot_s - self.slot_s) * _AVERAGE_WEIGHT
        standing = Standing.SLOW if self.slot_s > SLOW_S else Standing.PROVEN
        changed = standing is not self.standing
        self.standing = standing
        self.lane.slow = standing is Standing.SLOW
        return changed


class Slots:
    """The slots, and the lines in front of them."""

    def __init__(self, total: int, per_webhook: int) -> None:
        self.taken = 0
        self._taken_by = [0, 0, 0]
        self.resize(total, per_webhook)
        self._first: deque[Turn] = deque()
        self._second: deque[Turn] = deque()
        self._third: deque[Turn] = deque()
        self._second_turns = 0
        # Nobody is ever in it: a turn that "stands" here gets no slot until it has rested.
        self._resting: deque[Turn] = deque()
        # Bounded, like the lines, by the number of webhooks: each stands in one place at most.
        self._parked: dict[Standing, deque[Turn]] = {
            Standing.UNTRIED: deque(),
            Standing.SLOW: deque(),
        }

    def resize(self, total: int, per_webhook: int) -> None:
        """Change how many slots there are; what is taken beyond that is given back in time."""
        self.total = total
        self.per_webhook = per_webhook
        # At least one slot for everybody, also where only a few exist in all.
        self._untrusted_limit = max(total - total // 4, 1)
        self._slow_limit = max(total // 4, 1)

    def join(self, turn: Turn) -> None:
        """A webhook got something to send; harmless if it stands in a line already."""
        if turn.line is None:
            # One that had nothing waiting and holds little keeps up with its events: go first.
            quiet = turn.lane.waiting <= 1 and turn.held < PROVEN_ALLOWANCE and not turn.deep
            if quiet:
                turn.line = self._first
                turn.line.append(turn)
            else:
                self._queue(turn)

    def leave(self, turn: Turn) -> None:
        """A webhook was disabled or deleted; a rest goes on, should it be enabled meanwhile."""
        if turn.line is not None and turn.line is not self._resting:
            turn.line.remove(turn)
            turn.line = None

    def rest(self, turn: Turn) -> None:
        """Give no slots to a webhook until `rested`; it keeps those that it has."""
        self.leave(turn)
        turn.line = self._resting

    def rested(self, turn: Turn) -> None:
        """A webhook may have slots again."""
        turn.line = None
        if turn.lane.waiting:
            self.join(turn)

    def is_resting(self, turn: Turn) -> bool:
        """Whether it is between `rest` and `rested`."""
        return turn.line is self._resting

    def take(self) -> Turn | None:
        """Give a slot to the webhook whose turn it is; None if no one can use one now.

        The caller starts an attempt, or gives the slot back with `unused`.
        """
        if self.taken >= self.total:
            return None
        while True:
            line = self._first or self._second_or_third()
            if not line:
                if self._unpark():
                    # Who was let out before had no use for the slot: it is the next one's.
                    continue
                return None
            turn = line.popleft()
            turn.line = None
            if not turn.lane.waiting or turn.held >= min(int(turn.allowance), self.per_webhook):
                # Joins again when something becomes ready or one of its slots comes back.
                continue
            if not self._admits(turn):
                turn.line = self._parked[turn.standing]
                turn.line.append(turn)
                continue
            turn.held += 1
            self.taken += 1
            self._taken_by[turn.standing] += 1
            if turn.lane.waiting > 1:
                self._queue(turn)
            return turn

    def _queue(self, turn: Turn) -> None:
        """Put a webhook at the back of the second line or the third."""
        short = turn.standing is Standing.PROVEN and not turn.deep and turn.lane.waiting <= BURST
        turn.line = self._second if short else self._third
        turn.line.append(turn)

    def _second_or_third(self) -> deque[Turn]:
        if self._second and (self._second_turns < SECOND_TURNS or not self._third):
            self._second_turns += 1
            return self._second
        self._second_turns = 0
        return self._third

    def unused(self, turn: Turn) -> None:
        """Give back a slot for which there was nothing to send after all."""
        self._release(turn)

    def give_back(self, turn: Turn, *, success: bool, slot_s: float) -> bool:
        """An attempt is over; True if its webhook's standing changed."""
        self._release(turn)
        before = turn.standing
        changed = turn.learn(success=success, slot_s=slot_s, most=self.per_webhook)
        if changed:
            # What it still holds now counts under the new standing.
            self._taken_by[before] -= turn.held
            self._taken_by[turn.standing] += turn.held
            if before is not Standing.PROVEN and turn.line is self._parked[before]:
                self.leave(turn)
        # Those that waited come before the one that just had its turn.
        self._unpark()
        if turn.lane.waiting and turn.line is None:
            self._queue(turn)
        return changed

    def _release(self, turn: Turn) -> None:
        turn.held -= 1
        self.taken -= 1
        self._taken_by[turn.standing] -= 1

    def _admits(self, turn: Turn) -> bool:
        if turn.standing is Standing.PROVEN:
            return True
        slow = self._taken_by[Standing.SLOW]
        if turn.standing is Standing.SLOW:
            return slow < self._slow_limit
        return slow + self._taken_by[Standing.UNTRIED] < self._untrusted_limit

    def _unpark(self) -> bool:
        """Let the first of each standing try again, where it may; True if there was one."""
        found = False
        for parked in self._parked.values():
            if parked and self._admits(parked[0]):
                self._queue(parked.popleft())
                found = True
        return found

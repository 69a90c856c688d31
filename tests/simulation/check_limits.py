"""Caps and shares of slots, watched at every request; and when slots were free."""

import math
from bisect import bisect_left

from prynt_relay.model.states import Outcome
from prynt_relay.model.webhook import Webhook
from tests.simulation.sim_journal import Attempt, Journal
from tests.simulation.sim_world import World

UNTRIED, PROVEN, SLOW = range(3)
SLOW_S = 1.0
WEIGHT = 0.3
DRIP_S, DRIP_HOLD_S, DRIP_CHARGE_S = 0.05, 0.6, 2.0
SETTLED_MS = 2_500
"""Between the moment when a slot is given and the request an event may have to be read."""


class Intervals:
    """When something held, in the world's time: in order, the last one perhaps open."""

    def __init__(self) -> None:
        self._from: list[float] = []
        self._until: list[float] = []

    def set(self, at: float, *, holds: bool) -> None:
        open_now = bool(self._until) and self._until[-1] == math.inf
        if holds and not open_now:
            self._from.append(at)
            self._until.append(math.inf)
        elif not holds and open_now:
            self._until[-1] = at

    def within(self, since: float, until: float) -> list[tuple[float, float]]:
        """What of it lies between two moments."""
        found = []
        for index in range(bisect_left(self._until, since), len(self._from)):
            if self._from[index] >= until:
                break
            found.append((max(self._from[index], since), min(self._until[index], until)))
        return found


class Standing:
    """What a webhook has earned (docs/architecture.md): computed here once more."""

    def __init__(self, webhook: Webhook) -> None:
        health = webhook.health
        self.value = PROVEN if health.proven else SLOW if health.failures else UNTRIED
        self.since = -math.inf
        self.average: float | None = None

    def learn(self, slot_s: float, now: float) -> None:
        if self.average is None:
            self.average = slot_s
        else:
            self.average += (slot_s - self.average) * WEIGHT
        value = SLOW if self.average > SLOW_S else PROVEN
        if value != self.value:
            self.value, self.since = value, now


class Limits:
    """Counts requests in flight, samples apart."""

    def __init__(self, world: World, journal: Journal, *, total: int, per_webhook: int) -> None:
        self._world = world
        self._journal = journal
        self.total = total
        self.per_webhook = per_webhook
        self.slow_limit = max(total // 4, 1)
        self.untrusted_limit = max(total - total // 4, 1)
        self._standing: dict[int, Standing] = {}
        self._held: dict[int, int] = {}
        self._flying: dict[int, int] = {}
        self._run = 0
        self.most = 0
        self.quiet = Intervals()
        self._free: dict[int, Intervals] = {}

    def began(self, webhooks: list[Webhook]) -> None:
        """A run of the relay began."""
        at = self._world.now
        self._standing = {webhook.row: Standing(webhook) for webhook in webhooks}
        self.quiet.set(at, holds=True)
        for free in self._free.values():
            free.set(at, holds=True)

    def over(self) -> None:
        """It ended, however that was."""
        at = self._world.now
        self._run += 1
        self._held.clear()
        self._flying.clear()
        for intervals in (self.quiet, *self._free.values()):
            intervals.set(at, holds=False)

    def free(self, webhook_row: int) -> Intervals:
        """When the relay ran with nothing in flight to this webhook."""
        intervals = self._free.get(webhook_row)
        if intervals is None:
            intervals = self._free[webhook_row] = Intervals()
            intervals.set(0, holds=True)
        return intervals

    def started(self, webhook: Webhook, attempt: Attempt) -> None:
        if attempt.is_test:
            return
        row = attempt.webhook_row
        standing = self._standing.get(row)
        if standing is None:
            standing = self._standing[row] = Standing(webhook)
        self._flying[row] = self._flying.get(row, 0) + 1
        self._held[row] = self._held.get(row, 0) + 1
        self.free(row).set(self._world.now, holds=False)
        self._note_quiet()
        self._check(row, standing)

    def _check(self, row: int, standing: Standing) -> None:
        flying = self._flying[row]
        total = sum(self._flying.values())
        self.most = max(self.most, total)
        wrong = self._journal.wrong
        if total > self.total:
            wrong("caps", f"{total} requests in flight, {self.total} are allowed")
        if flying > self.per_webhook:
            wrong("caps", f"{flying} to webhook {row}, {self.per_webhook} are allowed")
        old = self._world.now - SETTLED_MS
        slow = self._share(SLOW, old)
        if standing.value == UNTRIED:
            if flying > 1:
                wrong("caps", f"{flying} to webhook {row}, which has not answered yet")
            if slow + self._share(UNTRIED, math.inf) > self.untrusted_limit:
                wrong("caps", f"more than {self.untrusted_limit} to slow and untried webhooks")
        elif standing.value == SLOW and standing.since <= old and slow > self.slow_limit:
            wrong("caps", f"{slow} to slow webhooks, {self.slow_limit} are allowed")

    def _share(self, value: int, since: float) -> int:
        return sum(
            count
            for row, count in self._flying.items()
            if (standing := self._standing[row]).value == value and standing.since <= since
        )

    def ended(self, attempt: Attempt) -> None:
        if attempt.is_test:
            return
        row = attempt.webhook_row
        self._flying[row] -= 1
        drips = attempt.slot_s - attempt.duration_ms / 1000 >= DRIP_S
        if attempt.outcome is None or not drips:
            self._release(row, attempt.slot_s, attempt.outcome)
            return
        run = self._run

        def later() -> None:
            if run == self._run:
                self._release(row, DRIP_CHARGE_S, attempt.outcome)

        self._world.at(self._world.now + DRIP_HOLD_S * 1000, later)

    def _release(self, row: int, slot_s: float, outcome: Outcome | None) -> None:
        self._held[row] -= 1
        if outcome is not None:
            self._standing[row].learn(slot_s, self._world.now)
        if not self._held[row]:
            self.free(row).set(self._world.now, holds=True)
        self._note_quiet()

    def _note_quiet(self) -> None:
        self.quiet.set(self._world.now, holds=sum(self._held.values()) < self.slow_limit)

"""How a delivery may stand, and what retries and failed attempts make of that."""

from typing import NamedTuple

from prynt_relay.model.states import DeliveryState
from tests.simulation.sim_journal import Ask

SCHEDULED, DELIVERED, FAILED, HELD, CANCELLED = map(int, DeliveryState)


class State(NamedTuple):
    """One way in which a delivery may stand. `due` and `resume` are on the schedule's clock."""

    state: int
    failures: int = 0
    due: int = 0
    manual: bool = False
    resume: int | None = None
    asked: frozenset[int] = frozenset()  # the retries that were applied to it

    def settled(self, state: int) -> "State":
        return State(state, self.failures, 0, manual=False, resume=None, asked=self.asked)

    def retried(self, ask: Ask) -> "State | None":
        """After a retry, or None where it does not apply."""
        asked = self.asked | {ask.number}
        if self.state == CANCELLED:
            return None
        if ask.delivery is None:
            if self.state not in ask.states:
                return None
            if self.state == SCHEDULED and (self.failures == 0 or self.manual):
                return None
        if self.state != SCHEDULED:
            return State(SCHEDULED, 0, ask.at, manual=True, resume=None, asked=asked)
        resume = self.resume if self.manual else self.due
        return State(SCHEDULED, self.failures, ask.at, manual=True, resume=resume, asked=asked)

    def failed(self, schedule_s: tuple[float, ...], at: int) -> "State":
        """After a failed attempt that ended at `at`."""
        if self.resume is not None:
            return State(SCHEDULED, self.failures, max(self.resume, at), asked=self.asked)
        failures = self.failures + 1
        if failures > len(schedule_s):
            return State(FAILED, failures, asked=self.asked)
        due = at + round(schedule_s[failures - 1] * 1000)
        return State(SCHEDULED, failures, due, asked=self.asked)


States = set[State]

"""Every delivery's attempts against all that the contract allows to have happened to it.

What is inside the relay isn't looked at: for each delivery the checker keeps the set of states in
which it may be, given what publishers, operators and receivers saw. What nobody saw (whether a
conversion came before or after) keeps both possibilities; what everyone saw leaves one. An
attempt that no possible state allows is wrong, and so is one that does not come although every
possible state asks for it.
"""

import math
from collections.abc import Iterable, Iterator

from prynt_relay.model.states import DeliveryState, Outcome
from tests.simulation.check_limits import Limits
from tests.simulation.delivery_state import (
    CANCELLED,
    DELIVERED,
    FAILED,
    HELD,
    SCHEDULED,
    State,
    States,
)
from tests.simulation.sim_journal import Ask, Entry, Journal, Line
from tests.simulation.sim_plan import Plan
from tests.simulation.webhook_story import NEVER, Context, Story

LATE_MS = 3_000
"""A tick of the dispatcher, a page from a slow disk: by then an attempt has begun."""

STARVED_MS = 33_000
"""All slots may be held for a whole time-out by webhooks that were well until just now."""


class Tracker:
    """The states in which one delivery may be."""

    def __init__(
        self, journal: Journal, limits: Limits, key: tuple[int, int], states: States,
        *, since_ms: float, well: bool, told: float | None, boot_seq: int,
        kept_seq: float,
    ) -> None:  # fmt: skip
        # From when on it is sure to be on disk; never, where it may be purged.
        self._kept_seq = kept_seq
        # When (the world's time) its event is answered for: no attempt can be expected before.
        self._told = told
        self._boot_seq = boot_seq
        self._journal = journal
        self._free = limits.free(key[0])
        self._quiet = limits.quiet
        self._key = key
        self._schedule_s = journal.schedules[key[0]]
        self._received_ms = since_ms
        self._well = well
        self.states = states
        # In flight: pairs of the state that the attempt was made for and the one that is stored.
        self._flying: set[tuple[State, State]] | None = None
        # Ended and not known to be on disk: the states from before.
        self._before: States | None = None
        # When it is due, and from when on (the world's time) its attempt is awaited.
        self._waiting: tuple[int, float] | None = None
        self._touched = 0
        # Windows asked for since which nothing happened that takes the delivery out of them.
        self._windows: list[Ask] = []
        self.ok = True

    def wrong(self, invariant: str, text: str, entry: Entry) -> None:
        self.ok = False
        self._journal.wrong(
            invariant, f"delivery {self._key}: {text} (at {entry.at}, #{entry.seq})"
        )

    # --- what may happen unseen

    def _grown(self, states: Iterable[State], context: Context) -> States:
        """These states and all that may have become of them without anyone seeing it."""
        found = set(states)
        todo = list(found)
        while todo:
            state = todo.pop()
            for after in self._next(state, context):
                if after not in found:
                    found.add(after)
                    todo.append(after)
        return found

    def _next(self, state: State, context: Context) -> Iterator[State]:
        if context.hold and state.state == SCHEDULED:
            yield state.settled(HELD)
        if context.gone and state.state in (SCHEDULED, HELD):
            yield state.settled(CANCELLED)
        for ask in context.asks:
            if ask.number in state.asked or ask.delivery not in (None, self._key):
                continue
            if ask.delivery is None and self._received_ms < ask.since_ms - 1000:
                continue
            after = state.retried(ask)
            if after is not None:
                yield after

    def grow(self, context: Context) -> None:
        """Let happen what may have happened since the last entry."""
        if not (context.hold or context.gone or context.asks):
            return
        if self._flying is not None:
            self._flying = {
                (made_for, after)
                for made_for, stored in self._flying
                for after in self._grown((stored,), context)
            }
        else:
            self.states = self._grown(self.states, context)
        if self._before is not None:
            self._before = self._grown(self._before, context)

    # --- what was seen

    def pass_by(self, story: Story, begin: int, end: int) -> None:
        """See what came to the webhook between two entries of the delivery's own."""
        index = begin
        while index < end and self.ok:
            if self._over():
                # Most deliveries were, long before.
                index = story.next_asked(self._key, index)
                if index >= end:
                    return
            self.see(story.contexts[index].entry, story.before(index), story.contexts[index])
            index += 1

    def _over(self) -> bool:
        """Whether it is settled, on disk, and in no window."""
        return (
            self._flying is None
            and self._before is None
            and not self._windows
            and all(state.state in (DELIVERED, FAILED, CANCELLED) for state in self.states)
        )

    def see(self, entry: Entry, before: Context, after: Context) -> None:
        """One entry of the journal, with how its webhook stands before and after it."""
        if entry.seq >= self._boot_seq:
            self._told = 0  # by then a start has found whatever is on disk
        self._check_late(entry)
        self.grow(before)
        match entry.kind:
            case "start":
                self._start(entry, before)
            case "end":
                self._end(entry, before)
            case "settled":
                self._before = None
            case "cut":
                self._cut()
            case _:
                self._operated(entry)
        if entry.kind in ("start", "end", "settled", "cut"):
            self._touched = entry.seq
            self._windows.clear()
        if after.forced > before.forced:
            self._force_held(after)
        self._wait(entry, after)

    def _operated(self, entry: Entry) -> None:
        """An operator did something, or was told that it is done."""
        match entry.kind:
            case "ask_call" if entry.what.delivery == self._key:
                self._touched = 0
            case "ask_done":
                self._asked(entry.what)
            case "window_call":
                self._window_asked(entry)
            case "jobs_done":
                self._windows_over(entry)
            case "disable_call" | "failing" | "enable_call" | "delete_call":
                self._windows.clear()

    def _start(self, entry: Entry, context: Context) -> None:
        if self._flying is not None or self._before is not None:
            self.wrong("one at a time", "sent again before the attempt before is on disk", entry)
            return
        allowed = {
            state for state in self.states if state.state == SCHEDULED and state.due <= entry.at
        }
        if context.status == "off" or context.gone == 2:
            allowed = set()
        if not allowed:
            due = [state.due for state in self.states if state.state == SCHEDULED]
            if due and context.status != "off":
                self.wrong("not before its time", f"{min(due) - entry.at} ms early", entry)
            else:
                names = sorted({DeliveryState(state.state).label for state in self.states})
                what = f"an attempt that nobody asked for: {names}, webhook {context.status}"
                self.wrong("never more attempts", what, entry)
            return
        self._flying = {(state, state) for state in allowed}

    def _end(self, entry: Entry, context: Context) -> None:
        if self._flying is None:
            self.wrong("one at a time", "an attempt ends that never began", entry)
            return
        self._before = {stored for _, stored in self._flying}
        after: States = set()
        for made_for, stored in self._flying:
            after |= self._after(made_for, stored, entry, context)
        self._flying = None
        self.states = after

    def _after(self, made_for: State, stored: State, entry: Entry, context: Context) -> States:
        asked = stored.asked | made_for.asked
        if entry.what.outcome is Outcome.SUCCESS:
            return {State(DELIVERED, made_for.failures, asked=asked)}
        made = made_for.failed(self._schedule_s, entry.at)._replace(asked=asked)
        if stored.state in (HELD, CANCELLED):
            # It stays so. Only a retry that came between makes it what the attempt says.
            return {State(stored.state, made.failures, asked=asked)}
        found = set()
        if made.state == SCHEDULED and context.status != "on":
            found.add(made.settled(HELD))
        if context.gone:
            found.add(made.settled(CANCELLED))
        if context.gone != 2 and not (made.state == SCHEDULED and context.status == "off"):
            found.add(made)
        return found

    def _cut(self) -> None:
        """A crash: what was not on disk has not happened."""
        if self._flying is not None:
            self.states = {stored for _, stored in self._flying}
            self._flying = None
        elif self._before is not None:
            self.states |= self._before
        self._before = None

    def _asked(self, ask: Ask) -> None:
        """A retry is done: where nothing came between, it was applied."""
        at_rest = self._flying is None and self._before is None and not self._touched
        if ask.delivery == self._key and at_rest:
            applied = {state for state in self.states if ask.number in state.asked}
            self.states = applied or self.states

    def _window_asked(self, entry: Entry) -> None:
        """Whether a window must take the delivery, should nothing come between."""
        ask = entry.what
        at_rest = self._flying is None and self._before is None
        if at_rest and self._kept_seq < entry.seq and self._received_ms >= ask.since_ms + 1000:
            self._windows.append(ask)

    def _windows_over(self, entry: Entry) -> None:
        """Windows are worked off: those that were accepted, also by a run after a crash.

        What was due by itself may have had its slot already: that attempt is the one asked for.
        """
        for ask in self._windows:
            if ask.accepted and ask.number in entry.what:
                self.states = {
                    state
                    for state in self.states
                    if ask.number in state.asked
                    or state.retried(ask) is None
                    or (state.state == SCHEDULED and state.due <= entry.at)
                }
        self._windows = [ask for ask in self._windows if ask.number not in entry.what]

    def _force_held(self, context: Context) -> None:
        """The webhook is enabled again: what was scheduled before is held, all of it."""

        def held(state: State) -> State:
            return state.settled(HELD) if state.state == SCHEDULED else state

        if self._flying is not None:
            self._flying = {(made_for, held(stored)) for made_for, stored in self._flying}
        else:
            self.states = {held(state) for state in self.states}
            if self._before is not None:
                self._before = {held(state) for state in self._before}

    # --- what was not seen in time

    def _wait(self, entry: Entry, context: Context) -> None:
        waits = (
            self._flying is None
            and self._before is None
            and context.up
            and context.status == "on"
            and not context.gone
            and not context.asks
            and not context.hold
            and self._told is not None
            and all(state.state == SCHEDULED for state in self.states)
        )
        if not waits:
            self._waiting = None
            return
        due = max(state.due for state in self.states)
        if self._waiting is None or self._waiting[0] != due:
            # The schedule's clock may run a hundredth slower than the world's.
            since = entry.now + max(due - entry.at, 0) * 1.0102
            self._waiting = (due, max(since, self._told or 0))

    def _check_late(self, entry: Entry) -> None:
        if self._waiting is None:
            return
        since = self._waiting[1]
        if entry.now - since <= LATE_MS:
            return
        for begin, end in self._free.within(since, entry.now):
            if self._well and end - begin > STARVED_MS:
                self.wrong("never starved", f"due at {since:.0f}, nothing until {end:.0f}", entry)
                return
            for quiet_begin, quiet_end in self._quiet.within(begin, end):
                if quiet_end - quiet_begin > LATE_MS:
                    late = (
                        f"due at {since:.0f}, slots were free from {quiet_begin:.0f} "
                        f"to {quiet_end:.0f}"
                    )
                    self.wrong("not late", late, entry)
                    return


def check_delivery(
    journal: Journal, limits: Limits, key: tuple[int, int], line: Line | None,
    story: Story, *, well: bool, plan: Plan,
) -> Tracker:  # fmt: skip
    """Follow one delivery from its event's line to the end.

    Where bounds are small a fan-out takes several transactions. The event is answered after the
    last, as are those that came with it, and only then the dispatcher is told.
    """
    kept_seq: float = math.inf
    if line is not None and line.answered_seq is not None and plan.history_s is None:
        kept_seq = line.answered_seq
    begin = 0 if line is None else line.seq
    contexts = story.contexts
    index = story.first_after(begin)
    sample = {State(FAILED), State(DELIVERED)}
    states = sample if line is None else _accepted(contexts, index, line)
    tracker = Tracker(
        journal, limits, key, states,
        # Samples are in no window.
        since_ms=-math.inf if line is None else line.wall_ms, well=well,
        told=line.answered if plan.small_bounds and line is not None else 0,
        boot_seq=story.next_boot(begin), kept_seq=kept_seq,
    )  # fmt: skip
    own = [entry for entry in journal.by_delivery.get(key, []) if entry.seq > begin]
    for entry in own:
        until = story.first_after(entry.seq)
        tracker.pass_by(story, index, until)
        index = until
        if tracker.ok:
            before = story.before(index)
            tracker.see(entry, before, before)
    tracker.pass_by(story, index, len(contexts))
    return tracker


def _accepted(contexts: list[Context], index: int, line: Line) -> States:
    """How a delivery begins: scheduled, or held where its webhook is off, as of the line."""
    until = line.answered_seq or NEVER
    statuses = {contexts[index - 1].status} if index else set()
    for context in contexts[index:]:
        if context.entry.seq > until or context.entry.kind in ("crash", "stop"):
            break
        statuses.add(context.status)
    states = set()
    if statuses != {"off"}:
        states.add(State(SCHEDULED, due=line.at))
    if statuses != {"on"}:
        states.add(State(HELD))
    return states

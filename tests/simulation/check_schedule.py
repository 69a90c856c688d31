"""Everything that was acknowledged arrived, and nothing else did."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from prynt_relay.model.states import Outcome
from tests.simulation.check_delivery import Tracker, check_delivery
from tests.simulation.check_limits import Limits
from tests.simulation.delivery_state import FAILED, HELD
from tests.simulation.sim_journal import Journal, Line
from tests.simulation.sim_plan import Plan
from tests.simulation.webhook_story import NEVER, Context, Story


def check_schedule(journal: Journal, limits: Limits, plan: Plan, well: set[int]) -> None:
    """Follow every delivery, and see that all that was acknowledged has arrived."""
    stories = {row: Story(journal, row) for row in journal.webhook_ids}
    lines = Origins(journal, window_ms=plan.dedup_window_s * 1000)
    trackers: dict[tuple[int, int], Tracker] = {}
    for key in list(journal.by_delivery):
        row, event_row = key
        line = lines.of(event_row)
        if line is None and event_row not in journal.samples:
            journal.wrong("nothing made up", f"event {event_row} was never sent to the relay")
            continue
        if line is not None and not _may_match(journal, stories[row], row, line):
            journal.wrong("nothing made up", f"delivery {key} should not exist")
        trackers[key] = check_delivery(
            journal, limits, key, line, stories[row], well=row in well, plan=plan
        )
    for line in lines.accepted():
        stored = lines.row_of(line)
        for row, story in stories.items():
            if _must_match(journal, story, row, line):
                key = (row, -1 if stored is None else stored)
                _check_arrived(journal, plan, key, line, story.contexts, trackers.get(key))


def _check_arrived(
    journal: Journal, plan: Plan, key: tuple[int, int], line: Line, contexts: list[Context],
    tracker: Tracker | None,
) -> None:  # fmt: skip
    if contexts[-1].gone:
        return
    for entry in journal.by_delivery.get(key, []):
        if entry.kind == "end" and entry.what.outcome is Outcome.SUCCESS:
            return
    if plan.history_s is not None and _may_be_purged(journal, key, line, contexts, tracker):
        return
    journal.wrong("nothing lost", f"event {line.answer} never arrived at webhook {key[0]} ({key})")


def _may_be_purged(
    journal: Journal, key: tuple[int, int], line: Line, contexts: list[Context],
    tracker: Tracker | None,
) -> bool:  # fmt: skip
    """Whether it may have been settled or held when it was older than the history."""
    if tracker is None:
        # How it stood when the line came, and at every moment since.
        index = bisect_right([context.entry.seq for context in contexts], line.seq)
        return any(context.status != "on" for context in contexts[max(index - 1, 0) :])
    return any(state.state in (FAILED, HELD) for state in tracker.states)


def _may_match(journal: Journal, story: Story, row: int, line: Line) -> bool:
    types = journal.subscriptions[row]
    if types != ("*",) and line.event_type not in types:
        return False
    began = story.contexts[0].entry.what[0]
    return began < (line.answered_seq or NEVER) and story.gone_seq > line.seq


def _must_match(journal: Journal, story: Story, row: int, line: Line) -> bool:
    types = journal.subscriptions[row]
    if types != ("*",) and line.event_type not in types:
        return False
    return story.contexts[0].entry.seq < line.seq and story.going_seq > (line.answered_seq or 0)


class Origins:
    """Which line an event came with."""

    def __init__(self, journal: Journal, *, window_ms: float) -> None:
        self._journal = journal
        self._window_ms = window_ms
        self._accepted: dict[str, Line] = {}
        self._open: dict[int, list[Line]] = defaultdict(list)
        self._by_message: dict[int, list[Line]] = defaultdict(list)
        for line in journal.lines:
            if line.code is not None:
                continue
            self._by_message[line.message].append(line)
            if line.answer is None:
                self._open[line.message].append(line)
            elif line.answer["ok"] and not line.answer["duplicate"]:
                event_id = line.answer["eventId"]
                if event_id in self._accepted and line.own_id is None:
                    journal.wrong("dedup", f"{event_id} was given to two events")
                self._accepted[event_id] = line
        self._rows = {event_id: row for row, (event_id, _) in journal.events.items()}
        self._check_repeats()

    def accepted(self) -> Iterable[Line]:
        return self._accepted.values()

    def row_of(self, line: Line) -> int | None:
        assert line.answer is not None
        return self._rows.get(line.answer["eventId"])

    def of(self, event_row: int) -> Line | None:
        """Acknowledged with this id; else the first line with its content and no answer."""
        found = self._journal.events.get(event_row)
        if found is None:
            return None
        event_id, message = found
        line = self._accepted.get(event_id)
        if line is None:
            line = next(iter(self._open.get(message, [])), None)
        return line

    def _check_repeats(self) -> None:
        """What came again within the window is not stored again, and answered with the first."""
        rows: dict[int, set[int]] = defaultdict(set)
        for row, (_, message) in self._journal.events.items():
            if row not in self._journal.samples:
                rows[message].add(row)
        for message, found in rows.items():
            walls = [line.wall_ms for line in self._by_message[message]]
            near = not self._journal.jumps and max(walls) - min(walls) < 0.95 * self._window_ms
            if len(found) > 1 and (near or len(walls) == 1):
                self._journal.wrong("dedup", f"message {message} became events {sorted(found)}")
        for message, lines in self._by_message.items():
            answers = [line.answer for line in lines if line.answer and line.answer["ok"]]
            if answers and answers[0]["duplicate"] and len(lines) == 1:
                self._journal.wrong("dedup", f"message {message} repeats nothing: {answers[0]}")

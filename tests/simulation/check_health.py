"""The 24-hour rule, computed here once more from what the receivers answered."""

from typing import TYPE_CHECKING, NamedTuple

from prynt_relay.model.delivery import Settlement
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import DisabledReason, Outcome
from prynt_relay.model.webhook import Health, Webhook
from prynt_relay.webhooks.registry import Registry
from tests.simulation.sim_journal import Attempt, Journal
from tests.simulation.sim_world import SimClock

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_MS = 86_400_000
STARTING_MS = 10_000
"""From the reading of the webhooks to the end of a start."""


class Known(NamedTuple):
    """What an operator could see of a webhook's health."""

    since_ms: int | None
    from_ms: int | None
    excused_ms: int
    failures: int
    warned: bool
    enabled: bool

    def failed(self, wall_ms: int, at: int) -> tuple["Known", str | None]:
        """After one more failure: what is known then, and whether people are told."""
        if self.from_ms is None:
            return self._replace(
                since_ms=wall_ms, from_ms=at, excused_ms=0, failures=1, warned=False
            ), None
        failing_ms = at - self.from_ms - self.excused_ms
        after = self._replace(failures=self.failures + 1)
        if failing_ms >= DAY_MS:
            return (after._replace(enabled=False), "disabled") if self.enabled else (after, None)
        if failing_ms * 2 >= DAY_MS and not self.warned:
            return after._replace(warned=True), "warned" if self.enabled else None
        return after, None

    def after(self, attempt: Attempt, wall_ms: int) -> tuple["Known", str | None]:
        """After an attempt that ended, whichever way."""
        if attempt.outcome is Outcome.SUCCESS:
            return self.afresh(), None
        assert attempt.ended_at is not None
        return self.failed(wall_ms, attempt.ended_at)

    def afresh(self) -> "Known":
        return Known(None, None, 0, 0, warned=False, enabled=self.enabled)


def known(webhook: Webhook) -> Known:
    """What the relay says."""
    health: Health = webhook.health
    return Known(
        health.failing_since_ms,
        health.failing_from_ms,
        health.excused_ms,
        health.failures,
        health.warned,
        webhook.enabled,
    )


History = list[tuple[Attempt | None, Known]]
"""What became of a webhook, oldest first, each state with the attempt that made it so."""


class Enabling:
    """An operator asked for a webhook to be enabled and was not told yet that it is.

    In between its count starts afresh, nobody sees when. Attempts that end meanwhile tell the
    possible moments apart as soon as they come out differently; a first failure of a webhook that
    had none does not, and then both stay possible.
    """

    def __init__(self, fresh: Known) -> None:
        self._fresh = fresh
        # Whether it may be still to come; and what may have become of it since it came.
        self._to_come = True
        self.since: list[History] = [[(None, fresh)]]

    def judged(
        self, attempt: Attempt, before: Known, found: Known, *, wall_ms: int
    ) -> tuple[Known, str | None] | None:
        """An attempt made `found` of it; None if there is no moment that explains that."""
        after, news = before.after(attempt, wall_ms)
        self._to_come = self._to_come and after == found
        explained = (after, news) if self._to_come else None
        since: list[History] = []
        for history in self.since:
            after, news = history[-1][1].after(attempt, wall_ms)
            if after == found:
                since.append([*history, (attempt, after)])
                explained = explained or (after, news)
        if self._to_come:
            since.append([(None, self._fresh)])
        self.since = since
        return explained

    def over(self, found: Known) -> History | None:
        """It is done and left `found`; None if nothing explains that."""
        for history in self.since:
            if history[-1][1]._replace(enabled=True) == found:
                return history
        return None


class HealthRule:
    """Follows every webhook through attempts, operators and restarts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._clock: SimClock | None = None
        self._now: dict[int, Known] = {}
        # What the disk may have.
        self._stored: dict[int, History] = {}
        self._last: dict[tuple[int, int], Attempt] = {}
        self._found: dict[int, Known] = {}
        self._enabling: dict[int, Enabling] = {}
        self._enabled: dict[int, set[bool]] = {}
        self._unsettled: dict[tuple[int, int], Attempt] = {}
        self._excused_ms = 0
        self._whole_start = True
        self.on_disabled: Callable[[int], None] = lambda row: None
        self.told: dict[str, int] = {"disabled": 0, "warned": 0}

    def running(self, clock: SimClock) -> None:
        """A run begins."""
        self._clock = clock

    def stored(self, webhooks: list[Webhook], *, alive_ms: int, at: int) -> None:
        """What a run finds when it starts: something that was true lately."""
        self._found.clear()
        self._enabling.clear()
        for webhook in webhooks:
            candidates = self._stored.get(webhook.row)
            found = known(webhook)
            if candidates is not None:
                seen = [self._comparable(state) for _, state in candidates]
                maybe = self._enabled[webhook.row]
                if self._comparable(found) not in seen or found.enabled not in maybe:
                    self._journal.wrong(
                        "24-hour rule", f"webhook {webhook.row} comes back as {found}, not {seen}"
                    )
            self._stored[webhook.row] = [(None, found)]
            self._now[webhook.row] = self._found[webhook.row] = found
            self._enabled[webhook.row] = {found.enabled}
        self._excused_ms = at - alive_ms if alive_ms > 0 else 0
        self._whole_start = False

    def _comparable(self, state: Known) -> Known:
        state = state._replace(enabled=True)
        return state if self._whole_start else state._replace(excused_ms=0)

    def started(self, registry: Registry) -> None:
        """The start is over: the time away is excused, neither more nor less."""
        for webhook in registry:
            before = self._found.get(webhook.row)
            state = known(webhook)
            if before is None:
                continue
            excused_ms = state.excused_ms - before.excused_ms
            expected_ms = max(self._excused_ms, 0) if before.from_ms is not None else 0
            margin_ms = 0 if before.from_ms is None else STARTING_MS
            if not 0 <= excused_ms - expected_ms <= margin_ms:
                self._journal.wrong(
                    "24-hour rule",
                    f"webhook {webhook.row}: {excused_ms} ms excused of {expected_ms} ms away",
                )
            self._set(webhook.row, None, state)
        self._whole_start = True

    def created(self, webhook: Webhook) -> None:
        self._now[webhook.row] = known(webhook)
        self._stored[webhook.row] = [(None, known(webhook))]
        self._enabled[webhook.row] = {webhook.enabled}

    def switching(self, webhook: Webhook, *, enabled: bool) -> None:
        """An operator asks for a change: the disk may have it from now on."""
        state = self._now.get(webhook.row)
        if state is not None and webhook.enabled is not enabled:
            self._enabled[webhook.row].add(enabled)
            if enabled:
                self._stored[webhook.row].append((None, state.afresh()))
                self._enabling[webhook.row] = Enabling(state.afresh())

    def switched(self, before: Webhook, after: Webhook) -> None:
        """The operator was told that this is done."""
        row = after.row
        if before.enabled is after.enabled:
            return
        self._enabled[row] = {after.enabled}
        self._now[row] = self._now[row]._replace(enabled=after.enabled)
        if after.enabled:
            # Afresh, and what was judged by that already while the change was being written.
            enabling = self._enabling.pop(row)
            since = enabling.over(known(after))
            if since is None:
                self._journal.wrong(
                    "24-hour rule",
                    f"webhook {row} is enabled as {known(after)}, to be one of {enabling.since}",
                )
                since = [(None, known(after))]
            self._now[row] = since[-1][1]._replace(enabled=True)
            self._stored[row] = since

    def deleted(self, row: int) -> None:
        self._now.pop(row, None)
        self._stored.pop(row, None)
        self._enabled.pop(row, None)

    def _set(self, row: int, attempt: Attempt | None, state: Known) -> None:
        self._now[row] = state
        self._stored.setdefault(row, []).append((attempt, state))

    def ended(self, attempt: Attempt) -> None:
        """An attempt is over; the relay judges it in the same breath."""
        self._last[attempt.webhook_row, attempt.event_row] = attempt

    def attempted(
        self, settlement: Settlement, webhook: Webhook, event: StoredEvent, registry: Registry
    ) -> None:
        """The relay has judged an attempt."""
        journal = self._journal
        attempt = self._last.pop((webhook.row, event.row))
        attempt.delivery_row, attempt.number = settlement.delivery_row, settlement.number
        key = journal.delivery_rows.setdefault(settlement.delivery_row, (webhook.row, event.row))
        if key != (webhook.row, event.row):
            journal.wrong("the log", f"delivery {settlement.delivery_row} is {key}")
        self._unsettled[settlement.delivery_row, settlement.number] = attempt
        current = registry.by_row(webhook.row)
        before = self._now.get(webhook.row)
        if current is None or before is None or attempt.ended_at is None:
            return
        assert self._clock is not None
        before = before._replace(enabled=before.enabled and self._was_enabled(current))
        if event.row in journal.samples:
            if webhook.row not in self._enabling and known(current) != before:
                journal.wrong("24-hour rule", f"a sample made {known(current)} of {before}")
            return
        wall_ms = self._clock.wall_ms()
        enabling = self._enabling.get(webhook.row)
        explained = None
        if enabling is not None:
            explained = enabling.judged(attempt, before, known(current), wall_ms=wall_ms)
        after, news = explained or before.after(attempt, wall_ms)
        self._set(webhook.row, attempt, after)
        if news is not None:
            self.told[news] += 1
        if known(current) != after:
            journal.wrong(
                "24-hour rule", f"webhook {webhook.row} is {known(current)}, to be {after}"
            )
            self._now[webhook.row] = known(current)
        if news == "disabled":
            self._enabled[webhook.row].add(False)
            journal.webhook(webhook.row, attempt.ended_at, "failing")
            self.on_disabled(webhook.row)

    @staticmethod
    def _was_enabled(current: Webhook) -> bool:
        """Off by an operator whose change is in force and who has not been told yet."""
        return current.enabled or current.disabled_reason is DisabledReason.FAILING

    def settled(self, settlement: Settlement) -> None:
        """An attempt is on disk."""
        attempt = self._unsettled.pop((settlement.delivery_row, settlement.number))
        assert self._clock is not None
        attempt.fate = "settled"
        self._journal.delivery(attempt, self._clock.schedule_ms(), "settled")
        candidates = self._stored.get(settlement.webhook_row, [])
        for index, (its, _) in enumerate(candidates):
            if its is attempt:
                del candidates[:index]
                break

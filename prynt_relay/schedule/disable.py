"""The 24-hour rule: when a failing webhook is warned about and when it is disabled.

Contract, section 4: a webhook whose attempts have all failed for `disable_after`, counted from
its first failure since its last success, is disabled; at half that time a warning goes out. Time
in which the relay did not run is excused. The rule is looked at whenever an attempt fails.
"""

import enum

from msgspec.structs import replace

from prynt_relay.model.webhook import Health


class Verdict(enum.Enum):
    """What a failure means for its webhook."""

    NOTHING = enum.auto()
    WARN = enum.auto()
    DISABLE = enum.auto()


class DisablePolicy:
    """Applies the rule to a webhook's `Health`."""

    def __init__(self, disable_after_s: float) -> None:
        self.disable_after_ms = round(disable_after_s * 1000)

    def after_failure(
        self, health: Health, *, wall_ms: int, schedule_ms: int
    ) -> tuple[Health, Verdict]:
        """The health after one more failed attempt, and what follows from it."""
        if health.failing_from_ms is None:
            return Health(
                failing_since_ms=wall_ms,
                failing_from_ms=schedule_ms,
                failures=1,
                proven=health.proven,
            ), Verdict.NOTHING
        failing_ms = self.failing_ms(health, schedule_ms)
        counted = replace(health, failures=health.failures + 1)
        if failing_ms >= self.disable_after_ms:
            return counted, Verdict.DISABLE
        if not health.warned and failing_ms * 2 >= self.disable_after_ms:
            return replace(counted, warned=True), Verdict.WARN
        return counted, Verdict.NOTHING

    def after_success(self, health: Health) -> Health:
        """The health after a success: the count starts afresh."""
        if health.failing_from_ms is None:
            return health
        return Health(proven=health.proven)

    def failing_ms(self, health: Health, schedule_ms: int) -> int:
        """For how long the webhook has been failing while the relay ran."""
        if health.failing_from_ms is None:
            return 0
        return schedule_ms - health.failing_from_ms - health.excused_ms

    def disable_at_wall_ms(self, health: Health, *, wall_ms: int, schedule_ms: int) -> int:
        """The moment from which on a failure disables it, if the relay keeps running.

        It may be past: without a failed attempt the rule isn't looked at.
        """
        return wall_ms + self.disable_after_ms - self.failing_ms(health, schedule_ms)

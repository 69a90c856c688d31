"""When a failed attempt is followed by another (specification, section 6)."""

from collections.abc import Sequence


def next_attempt_ms(schedule_s: Sequence[float], failures: int, ended_ms: int) -> int | None:
    """When to try again after the `failures`-th failure in a row of a schedule.

    Each delay counts from the end of the attempt before it. None: the schedule is used up and
    the delivery has failed.
    """
    if failures > len(schedule_s):
        return None
    return ended_ms + round(schedule_s[failures - 1] * 1000)

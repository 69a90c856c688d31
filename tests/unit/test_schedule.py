"""The timer wheel, the retry delays and the 24-hour rule."""

import random

import pytest

from prynt_relay.model.webhook import Health
from prynt_relay.schedule.disable import DisablePolicy, Verdict
from prynt_relay.schedule.retry import next_attempt_ms
from prynt_relay.schedule.wheel import SLOTS, TICK_MS, TimerWheel

DAY_MS = 86_400_000


def test_the_wheel_never_fires_early_and_at_most_a_tick_late() -> None:
    """Whatever is added comes out once, not before it is due and within one tick after."""
    rng = random.Random(7)
    wheel: TimerWheel[int] = TimerWheel(1_000_000)
    due = {n: 1_000_000 + rng.randrange(0, 3 * SLOTS * TICK_MS) for n in range(3000)}
    for number, due_ms in due.items():
        wheel.add(due_ms, number)
    assert len(wheel) == 3000
    fired: dict[int, int] = {}
    now_ms = 1_000_000
    while len(wheel):
        next_ms = wheel.next_due_ms()
        assert next_ms is not None
        assert next_ms > now_ms
        now_ms = next_ms
        for number in wheel.expire(now_ms):
            assert number not in fired
            fired[number] = now_ms
    assert fired.keys() == due.keys()
    assert all(0 <= fired[n] - due[n] <= TICK_MS for n in due if due[n] > 1_000_000 + TICK_MS)


def test_the_wheel_gives_out_everything_after_a_long_pause() -> None:
    """A jump over several turns of the wheel fires what is due, in order, and keeps the rest."""
    wheel: TimerWheel[str] = TimerWheel(0)
    turn_ms = SLOTS * TICK_MS
    wheel.add(5 * turn_ms, "far")
    wheel.add(2 * turn_ms + 40, "second")
    wheel.add(40, "first")
    assert wheel.expire(3 * turn_ms) == ["first", "second"]
    assert wheel.next_due_ms() == 5 * turn_ms
    assert wheel.expire(5 * turn_ms) == ["far"]
    assert wheel.next_due_ms() is None


def test_what_is_overdue_comes_out_at_the_next_tick() -> None:
    """An item that is due in the past is not lost behind the hand of the wheel."""
    wheel: TimerWheel[str] = TimerWheel(10_000)
    wheel.expire(20_000)
    wheel.add(5_000, "late")
    assert wheel.expire(20_000) == []
    assert wheel.expire(20_000 + TICK_MS) == ["late"]


@pytest.mark.parametrize(
    ("schedule_s", "failures", "expected"),
    [
        ((300.0, 1800.0), 1, 1_300_000),
        ((300.0, 1800.0), 2, 2_800_000),
        ((300.0, 1800.0), 3, None),
        ((), 1, None),
        ((0.5,), 1, 1_000_500),
    ],
)
def test_each_delay_counts_from_the_end_of_the_failure_before_it(
    schedule_s: tuple[float, ...], failures: int, expected: int | None
) -> None:
    """The n-th failure waits for the n-th delay; when the delays are used up nothing follows."""
    assert next_attempt_ms(schedule_s, failures, 1_000_000) == expected


def test_a_webhook_is_warned_at_half_time_and_disabled_after_the_whole() -> None:
    """Failures count from the first one; the warning comes once, the disabling at 24 h."""
    policy = DisablePolicy(86_400.0)
    health, verdict = policy.after_failure(Health(), wall_ms=5_000, schedule_ms=1_000)
    assert (health.failing_since_ms, health.failing_from_ms, verdict) == (
        5_000,
        1_000,
        Verdict.NOTHING,
    )
    verdicts = []
    for after_ms in (DAY_MS // 2 - 1, DAY_MS // 2, DAY_MS // 2 + 1, DAY_MS - 1, DAY_MS):
        health, verdict = policy.after_failure(health, wall_ms=0, schedule_ms=1_000 + after_ms)
        verdicts.append(verdict)
    assert verdicts == [
        Verdict.NOTHING,
        Verdict.WARN,
        Verdict.NOTHING,
        Verdict.NOTHING,
        Verdict.DISABLE,
    ]
    assert health.failures == 6


def test_a_success_starts_the_count_afresh() -> None:
    """After a success in between, 24 h begin with the next failure."""
    policy = DisablePolicy(86_400.0)
    health, _ = policy.after_failure(Health(proven=True), wall_ms=0, schedule_ms=0)
    health, _ = policy.after_failure(health, wall_ms=0, schedule_ms=DAY_MS - 1)
    health = policy.after_success(health)
    assert health == Health(proven=True)
    health, verdict = policy.after_failure(health, wall_ms=0, schedule_ms=DAY_MS + 5)
    assert verdict is Verdict.NOTHING
    assert health.failing_from_ms == DAY_MS + 5


def test_time_in_which_the_relay_did_not_run_is_excused() -> None:
    """A day's outage of the relay itself brings no webhook closer to being disabled."""
    policy = DisablePolicy(86_400.0)
    health = Health(failing_since_ms=0, failing_from_ms=0, excused_ms=DAY_MS, failures=1)
    health, verdict = policy.after_failure(health, wall_ms=0, schedule_ms=DAY_MS + 60_000)
    assert verdict is Verdict.NOTHING
    assert policy.failing_ms(health, DAY_MS + 60_000) == 60_000
    assert policy.disable_at_wall_ms(health, wall_ms=7, schedule_ms=DAY_MS + 60_000) == (
        7 + DAY_MS - 60_000
    )


def test_the_moment_of_disabling_stays_when_it_is_past() -> None:
    """A webhook that was sent nothing since its deadline keeps that moment."""
    policy = DisablePolicy(60.0)
    health = Health(failing_since_ms=1000, failing_from_ms=1000, failures=1)
    moments = {
        policy.disable_at_wall_ms(health, wall_ms=now, schedule_ms=now)
        for now in (1000, 61_000, 62_000, DAY_MS)
    }
    assert moments == {61_000}

"""What time it is for what goes once it is old enough."""

from prynt_relay.clock import AHEAD_MS, BELIEVED_AFTER_S, Age
from tests.clock import FakeClock


async def test_it_is_the_walls_time_while_the_wall_is_believed() -> None:
    """The wall counts, also behind the schedule or a little ahead of it."""
    clock = FakeClock()
    age = Age(clock)
    for offset_ms in (0, -86_400_000, AHEAD_MS - 1):
        clock.wall_offset_ms = offset_ms
        assert age.now_ms() == clock.wall_ms()


async def test_a_wall_that_was_set_forward_is_believed_after_a_day() -> None:
    """Until then nothing is older than the schedule says; each jump has a day of its own."""
    clock = FakeClock()
    age = Age(clock)
    clock.wall_offset_ms = 31 * 86_400_000
    assert age.now_ms() == clock.schedule_ms()
    await clock.advance(BELIEVED_AFTER_S - 1)
    assert age.now_ms() == clock.schedule_ms()
    clock.wall_offset_ms = 0
    assert age.now_ms() == clock.wall_ms()
    clock.wall_offset_ms = 31 * 86_400_000
    assert age.now_ms() == clock.schedule_ms()
    await clock.advance(BELIEVED_AFTER_S)
    assert age.now_ms() == clock.wall_ms()

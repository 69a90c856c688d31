"""Who gets the next slot."""

from prynt_relay.dispatch.lane import Lane, Memory
from prynt_relay.dispatch.slots import PROVEN_ALLOWANCE, Slots, Standing, Turn
from prynt_relay.model.delivery import DueDelivery

MEMORY = Memory()


def turn_with(ready: int, standing: Standing = Standing.PROVEN, row: int = 1) -> Turn:
    lane = Lane(row, MEMORY, stored_from_ms=0)
    for number in range(ready):
        delivery = DueDelivery(row * 1_000_000 + number, row, 1, 0, 0)
        lane.entries[delivery.row] = delivery
        lane.add_ready(delivery)
    return Turn(lane, standing=standing)


def take(slots: Slots) -> Turn | None:
    turn = slots.take()
    if turn is not None:
        turn.lane.ready.popleft()
    return turn


def test_busy_webhooks_take_turns() -> None:
    """Two webhooks with a backlog get slots alternately."""
    slots = Slots(8, 8)
    turns = [turn_with(10, row=1), turn_with(10, row=2)]
    for turn in turns:
        slots.join(turn)
    assert [take(slots) for _ in range(8)] == turns * 4
    assert take(slots) is None


def test_a_quiet_webhook_goes_before_busy_ones() -> None:
    """A webhook whose only event just came in doesn't wait behind a hundred backlogs."""
    slots = Slots(512, 64)
    for row in range(100):
        slots.join(turn_with(1000, row=row))
    for _ in range(150):
        take(slots)
    quiet = turn_with(1, row=1000)
    slots.join(quiet)
    assert take(slots) is quiet


def test_an_idle_relay_lets_one_busy_webhook_use_its_whole_share() -> None:
    """One proven webhook with enough successes holds as many slots as one webhook may."""
    slots = Slots(512, 64)
    turn = turn_with(10_000)
    slots.join(turn)
    for _ in range(2000):
        assert take(slots) is turn
        slots.give_back(turn, success=True, slot_s=0.01)
    held = 0
    while take(slots) is not None:
        held += 1
    assert held == 64


def test_a_webhook_that_comes_back_is_opened_up_step_by_step() -> None:
    """After a time-out a webhook gets one slot, then one more for every success up to eight."""
    slots = Slots(512, 64)
    turn = turn_with(10_000)
    slots.join(turn)
    assert take(slots) is turn
    slots.give_back(turn, success=False, slot_s=10.0)
    for expected in range(1, int(PROVEN_ALLOWANCE) + 1):
        assert int(turn.allowance) == expected
        assert take(slots) is turn
        assert expected > 1 or take(slots) is None
        slots.give_back(turn, success=True, slot_s=0.01)
    assert turn.allowance == PROVEN_ALLOWANCE + 1


def test_slow_webhooks_share_a_quarter_and_untried_ones_three() -> None:
    """However many hang, a quarter of the slots stays free for those that are proven."""
    slots = Slots(512, 64)
    for row in range(300):
        slots.join(turn_with(50, Standing.SLOW, row))
    for row in range(300, 900):
        slots.join(turn_with(50, Standing.UNTRIED, row))
    taken = 0
    while take(slots) is not None:
        taken += 1
    assert taken == 384
    proven = turn_with(5, Standing.PROVEN, 5000)
    slots.join(proven)
    assert take(slots) is proven


def test_a_slow_webhook_waits_for_a_slow_slot_and_then_gets_it() -> None:
    """Parked webhooks come back in order when one of their standing gives its slot back."""
    slots = Slots(8, 8)
    turns = [turn_with(3, Standing.SLOW, row) for row in range(4)]
    for turn in turns:
        slots.join(turn)
    assert [take(slots), take(slots), take(slots)] == [turns[0], turns[1], None]
    slots.give_back(turns[0], success=False, slot_s=10)
    assert take(slots) is turns[2]
    assert take(slots) is None


def test_standing_follows_how_long_slots_are_kept() -> None:
    """A hang makes a webhook slow; quick answers, even refusals, make it proven again."""
    slots = Slots(8, 8)
    turn = turn_with(100, Standing.UNTRIED)
    slots.join(turn)
    take(slots)
    assert slots.give_back(turn, success=False, slot_s=10)
    standings = [turn.standing]
    for _ in range(9):
        assert take(slots) is turn
        slots.give_back(turn, success=False, slot_s=0.01)
        standings.append(turn.standing)
    assert standings[0] is Standing.SLOW
    assert standings[-1] is Standing.PROVEN
    assert turn.allowance == 1


def test_slots_are_accounted_to_the_last_one() -> None:
    """After any order of taking and giving back nothing is left taken under any standing."""
    slots = Slots(16, 4)
    turns = [turn_with(40, standing, row) for row, standing in enumerate([*Standing] * 4)]
    for turn in turns:
        slots.join(turn)
    held: list[Turn] = []
    for step in range(400):
        got = take(slots)
        if got is not None:
            held.append(got)
        if held and (got is None or step % 3 == 0):
            slots.give_back(held.pop(0), success=step % 5 != 0, slot_s=(step % 7) / 2)
    for turn in held:
        slots.give_back(turn, success=True, slot_s=0.1)
    assert slots.taken == 0
    assert slots._taken_by == [0, 0, 0]
    assert all(turn.held == 0 for turn in turns)


def test_a_parked_webhook_that_needs_no_slot_passes_it_on() -> None:
    """A slow webhook that holds all it may doesn't keep a free slot from the next slow one."""
    slots = Slots(8, 8)
    first, second, third = (turn_with(5, Standing.SLOW, row) for row in (1, 2, 3))
    first.allowance = 3.0
    slots.join(first)
    assert [take(slots), take(slots)] == [first, first]  # all that slow webhooks may hold
    assert take(slots) is None  # parked
    for turn in (second, third):
        slots.join(turn)
        assert take(slots) is None
    slots.give_back(first, success=False, slot_s=10.0)
    # The first may hold one slot only by now, and has it.
    assert take(slots) is second


def test_one_that_keeps_up_is_not_held_to_the_share_of_backlogs() -> None:
    """A burst that gathered while nothing could be sent goes before a hundred backlogs."""
    slots = Slots(512, 64)
    for row in range(100):
        slots.join(turn_with(1000, row=row))
    burst = turn_with(40, row=1000)
    burst.allowance = 64.0
    slots.join(burst)
    taken = [take(slots) for _ in range(60)]
    assert taken.count(burst) == 40


def test_backlogs_get_every_fourth_turn_beside_bursts() -> None:
    """However many webhooks have a burst waiting, those with a backlog go on."""
    slots = Slots(512, 64)
    bursts = [turn_with(50, row=row) for row in range(8)]
    for turn in bursts:
        turn.allowance = 64.0
        slots.join(turn)
    backlog = turn_with(1000, row=1000)
    backlog.allowance = 64.0
    slots.join(backlog)
    taken = [take(slots) for _ in range(80)]
    assert taken.count(backlog) == 20
    assert {taken.count(turn) for turn in bursts} <= {7, 8}


def test_a_page_of_a_long_backlog_is_no_burst() -> None:
    """What is in memory of a backlog in the database doesn't make its webhook one that keeps up."""
    slots = Slots(512, 64)
    deep, short = turn_with(40, row=1), turn_with(40, row=2)
    deep.deep = True
    for turn in (deep, short):
        turn.allowance = 64.0
        slots.join(turn)
    assert [take(slots) for _ in range(8)].count(deep) == 2

import asyncio

from prynt_relay.transport.large import TURN_BYTES, LargeBodies


async def test_large_bodies_take_turns_in_their_order() -> None:
    """No turn of the loop begins more than its share of bytes, and none overtakes another."""
    large = LargeBodies()
    size = TURN_BYTES // 4
    begun: list[int] = []
    turns: list[int] = []

    async def attempt(number: int) -> None:
        await large.turn(size)
        begun.append(number)

    attempts = [asyncio.create_task(attempt(number)) for number in range(20)]
    while len(begun) < 20:
        before = len(begun)
        await asyncio.sleep(0)
        turns.append(len(begun) - before)
    await asyncio.gather(*attempts)
    assert begun == list(range(20))
    assert max(turns) <= 4
    assert len(turns) < 20


async def test_a_body_beyond_the_share_goes_alone() -> None:
    """A body that is larger than a turn's share is sent all the same, in a turn of its own."""
    large = LargeBodies()
    await asyncio.wait_for(large.turn(3 * TURN_BYTES), 1)
    behind = asyncio.create_task(large.turn(1))
    await asyncio.wait_for(behind, 1)


async def test_an_attempt_that_is_cancelled_while_it_waits_is_passed_over() -> None:
    """A waiting attempt that is cancelled takes nobody's turn."""
    large = LargeBodies()
    attempts = [asyncio.create_task(large.turn(TURN_BYTES)) for _ in range(3)]
    await large.turn(TURN_BYTES)
    await asyncio.sleep(0)
    attempts[1].cancel()
    await asyncio.wait_for(asyncio.gather(attempts[0], attempts[2]), 1)
    assert attempts[1].cancelled()

"""Large bodies, taken in portions: the event loop gets its turn between them."""

import asyncio
from collections import deque
from typing import Final

LARGE: Final = 16_384
"""A body from which on signing and copying cost more than everything else about an attempt."""

TURN_BYTES: Final = 1024 * 1024
"""What large bodies may come to in one turn of the loop, or a single one of them: some 2 ms."""


class LargeBodies:
    """Makes attempts with large bodies wait for a later turn of the loop, in their order.

    Hundreds of them can be begun at the same moment: when a batch is on disk, or when as many
    answers came at once. Who waits holds its slot and no more memory than before, so there are
    never more of them than slots.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def turn(self, size: int) -> None:
        """Return when a body of `size` bytes may be rendered, signed and sent."""
        if not self._waiting and self._fits(size):
            self._begin(size)
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((turn, size))
            await turn

    def _fits(self, size: int) -> bool:
        return not self._begun or self._begun + size <= TURN_BYTES

    def _begin(self, size: int) -> None:
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._begun += size

    def _next_turn(self) -> None:
        self._begun = 0
        while self._waiting and self._fits(self._waiting[0][1]):
            turn, size = self._waiting.popleft()
            if not turn.done():  # its attempt may have been cancelled
                self._begin(size)
                turn.set_result(None)

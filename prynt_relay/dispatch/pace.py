"""At most one message a second for each webhook whose format is for people (contract, section 9).

A webhook rests from the moment when its turn comes until a second after its message was answered
or failed. Counted from the end, two messages can't arrive closer together than a second, however
long the first took to connect; and as one is under way at a time, they arrive in order.
"""

import contextlib
from asyncio import CancelledError, Future, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from prynt_relay.clock import Clock
from prynt_relay.dispatch.slots import Slots, Turn
from prynt_relay.model.states import Format

PACED: Final = Format.SLACK
"""Slack takes one message a second for an incoming webhook."""

REST_S: Final = 1.01
"""The second, and what a timer may be early by."""


class Pace:
    """Lets webhooks rest between messages."""

    def __init__(self, clock: Clock, slots: Slots, *, on_rested: Callable[[], None]) -> None:
        self._clock = clock
        self._slots = slots
        self._on_rested = on_rested
        # Messages from outside the schedule. Bounded by how many tests there are at a time.
        self._waiting: dict[Turn, deque[Future[None]]] = {}

    def begin(self, turn: Turn) -> None:
        """Its message begins; nothing else is sent to the webhook until it has rested."""
        self._slots.rest(turn)

    def end(self, turn: Turn) -> None:
        """Its message is over: rest."""
        self._clock.call_later(REST_S, lambda: self._rested(turn))

    def after_start(self, turns: Iterable[Turn]) -> None:
        """Rest first: the run before this one may have sent a message just now."""
        resting = list(turns)
        if not resting:
            return
        for turn in resting:
            self._slots.rest(turn)

        def rested() -> None:
            for turn in resting:
                self._rested(turn)

        self._clock.call_later(REST_S, rested)

    @contextlib.asynccontextmanager
    async def beside(self, turn: Turn) -> AsyncIterator[None]:
        """Send one message beside the schedule (a test), as soon as the webhook has rested."""
        if not self._slots.is_resting(turn):
            self.begin(turn)
        else:
            comes: Future[None] = get_running_loop().create_future()
            self._waiting.setdefault(turn, deque()).append(comes)
            try:
                await comes
            except CancelledError:
                if comes.done() and not comes.cancelled():
                    self._rested(turn)  # its turn came just then: the next one's
                raise
        try:
            yield
        finally:
            self.end(turn)

    def _rested(self, turn: Turn) -> None:
        self._slots.rested(turn)
        waiting = self._waiting.get(turn)
        while waiting:
            first = waiting.popleft()
            if not waiting:
                del self._waiting[turn]
            if not first.done():
                # A person waits for it: nothing else begins before that has rested.
                self._slots.rest(turn)
                first.set_result(None)
                return
        self._on_rested()

"""The one way in for events: match, append, hand to dispatch.

The socket server and `POST /v1/events` both come through here, so an event is treated the same
whichever way it took.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from prynt_relay.errors import RefusedEventError, ShuttingDownError
from prynt_relay.intake.protocol import EventParser
from prynt_relay.model.event import Append, Appended, NewEvent, Target


class Unfinished(Protocol):
    """An event that not all filters were asked about yet."""

    def go_on(self) -> tuple[Target, ...] | None:
        """The webhooks that it goes to; None: call it again in a later turn of the loop."""
        ...


class Matches(Protocol):
    """The registry's door: who gets an event, as of now."""

    def targets(self, event: NewEvent) -> tuple[Target, ...] | Unfinished:
        """Name the webhooks that the event goes to, if that can be told at once."""
        ...

    def revised(self, event: NewEvent, targets: Iterable[Target]) -> tuple[Target, ...]:
        """Bring what was found in an earlier turn of the loop up to date."""
        ...


class EventLog(Protocol):
    """The store's door for what comes in."""

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        """Enqueue at once; resolve, in the batch's order, when all of it is synced to disk."""
        ...

    async def room(self) -> None:
        """Return when the writer's queue is below its bound."""
        ...


class Delivering(Protocol):
    """The dispatcher's door for what was stored just now."""

    def appended(self, batch: Sequence[tuple[Append, Appended]]) -> None:
        """Take over the deliveries of a committed batch."""
        ...


class IntakeMetrics(Protocol):
    """What intake counts (contract, section 8)."""

    def events_received(self, event_type: str, n: int = 1) -> None:
        """Count events that are now on disk; a duplicate isn't one."""
        ...

    def event_rejected(self, code: str, n: int = 1) -> None:
        """Count events that were refused, by the contract's code."""
        ...


class Matching:
    """An event that isn't matched yet, because filters had done enough in this turn."""

    __slots__ = ("_event", "_unfinished")

    def __init__(self, event: NewEvent, unfinished: Unfinished) -> None:
        self._event = event
        self._unfinished = unfinished

    def go_on(self) -> Append | None:
        """The event with its webhooks, to be appended in the same breath; None: later again."""
        targets = self._unfinished.go_on()
        return None if targets is None else Append(self._event, targets)


class Acceptor:
    """Takes checked events and answers once they are on disk.

    It keeps no queue of its own: what was handed in and isn't answered is in the store's writer.
    Callers bound what they hand in (the socket server by what is unanswered) and wait for
    `room()` under load.
    """

    def __init__(
        self,
        *,
        parser: EventParser,
        registry: Matches,
        store: EventLog,
        dispatcher: Delivering,
        metrics: IntakeMetrics,
    ) -> None:
        """Take the rules, the three doors that an event passes, and the counters.

        `parser` may be replaced at any time by one with other rules: what comes then obeys them.
        """
        self.parser = parser
        self._registry = registry
        self._store = store
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._closed = False

    async def accept(self, events: Sequence[NewEvent]) -> list[Appended]:
        """Match and append `events` as one batch; returns when they are synced to disk.

        All of them are stored or none. For what is raised see `append`.
        """
        batch: list[Append] = []
        waited = False
        for event in events:
            found = self.match(event)
            while isinstance(found, Matching):
                waited = True
                await asyncio.sleep(0)
                found = found.go_on() or found
            batch.append(found)
        if waited:
            revised = self._registry.revised
            batch = [Append(one.event, revised(one.event, one.targets)) for one in batch]
        return await self.append(batch)

    def match(self, event: NewEvent) -> Append | Matching:
        """Find the webhooks that the event goes to, as of now: to be appended in the same breath.

        Whoever hands in many events that needn't be stored together looks here how many rows
        each becomes, and cuts its batches by that. Where filters have too much to do, it goes on
        in later turns of the event loop.
        """
        targets = self._registry.targets(event)
        return Append(event, targets) if isinstance(targets, tuple) else Matching(event, targets)

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        """Enqueue a batch that was just matched; resolve when it is synced to disk.

        The answers are in the events' order. Dispatch has the batch before the future resolves.
        Cancelling the future changes nothing for the events.

        Raises ShuttingDownError after `close()`. The future raises what the store's does:
        StorageUnavailableError where nothing was kept. Either way the events count as rejected.
        """
        if self._closed:
            self._metrics.event_rejected("shutting_down", len(batch))
            raise ShuttingDownError("the relay is shutting down; send the event again later")
        stored = self._store.append(batch)
        answer: asyncio.Future[list[Appended]] = stored.get_loop().create_future()

        def settle(stored: asyncio.Future[list[Appended]]) -> None:
            self._settle(batch, stored, answer)

        stored.add_done_callback(settle)
        return answer

    def parse(self, line: bytes) -> NewEvent:
        """Check one event's JSON; raises RefusedEventError, and counts it by its code."""
        try:
            return self.parser.parse(line)
        except RefusedEventError as error:
            self._metrics.event_rejected(error.code)
            raise

    def parse_many(self, body: bytes) -> list[NewEvent]:
        """Check one event's JSON or an array of up to 1,000; all or nothing, else as `parse`."""
        try:
            return self.parser.parse_many(body)
        except RefusedEventError as error:
            self._metrics.event_rejected(error.code)
            raise

    def overlong(self) -> RefusedEventError:
        """Count and describe a line that is too long to be kept until its end."""
        error = self.parser.line_too_long()
        self._metrics.event_rejected(error.code)
        return error

    async def room(self) -> None:
        """Return when the store can take more without its queue growing past its bound."""
        await self._store.room()

    def count_refused(self, code: str, n: int = 1) -> None:
        """Count events that their caller refused without asking here."""
        self._metrics.event_rejected(code, n)

    def close(self) -> None:
        """Take nothing more; what was taken is still stored and answered."""
        self._closed = True

    def _settle(
        self,
        batch: Sequence[Append],
        stored: asyncio.Future[list[Appended]],
        answer: asyncio.Future[list[Appended]],
    ) -> None:
        if stored.cancelled():
            self._metrics.event_rejected("shutting_down", len(batch))
            answer.cancel()
            return
        error = stored.exception()
        if error is not None:
            closing = isinstance(error, ShuttingDownError)
            code = "shutting_down" if closing else "storage_unavailable"
            self._metrics.event_rejected(code, len(batch))
            if not answer.done():
                answer.set_exception(error)
            return
        appended = stored.result()
        try:
            new = [pair for pair in zip(batch, appended, strict=True) if not pair[1].duplicate]
            for event_type, count in Counter([one.event.event_type for one, _ in new]).items():
                self._metrics.events_received(event_type, count)
            # Those that go nowhere are left out: there may be thousands a second of them.
            delivered = [pair for pair in new if pair[0].targets]
            if delivered:
                self._dispatcher.appended(delivered)
        finally:
            # Whatever goes wrong above, the promise holds: the events are on disk.
            if not answer.done():
                answer.set_result(appended)

"""One publisher's connection: lines in, answers out in their order, within bounds."""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable
from typing import Final, cast

import structlog

from prynt_relay.errors import RefusedEventError, RelayError, ShuttingDownError
from prynt_relay.intake.acceptor import Acceptor, Matching
from prynt_relay.intake.protocol import render_acceptance, render_refusal
from prynt_relay.intake.pump import Pump
from prynt_relay.model.event import Append, Appended

LINES_PER_TURN: Final = 256
"""Lines taken up before the loop gets its turn again: about a millisecond's work."""

ROWS_PER_TURN: Final = 2048
"""The same in rows (events and their deliveries): a transaction of tens of milliseconds."""

MAX_UNANSWERED_ROWS: Final = 8192
"""A connection's unanswered rows (or lines) from which on it isn't read from."""

MAX_UNANSWERED_BYTES: Final = 8 * 1024 * 1024
"""The same in bytes of its events' lines: two transactions, so that one can be read while the
other is written."""

WRITE_BUFFER: Final = 65_536
"""Unsent bytes of answers above which it isn't read from: its publisher doesn't read."""

_SHORT_LINE: Final = 400

# Stands for a line that was too long to be kept; no line has a newline in it.
_OVERLONG: Final = b"\n"

_log = structlog.get_logger(__name__)


class _Batch:
    """Lines taken up together; their answers are written together.

    `answers` has, for every line, its refusal or None for an event that was handed in. `weight`
    is what the batch counts for in rows and lines. `rendered` is None until every answer is known.
    """

    __slots__ = ("answers", "rendered", "size", "weight")

    def __init__(self, answers: list[bytes | None], weight: int, size: int) -> None:
        self.answers = answers
        self.weight = weight
        self.size = size
        self.rendered: bytes | None = None

    def render(self, event_answers: list[bytes]) -> None:
        """Set `rendered`, given the answers to the events in their order."""
        if len(event_answers) == len(self.answers):
            self.rendered = b"".join(event_answers)
        else:
            events = iter(event_answers)
            self.rendered = b"".join(
                [next(events) if answer is None else answer for answer in self.answers]
            )


class Connection(asyncio.Protocol):
    """Reads lines, hands them to the acceptor in batches, and writes the answers in order.

    What is read at once is handed in at once. Reading stops while lines are held for the pump,
    while the publisher doesn't read its answers, and while too much is unanswered; so what a
    connection keeps is bounded by those and one read.
    """

    def __init__(self, acceptor: Acceptor, pump: Pump) -> None:
        self._acceptor = acceptor
        self._pump = pump
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the connection is gone."""
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()  # up to the parser's max_line
        self._skipping = False
        self._held: deque[bytes] = deque()  # up to what one read gives: reading stops meanwhile
        self._matching: Matching | None = None  # of the first line that is held
        self._in_pump = False
        self._batches: deque[_Batch] = deque()
        self._unanswered_rows = 0
        self._unanswered_bytes = 0
        self._paused = False
        self._write_paused = False
        self._ending = False
        self._draining = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the publisher speaks first."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Cut what came into lines and take them up."""
        before = len(self._partial)
        lines = self._lines(data)
        if lines:
            self._take(lines)
        grown = len(self._partial) - before
        if grown and not self._pump.hold_partial(grown) and grown > 0:
            _log.warning(
                "too many unfinished lines: a publisher's connection is closed",
                action="intake_partial_lines_full",
            )
            self.abort()

    def eof_received(self) -> bool:
        """Take a last line without its newline too: a JSON object shows where it ends.

        Returns True to keep the other direction open until everything is answered.
        """
        last = bytes(self._partial)
        self._drop_partial()
        if last and last != b"\r":
            self._take([last])
        self._ending = True
        return bool(self._held or self._batches)

    def pause_writing(self) -> None:
        """Stop reading: the publisher doesn't read its answers."""
        self._write_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        """Go on where it was stopped."""
        self._write_paused = False
        self._enter_pump()
        self._update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the publisher. What was read is handed in all the same; its answers are lost."""
        self._transport = None
        self._drop_partial()
        self._enter_pump()
        if not self.closed.done():
            self.closed.set_result(None)

    # What the server calls.

    def drain(self) -> None:
        """Hand in nothing more; whatever comes is answered `shutting_down`."""
        self._draining = True

    def end(self) -> None:
        """Read nothing more, and close once what was read is answered."""
        self._draining = self._ending = True
        transport = self._transport
        if transport is not None and not self._paused and not transport.is_closing():
            self._paused = True
            transport.pause_reading()
        self._close_if_done()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the pump calls.

    def turn(self) -> bool:
        """Take up some held lines; returns whether more of them should have a turn."""
        held = self._held
        if self._may_take():
            for _ in range(self._process(itertools.islice(held, LINES_PER_TURN))):
                held.popleft()
        self._in_pump = bool(held) and self._may_take()
        if not held:
            self._update_reading()
            self._close_if_done()
        return self._in_pump

    def _enter_pump(self) -> None:
        if self._held and not self._in_pump:
            self._in_pump = True
            self._pump.wait(self)

    def _may_take(self) -> bool:
        # A publisher that doesn't read gets no more answers to leave unread, until it is gone.
        return not self._write_paused or self._transport is None

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes; its rest is kept, or skipped once it is too long."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return []
            self._skipping = False
            data = data[end + 1 :]
        elif self._partial:
            end = data.find(b"\n")
            if end < 0:
                self._partial += data
                return self._skip_overlong()
            # A large line comes in several pieces: each copy of it counts.
            begun = b"".join((self._partial, memoryview(data)[:end]))
            self._partial = bytearray()
            lines = [begun, *_split(data, end + 1)]
            return self._complete(lines)
        return self._complete(_split(data))

    def _complete(self, lines: list[bytes]) -> list[bytes]:
        """Keep the last, which has no newline yet; return the others, but for empty ones."""
        self._partial += lines.pop()
        # An empty line is ignored, also where lines end in a carriage return.
        return [line for line in lines if line and line != b"\r"] + self._skip_overlong()

    def _skip_overlong(self) -> list[bytes]:
        if len(self._partial) <= self._acceptor.parser.max_line:
            return []
        self._partial = bytearray()
        self._skipping = True
        return [_OVERLONG]

    def _take(self, lines: list[bytes]) -> None:
        """Process `lines` at once as far as that is fair, hold the others for the pump."""
        if self._pump.open and not self._held:
            taken = self._process(itertools.islice(lines, LINES_PER_TURN))
            lines = lines[taken:]
        self._held.extend(lines)
        self._enter_pump()
        self._update_reading()

    def _process(self, lines: Iterable[bytes]) -> int:
        """Check lines, hand in their events as one batch; returns how many lines it took."""
        batch: list[Append] = []
        answers: list[bytes | None] = []
        weight = size = 0
        for line in lines:
            try:
                append = self._check(line)
            except RefusedEventError as error:
                answers.append(render_refusal(error))
                weight += 1
            else:
                if append is None:
                    break  # it stays held, and those behind it: answers come in order
                answers.append(None)
                batch.append(append)
                weight += 1 + len(append.targets)
                size += len(line)
                if weight >= ROWS_PER_TURN:
                    break
        if not answers:
            return 0
        pending = _Batch(answers, weight, size)
        self._batches.append(pending)
        self._unanswered_rows += weight
        self._unanswered_bytes += size
        if batch:
            self._hand_in(batch, pending)
        else:
            pending.render([])
            self._flush()
        return len(answers)

    def _check(self, line: bytes) -> Append | None:
        """The line's event with its targets; None where that takes more turns of the loop.

        Raises RefusedEventError.
        """
        acceptor = self._acceptor
        matching, self._matching = self._matching, None
        if self._draining:
            acceptor.count_refused("shutting_down")
            raise _refused_shutting_down()
        if line is _OVERLONG:
            raise acceptor.overlong()
        found: Append | Matching | None
        if matching is None:
            event = acceptor.parse(line)
        try:
            found = acceptor.match(event) if matching is None else matching.go_on()
        except Exception as error:
            acceptor.count_refused("storage_unavailable")
            raise _failure(error) from error
        if isinstance(found, Append):
            return found
        self._matching = matching if found is None else found
        return None

    def _hand_in(self, batch: list[Append], pending: _Batch) -> None:
        try:
            stored = self._acceptor.append(batch)
        except RelayError as error:
            pending.render([render_refusal(_failure(error))] * len(batch))
            self._flush()
            return
        self._pump.took(pending.weight, pending.size)

        def answer(stored: asyncio.Future[list[Appended]]) -> None:
            self._pump.answered(pending.weight, pending.size)
            error = ShuttingDownError() if stored.cancelled() else stored.exception()
            if error is None:
                pending.render(list(map(render_acceptance, stored.result())))
            else:
                pending.render([render_refusal(_failure(error))] * len(batch))
            self._flush()

        stored.add_done_callback(answer)

    def _flush(self) -> None:
        """Write the answers that are known, up to the first that isn't."""
        batches = self._batches
        ready = []
        while batches and (rendered := batches[0].rendered) is not None:
            ready.append(rendered)
            batch = batches.popleft()
            self._unanswered_rows -= batch.weight
            self._unanswered_bytes -= batch.size
        if ready and self._transport is not None:
            self._transport.write(b"".join(ready))
        self._update_reading()
        self._close_if_done()

    def _update_reading(self) -> None:
        transport = self._transport
        if transport is None or self._ending or transport.is_closing():
            return
        pause = (
            bool(self._held)
            or self._write_paused
            or self._unanswered_rows >= MAX_UNANSWERED_ROWS
            or self._unanswered_bytes >= MAX_UNANSWERED_BYTES
        )
        if pause != self._paused:
            self._paused = pause
            if pause:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _close_if_done(self) -> None:
        if self._ending and not self._held and not self._batches and self._transport is not None:
            self._transport.close()

    def _drop_partial(self) -> None:
        self._pump.hold_partial(-len(self._partial))
        self._partial = bytearray()


def _split(data: bytes, start: int = 0) -> list[bytes]:
    """Cut at newlines, from `start` on; the last part is what follows the last of them.

    `bytes.split` looks at every byte: searching is faster for long lines.
    """
    end = data.find(b"\n", start)
    if end - start < _SHORT_LINE:
        return data[start:].split(b"\n")
    lines = []
    while end >= 0:
        lines.append(data[start:end])
        start = end + 1
        end = data.find(b"\n", start)
    lines.append(data[start:])
    return lines


def _refused_shutting_down() -> RefusedEventError:
    return RefusedEventError(
        "shutting_down", "the relay is shutting down and took nothing; send the event again later"
    )


def _failure(error: BaseException) -> RefusedEventError:
    """The refusal of an event that couldn't be handed in or stored."""
    if isinstance(error, ShuttingDownError):
        return _refused_shutting_down()
    if isinstance(error, RelayError):
        why = str(error)
    else:
        _log.error("an event can't be handed in", action="intake_failed", exc_info=error)
        why = "an internal error, which the relay's log describes"
    # The store's own words, which the API's callers get as they are, may say either already.
    why = why.removeprefix("not stored: ")
    advice = "" if " again" in why else "; send the event again later"
    return RefusedEventError("storage_unavailable", f"not stored: {why}{advice}")

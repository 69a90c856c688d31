"""Publishers: bursts, repeats and nonsense over a connection to the relay."""

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from prynt_relay.intake.connection import Connection
from prynt_relay.model.event import EVENT_TYPES
from tests.simulation.sim_journal import Line

if TYPE_CHECKING:
    from tests.simulation.sim_run import Simulation

HOUR_MS = 3_600_000
TYPES = EVENT_TYPES[:4]
BAD_LINES = (
    (b"not json", "invalid_json"),
    (b'{"eventType":"verdict.allow","data":{"a":"\xff"}}', "invalid_json"),
    (b'{"eventType":"verdict.allow"}', "invalid_event"),
    (b'{"eventType":"verdict.allow","data":[]}', "invalid_event"),
    (b'{"eventType":"verdict.allow","data":{},"extra":1}', "invalid_event"),
    (b'{"eventType":"verdict.allow","data":{},"idempotencyKey":""}', "invalid_event"),
    (b'{"eventType":"no.such","data":{}}', "unknown_event_type"),
    (b'{"eventType":"verdict.allow","data":{"a":"' + b"x" * 262_144 + b'"}}', "payload_too_large"),
)


class Pipe(asyncio.Transport):
    """The publisher's end of a connection, as the relay's loop sees it."""

    def __init__(self, publisher: "Publisher") -> None:
        super().__init__()
        self._publisher = publisher
        self.paused = False
        self.waiting: list[bytes] = []

    def write(self, data: Any) -> None:
        self._publisher.answered(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        while self.waiting and not self.paused:
            self._publisher.deliver(self.waiting.pop(0))

    def close(self) -> None:
        self._publisher.hung_up()

    def abort(self) -> None:
        self._publisher.hung_up()


class Publisher:
    """Sends bursts, repeats what was not answered, and now and then nonsense."""

    def __init__(self, simulation: "Simulation", rng: random.Random) -> None:
        self._simulation = simulation
        self._rng = rng
        self._message = 0
        self._connection: Connection | None = None
        self._pipe: Pipe | None = None
        self._unanswered: list[Line] = []
        self._lost: list[Line] = []
        # When each message came first: the world's time and the wall's.
        self._first: dict[int, tuple[float, int]] = {}
        # Where the wall stood when it was set, and when (the world's time) that was.
        self._jumps: list[tuple[float, int]] = []

    def connect(self, connection: Connection) -> None:
        self._connection = connection
        self._pipe = Pipe(self)
        connection.connection_made(self._pipe)
        lost, self._lost = self._lost, []
        # Who got no answer sends it again, mostly; without a key it is another event then.
        self.send([self._again(line) for line in lost if self._rng.random() < 0.8])

    def hung_up(self) -> None:
        self._connection = None
        self._lost += [line for line in self._unanswered if line.code is None]
        self._unanswered = []

    def publish(self) -> None:
        rng = self._rng
        count = rng.choice((1, 1, 1, 2, 3, 5, 8)) if rng.random() < 0.96 else rng.randint(20, 40)
        self.send([self._line() for _ in range(count)])

    def repeat(self) -> None:
        """Something sent lately with a key comes again."""
        lately = [
            line for line in self._simulation.journal.lines[-30:]
            if line.code is None and (line.key or line.own_id)
        ]  # fmt: skip
        if lately:
            self.send([self._again(self._rng.choice(lately))])

    def _line(self) -> tuple[Line, bytes]:
        rng = self._rng
        if rng.random() < 0.08:
            raw, code = rng.choice(BAD_LINES)
            return Line(0, "", None, None, code), raw
        self._message += 1
        key = f"key {self._message}" if rng.random() < 0.5 else None
        own_id = f"evt_{'own':0<8}{self._message:05d}" if rng.random() < 0.1 else None
        line = Line(self._message, rng.choice(TYPES), key, own_id, None)
        return line, self._raw(line)

    def _again(self, line: Line) -> tuple[Line, bytes]:
        again = Line(line.message, line.event_type, line.key, line.own_id, None)
        if self._window_may_be_over(line.message):
            # With the same id it would be another event all the same, and nobody could tell the
            # two apart.
            again.own_id = None
        if not (again.key or again.own_id):
            self._message += 1
            again.message = self._message
        return again, self._raw(again)

    def jumping(self) -> None:
        """The wall is about to be set."""
        world = self._simulation.world
        self._jumps.append((world.now, world.wall_ms()))

    def _window_may_be_over(self, message: int) -> bool:
        """Whether the wall, which the window is told by, was ever that far from the first one.

        It counts from the first, repeats don't prolong it; and what was forgotten while the wall
        was ahead stays so once it is set back.
        """
        world = self._simulation.world
        if message not in self._first:
            return False
        now, wall_ms = self._first[message]
        walls = [world.wall_ms(), *(wall for at, wall in self._jumps if at >= now)]
        window_ms = self._simulation.plan.dedup_window_s * 1000
        return max(abs(wall - wall_ms) for wall in walls) > 0.8 * window_ms

    @staticmethod
    def _raw(line: Line) -> bytes:
        members: dict[str, Any] = {"eventType": line.event_type, "data": {"n": line.message}}
        if line.key is not None:
            members["idempotencyKey"] = line.key
        if line.own_id is not None:
            members["eventId"] = line.own_id
        return json.dumps(members, separators=(",", ":")).encode()

    def send(self, lines: list[tuple[Line, bytes]]) -> None:
        """Hand in what comes as one piece or two."""
        simulation = self._simulation
        if self._connection is None or not lines:
            self._lost += [line for line, _ in lines if line.code is None]
            return
        for line, _ in lines:
            line.at = simulation.clock.schedule_ms()
            line.wall_ms = simulation.clock.wall_ms()
            self._first.setdefault(line.message, (simulation.world.now, line.wall_ms))
            line.seq = simulation.journal.tell(line.at, "line", line.message, line.code)
            simulation.journal.lines.append(line)
            self._unanswered.append(line)
        data = b"".join(raw + b"\n" for _, raw in lines)
        cut = self._rng.randrange(len(data)) if self._rng.random() < 0.2 else len(data)
        self.deliver(data[:cut])
        if cut < len(data):
            self.deliver(data[cut:])

    def deliver(self, data: bytes) -> None:
        if self._connection is None or self._pipe is None:
            return
        if self._pipe.paused:
            self._pipe.waiting.append(data)
        else:
            self._connection.data_received(data)

    def answered(self, data: bytes) -> None:
        journal = self._simulation.journal
        for raw in data.splitlines():
            if not self._unanswered:
                journal.wrong("answers", f"an answer that nobody waits for: {raw!r}")
                return
            line = self._unanswered.pop(0)
            answer = json.loads(raw)
            line.answer = answer
            line.answered = self._simulation.world.now
            line.answered_seq = journal.tell(
                self._simulation.clock.schedule_ms(), "answer", line.message, raw
            )
            code = None if answer["ok"] else answer["error"]["code"]
            if code in ("shutting_down", "storage_unavailable"):
                if line.code is None:
                    self._lost.append(line)
            elif code != line.code:
                journal.wrong("answers", f"{answer} for a line that is {line.code or 'good'}")

"""Publishers and operators: what people and programs outside do to the relay."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from prynt_relay.errors import ConflictError, NotFoundError, RelayError, ShuttingDownError
from prynt_relay.intake.connection import Connection
from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput
from tests.simulation.sim_journal import Ask, Line

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
        count = rng.choice((1, 1, 1, 2, 3, 5, 8)) if rng.random() < 0.93 else rng.randint(20, 40)
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
        if self._simulation.world.now - line.sent > 20 * HOUR_MS:
            # The window may be over: with the same id it would be another event all the same,
            # and nobody could tell the two apart.
            again.own_id = None
        if not (again.key or again.own_id):
            self._message += 1
            again.message = self._message
        return again, self._raw(again)

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
            line.sent = simulation.world.now
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
            line.answered_seq = journal.tell(
                self._simulation.clock.schedule_ms(), "answer", line.message, raw
            )
            code = None if answer["ok"] else answer["error"]["code"]
            if code in ("shutting_down", "storage_unavailable"):
                if line.code is None:
                    self._lost.append(line)
            elif code != line.code:
                journal.wrong("answers", f"{answer} for a line that is {line.code or 'good'}")


class Operator:
    """Creates, changes, retries and deletes, one change of a webhook at a time."""

    def __init__(self, simulation: "Simulation", rng: random.Random) -> None:
        self._simulation = simulation
        self._rng = rng
        self._created = 0
        self._busy: set[int] = set()
        self.asks = 0

    def crashed(self) -> None:
        """What was under way never came back."""
        self._busy.clear()

    def act(self, kind: str) -> None:
        """Begin to do something; it goes on beside everything else."""
        simulation = self._simulation
        rows = sorted(webhook.row for webhook in simulation.relay.registry)
        work: Callable[[], Awaitable[None]]
        if kind == "create" or not rows:
            work = self._create
        else:
            row = self._rng.choice(rows)
            if kind in ("disable", "enable", "blink", "delete", "rotate", "change"):
                if row in self._busy:
                    return
                self._busy.add(row)
            work = partial(getattr(self, f"_{kind}"), row)
        simulation.spawn(self._done(work))

    def noticed(self, row: int) -> None:
        """A webhook was disabled for failing: some people enable it again at once."""
        simulation = self._simulation
        if simulation.up and row not in self._busy and self._rng.random() < 0.4:
            self._busy.add(row)
            simulation.spawn(self._done(partial(self._enable, row)))

    async def _done(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ShuttingDownError:
            return
        except RelayError as error:
            self._simulation.journal.wrong("operators", f"{type(error).__name__}: {error}")

    def _note(self, row: int, kind: str, what: Any = None) -> None:
        simulation = self._simulation
        simulation.journal.webhook(row, simulation.clock.schedule_ms(), kind, what)

    def _webhook(self, row: int) -> Webhook | None:
        return self._simulation.relay.registry.by_row(row)

    async def _create(self) -> None:
        simulation, rng = self._simulation, self._rng
        self._created += 1
        number = self._created
        well = number == 1 or rng.random() < 0.15
        url = f"https://{'well' if well else 'moody'}.example.com/{number}"
        events = ("*",) if rng.random() < 0.6 else tuple(rng.sample(TYPES, 2))
        schedule = rng.choice((None, None, None, (7.0,), (40.0, 4000.0), (3.0, 3.0, 3.0)))
        receiver = simulation.receivers.at(url)
        journal = simulation.journal
        journal.tell(simulation.clock.schedule_ms(), "create", number)
        began = journal.seq
        webhook, _ = await simulation.relay.changes.create(
            WebhookInput(
                url=url,
                events=events,
                enabled=well or rng.random() < 0.95,
                retry_schedule_s=schedule,
                timeout_s=rng.choice((None, None, 2.0, 30.0)),
            )
        )
        receiver.learn(webhook.secrets)
        simulation.met(webhook, began)
        simulation.rule.created(webhook)

    async def _change(self, row: int) -> None:
        try:
            webhook = self._webhook(row)
            if webhook is not None:
                await self._simulation.relay.changes.patch(
                    webhook.id, WebhookInput(description=f"changed {self._rng.random()}")
                )
        finally:
            self._busy.discard(row)

    async def _disable(self, row: int) -> None:
        await self._switch(row, enabled=False)
        self._busy.discard(row)

    async def _enable(self, row: int) -> None:
        await self._switch(row, enabled=True)
        self._busy.discard(row)

    async def _blink(self, row: int) -> None:
        """Off and on again, while what was in flight still is."""
        await self._switch(row, enabled=False)
        if self._rng.random() < 0.5:
            await self._simulation.clock.sleep(self._rng.uniform(0.0, 3.0))
        await self._switch(row, enabled=True)
        self._busy.discard(row)

    async def _switch(self, row: int, *, enabled: bool) -> None:
        simulation = self._simulation
        webhook = self._webhook(row)
        if webhook is None:
            return
        kind = "enable" if enabled else "disable"
        self._note(row, f"{kind}_call")
        simulation.rule.switching(webhook, enabled=enabled)
        changed = await simulation.relay.changes.patch(webhook.id, WebhookInput(enabled=enabled))
        simulation.rule.switched(webhook, changed)
        self._note(row, f"{kind}_done")

    async def _delete(self, row: int) -> None:
        simulation = self._simulation
        webhook = self._webhook(row)
        if webhook is None or ("well" in webhook.url and len(simulation.relay.registry) < 4):
            self._busy.discard(row)
            return
        self._note(row, "delete_call")
        await simulation.relay.changes.delete(webhook.id)
        simulation.rule.deleted(row)
        self._note(row, "delete_done")
        self._busy.discard(row)

    async def _rotate(self, row: int) -> None:
        simulation = self._simulation
        webhook = self._webhook(row)
        if webhook is not None:
            hours = self._rng.choice((0.0, 0.0, 1.0, 24.0))
            await simulation.relay.changes.rotate(webhook.id, hours * 3600)
            now = self._webhook(row)
            if now is not None:
                simulation.receivers.at(now.url).learn(now.secrets)
        self._busy.discard(row)

    async def _test(self, row: int) -> None:
        webhook = self._webhook(row)
        if webhook is not None:
            await self._simulation.relay.sampling.test(webhook.id, None)

    async def _one(self, row: int) -> None:
        """One of the deliveries that are of interest: the newest of a webhook."""
        simulation = self._simulation
        mine = [
            (number, key)
            for number, key in list(simulation.journal.delivery_rows.items())[-60:]
            if key[0] == row
        ]
        if not mine:
            return
        number, key = self._rng.choice(mine)
        ask = self._ask(delivery=key)
        self._note(row, "ask_call", ask)
        try:
            await simulation.relay.resending.one(number, row)
        except (ConflictError, NotFoundError):
            self._note(row, "ask_refused", ask)
        else:
            self._note(row, "ask_done", ask)

    async def _window(self, row: int) -> None:
        simulation, rng = self._simulation, self._rng
        webhook = self._webhook(row)
        if webhook is None:
            return
        states = frozenset(
            rng.choice(
                (
                    (DeliveryState.FAILED, DeliveryState.HELD, DeliveryState.SCHEDULED),
                    (DeliveryState.FAILED, DeliveryState.HELD, DeliveryState.SCHEDULED),
                    (DeliveryState.HELD,),
                    (DeliveryState.DELIVERED, DeliveryState.SCHEDULED),
                )
            )
        )
        hours = rng.choice((1, 12, 24, 100))
        since_ms = simulation.clock.wall_ms() - hours * HOUR_MS
        await self.window(webhook, states, since_ms)

    async def window(
        self, webhook: Webhook, states: frozenset[DeliveryState], since_ms: int
    ) -> None:
        """Ask for a window, and wait until it is worked off."""
        simulation = self._simulation
        ask = self._ask(states=frozenset(map(int, states)), since_ms=since_ms)
        self._note(webhook.row, "window_call", ask)
        relay = simulation.relay
        try:
            await relay.resending.window(webhook.id, since_ms, None, states)
        except (ConflictError, NotFoundError):
            self._note(webhook.row, "window_refused", ask)
            return
        await relay.changes.conversions.finished(webhook.row)
        self._note(webhook.row, "jobs_done", {ask.number})

    def _ask(self, **what: Any) -> Ask:
        self.asks += 1
        return Ask(self.asks, at=self._simulation.clock.schedule_ms(), **what)

"""One simulated run: a seed becomes a world, three days pass, then it is looked at."""

import asyncio
import contextlib
import gc
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import structlog

from prynt_relay.daemon import relay
from prynt_relay.daemon.relay import Relay
from prynt_relay.errors import ShuttingDownError
from prynt_relay.intake.connection import Connection
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.telemetry import logs
from tests.simulation.check_health import HealthRule
from tests.simulation.check_limits import Limits
from tests.simulation.check_log import check_log
from tests.simulation.check_schedule import check_schedule
from tests.simulation.sim_bounds import small_bounds
from tests.simulation.sim_disk import Disk
from tests.simulation.sim_journal import Journal
from tests.simulation.sim_operator import Operator
from tests.simulation.sim_plan import HOUR, RUN_MS, Plan
from tests.simulation.sim_publisher import Publisher
from tests.simulation.sim_receivers import Receivers, SimSender
from tests.simulation.sim_relay import SimRelay
from tests.simulation.sim_world import SimClock, SimLoop, World

DRAIN_MS = 4 * HOUR
"""After the three days everything works again: by the end of this everything has arrived."""

STEPS_MAX = 3_000_000
"""A run that goes on for so many turns of the loop without an end is stuck."""


class Result(NamedTuple):
    """What a run came to."""

    seed: int
    trace: str
    violations: list[str]
    events: int
    attempts: int
    crashes: int
    steps: int


class Simulation:
    """The world, and the relay in it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.world = World()
        self.journal = Journal(self.world)
        self.rng = random.Random(f"{plan.seed} run")
        self.disk = Disk(folder, random.Random(f"{plan.seed} disk"))
        self.receivers = Receivers(self.world, self.journal, plan.seed, RUN_MS)
        self.rule = HealthRule(self.journal)
        self.limits = Limits(
            self.world, self.journal, total=plan.concurrency, per_webhook=plan.per_webhook
        )
        self.publisher = Publisher(self, random.Random(f"{plan.seed} publisher"))
        self.operator = Operator(self, random.Random(f"{plan.seed} operator"))
        self.rule.on_disabled = self.operator.noticed
        self.steps = 0
        self.up = self.stopping = self._stopped = False
        self.ending = False
        self._crash_in: int | None = None
        self.well: set[int] = set()
        self.clock = SimClock(self.world)

    # --- the relay's life

    def boot(self) -> None:
        """Start the relay on what the disk has."""
        self.clock = SimClock(self.world)
        self.loop = SimLoop(self.clock)  # type: ignore[abstract] # nothing here does real I/O
        asyncio._set_running_loop(self.loop)
        self.rule.running(self.clock)
        self.sender = SimSender(self.receivers, self.clock, self.limits, self.rule, timeout_s=10.0)
        self.relay = SimRelay(
            self.plan, self.disk, self.clock, self.sender, self.journal, self.rule
        )
        self.relay.on_begin = self._begin
        self.spawn(self._start())

    def _begin(self) -> None:
        """Everything is loaded, nothing is sent yet."""
        webhooks = list(self.relay.registry)
        for webhook in webhooks:
            if webhook.row not in self.journal.webhook_ids:
                # Its creation was cut off before it was answered.
                self.met(webhook, 0)
            self.receivers.at(webhook.url).learn(webhook.secrets)
        at = self.clock.schedule_ms()
        self.rule.started(self.relay.registry)
        self.limits.began(webhooks)
        self.journal.everywhere(at, "boot", {webhook.row: webhook.enabled for webhook in webhooks})

    async def _start(self) -> None:
        await self.relay.start()
        webhooks = list(self.relay.registry)
        self.up = True
        assert self.relay.pump is not None
        self.connection = Connection(self.relay.acceptor, self.relay.pump)
        self.publisher.connect(self.connection)
        asked = set(range(1, self.operator.asks + 1))
        for webhook in webhooks:
            self.spawn(self._jobs_done(webhook.row, asked))

    async def _jobs_done(self, row: int, asked: set[int]) -> None:
        """What was asked for before a restart goes on until this."""
        try:
            await self.relay.changes.conversions.finished(row)
        except ShuttingDownError:
            return
        self.journal.webhook(row, self.clock.schedule_ms(), "jobs_done", asked)

    def met(self, webhook: Webhook, began: int) -> None:
        """A webhook is known from now on; asking for it began at `began`."""
        journal = self.journal
        journal.webhook_ids[webhook.row] = webhook.id
        journal.subscriptions[webhook.row] = webhook.events
        if self.receivers.at(webhook.url).always_well:
            self.well.add(webhook.row)
        journal.webhook(webhook.row, self.clock.schedule_ms(), "created", (began, webhook.enabled))
        journal.schedules[webhook.row] = (
            self.plan.retry_schedule_s
            if webhook.retry_schedule_s is None
            else webhook.retry_schedule_s
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the relay's loop; what it raises is a finding."""
        task = self.loop.create_task(work)

        def done(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.journal.wrong("no error", f"{type(error).__name__}: {error}")

        task.add_done_callback(done)

    def crash(self) -> None:
        """The process is gone between two turns of its loop."""
        self._crash_in = None
        self.journal.crashes += 1
        self._over("crash")
        self.disk.crash()
        self._bury()
        self._boot_later()

    def _over(self, how: str) -> None:
        at = self.clock.schedule_ms()
        self.up = self.stopping = self._stopped = False
        self.loop.kill()
        self.world.forget(self.clock)
        self.sender.dead = True
        for attempt in self.journal.attempts:
            if attempt.fate in ("flying", "ended") and not attempt.is_test:
                attempt.fate = "cut"
                self.journal.delivery(attempt, at, "cut")
        self.limits.over()
        self.publisher.hung_up()
        self.operator.crashed()
        self.journal.everywhere(at, how)

    def _bury(self) -> None:
        """Close what waits for ever, quietly: nobody hears it any more."""
        for task in list(self.loop.tasks):
            with contextlib.suppress(RuntimeError):
                task.get_coro().close()
        asyncio._set_running_loop(None)

    def _boot_later(self) -> None:
        rng = self.rng
        kind = rng.random()
        if self.ending or kind < 0.6:
            away = rng.uniform(200.0, 20_000.0)
        elif kind < 0.9:
            away = rng.uniform(20_000.0, 3 * HOUR)
        else:
            away = rng.uniform(3 * HOUR, 40 * HOUR)
        self.world.at(self.world.now + away, self.boot)

    async def _stop(self) -> None:
        """The daemon is told to leave: it drains and comes back."""
        self.connection.drain()
        self.relay.intake.quiesce()
        await self.relay.stop(self.rng.choice((0.0, 1.0, 12.0)))
        self._stopped = True

    # --- what others do

    def act(self, kind: str) -> None:
        """Someone does something."""
        if kind == "jump":
            self.clock.schedule_ms()
            self.publisher.jumping()
            hours = self.rng.choice((-24.0, -1.0, -0.01, 0.01, 1.0, 24.0))
            self.world.wall_offset += hours * HOUR
            self.journal.tell(self.journal.at, "jump", hours)
            self.journal.jumps.append(self.journal.seq)
        elif kind == "publish":
            self.publisher.publish()
        elif kind == "repeat":
            self.publisher.repeat()
        elif kind == "crash" and self.stopping:
            self._crash_in = self.rng.randint(1, 200)
        elif not self.up:
            if kind == "create" and self.world.now < 60_000:
                self.world.at(self.world.now + 500, lambda: self.act("create"))
        elif kind == "crash":
            self._crash_in = self.rng.choice((0, self.rng.randint(1, 30), self.rng.randint(1, 200)))
        elif kind == "stop":
            self.up = False
            self.stopping = True
            self.journal.everywhere(self.clock.schedule_ms(), "stopping")
            self.spawn(self._stop())
        else:
            self.operator.act(kind)

    async def _recover(self) -> None:
        """Enable everything and send what was held, failed or put off."""
        relay, operator = self.relay, self.operator
        states = frozenset((DeliveryState.FAILED, DeliveryState.HELD))
        # Until what was in flight when everything was mended has failed: a retry passes it over.
        await relay.clock.sleep(60)
        for webhook in list(relay.registry):
            await operator._switch(webhook.row, enabled=True)
            current = relay.registry.by_row(webhook.row)
            if current is not None:
                await operator.window(current, states, 0)

    # --- running

    def run(self) -> None:
        """Let the three days pass, then mend everything and wait."""
        self.boot()
        for action in self.plan.actions:
            self.world.at(action.at, self._acting(action.kind))
        self._run_until(lambda: self.world.now >= RUN_MS)
        self.ending = True
        self._crash_in = None
        self.receivers.mend()
        self._run_until(lambda: self.up)
        self.spawn(self._recover())
        end = self.world.now + DRAIN_MS
        self._run_until(lambda: self.world.now >= end)

    def finish(self) -> None:
        """Stop the relay for good, and look at everything."""
        self.up = False
        self.journal.everywhere(self.clock.schedule_ms(), "stopping")
        self._stopped = False
        self.spawn(self._stop())
        self._run_until(lambda: self._stopped)
        self.limits.over()
        self.loop.kill()
        self._bury()
        self.journal.everywhere(self.journal.at, "over")
        check_schedule(self.journal, self.limits, self.plan, self.well)
        check_log(self.journal, self.disk.state_dir / "relay.db", self.plan, self.rule, self.disk)

    def _acting(self, kind: str) -> Callable[[], None]:
        return lambda: None if self.ending else self.act(kind)

    def _run_until(self, over: Callable[[], bool]) -> None:
        self._stopped = False
        while not over():
            loop = self.loop
            if loop.ready:
                self._run_ready()
                if self.steps > STEPS_MAX:
                    self.journal.wrong("no error", "the loop never comes to rest")
                    return
            elif self._stopped and not self.ending:
                self._over("stop")
                self.disk.drop()
                self._bury()
                self._boot_later()
            elif self.world.next_ms() is None:
                self.journal.wrong("no error", "nothing is left to happen")
                return
            else:
                self.world.fire_next()
            if len(self.journal.violations) >= 5:
                return

    def _run_ready(self) -> None:
        """Let everything that is ready run, or as much as comes before the crash."""
        most = STEPS_MAX if self._crash_in is None else self._crash_in
        ran = self.loop.run_ready(most)
        self.steps += ran
        if self.loop.errors:
            self.journal.wrong("no error", self.loop.errors.pop())
        if self._crash_in is not None:
            self._crash_in -= ran
            if self.loop.ready:
                self.crash()


class _NoApi:
    """The API's room: to put it together takes a good part of a start, and nobody calls it here."""

    def __init__(self, relay: Relay) -> None: ...

    async def stop(self) -> None:
        """Nothing listens."""


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The relay's log costs more than the rest of a run."""
    before = structlog.get_config()
    threshold = logs._Now.threshold
    logs._Now.threshold = 100
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
        logs._Now.threshold = threshold


def _drop(*_: object) -> dict[str, Any]:
    raise structlog.DropEvent


def memory_folder() -> str | None:
    """Where files cost no disk, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - made below, by mkdtemp


def simulate(seed: int) -> Result:
    """Run one seed. The same seed gives the same trace."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=memory_folder()))
    outside = asyncio._get_running_loop()
    plan = Plan(seed)
    simulation = Simulation(plan, folder)
    journal = simulation.journal
    try:
        bounds = small_bounds() if plan.small_bounds else contextlib.nullcontext()
        with _silence(), mock.patch.object(relay, "ApiPart", _NoApi), bounds:
            simulation.run()
            if not journal.violations:
                simulation.finish()
    finally:
        simulation.loop.kill()
        simulation._bury()
        simulation.disk.drop()
        asyncio._set_running_loop(outside)
        shutil.rmtree(folder, ignore_errors=True)
    result = Result(
        seed,
        journal.trace,
        journal.violations,
        sum(line.answer is not None and bool(line.answer["ok"]) for line in journal.lines),
        len(journal.attempts),
        journal.crashes,
        simulation.steps,
    )
    del simulation
    gc.collect()
    return result

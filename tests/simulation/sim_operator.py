"""Operators: what people outside do to the relay."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from prynt_relay.errors import ConflictError, NotFoundError, RelayError, ShuttingDownError
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput
from tests.simulation.sim_journal import Ask
from tests.simulation.sim_publisher import HOUR_MS, TYPES

if TYPE_CHECKING:
    from tests.simulation.sim_run import Simulation


class Operator:
    """Creates, changes, retries and deletes, one change of a webhook at a time."""

    def __init__(self, simulation: "Simulation", rng: random.Random) -> None:
        self._simulation = simulation
        self._rng = rng
        self._created = 0
        self._busy: set[int] = set()
        self._testing: set[int] = set()
        self.asks = 0

    def crashed(self) -> None:
        """What was under way never came back."""
        self._busy.clear()
        self._testing.clear()

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
        """Send a sample, one at a time to a webhook, and perhaps the same once more by a retry."""
        simulation = self._simulation
        webhook = self._webhook(row)
        if webhook is None or row in self._testing:
            return
        self._testing.add(row)
        try:
            number = await simulation.relay.sampling.test(webhook.id, None)
        finally:
            self._testing.discard(row)
        journal = simulation.journal
        event_row = next(
            attempt.event_row
            for attempt in reversed(journal.attempts)
            if attempt.is_test and attempt.webhook_row == row
        )
        journal.delivery_rows[number] = (row, event_row)
        if self._rng.random() < 0.5:
            await self._retry(number, (row, event_row))

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
        await self._retry(*self._rng.choice(mine))

    async def _retry(self, number: int, key: tuple[int, int]) -> None:
        simulation, row = self._simulation, key[0]
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
        ask.accepted = True
        await relay.changes.conversions.finished(webhook.row)
        self._note(webhook.row, "jobs_done", {ask.number})

    def _ask(self, **what: Any) -> Ask:
        self.asks += 1
        return Ask(self.asks, at=self._simulation.clock.schedule_ms(), **what)

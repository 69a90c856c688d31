"""Receivers that work, fail in every way, are slow, drip or are away for minutes to days."""

import asyncio
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format, Outcome
from prynt_relay.model.webhook import Secrets, Webhook
from prynt_relay.transport import describe, formats, signatures
from tests.simulation.sim_journal import Attempt, Journal
from tests.simulation.sim_world import SimClock, World

if TYPE_CHECKING:
    from tests.simulation.check_health import HealthRule
    from tests.simulation.check_limits import Limits

MINUTE = 60_000.0
HOUR = 60 * MINUTE
FAILURES = tuple(outcome for outcome in Outcome if outcome is not Outcome.SUCCESS)
DRIPS_FOR_S = 0.5
ROTATION_GRACE_MS = 5_000


class Regime(NamedTuple):
    """How a receiver behaves until some moment."""

    until: float
    kind: str  # well, slow, drip, flaky, down
    outcome: Outcome


WELL = Regime(math.inf, "well", Outcome.SUCCESS)


class Receiver:
    """One endpoint: its regimes follow from its number and the seed."""

    def __init__(
        self, seed: str, wall_ms: Callable[[], int], *, always_well: bool, end: float
    ) -> None:
        self._rng = random.Random(seed)
        self._wall_ms = wall_ms
        self.always_well = always_well
        # Which secret may sign, from and until which moment (wall, ms).
        self.secrets: dict[str, tuple[float, float]] = {}
        self.bodies: dict[int, bytes] = {}
        self._regimes: list[Regime] = []
        rng = self._rng
        at = 0.0
        while at < end:
            at += rng.expovariate(1 / (14 * HOUR))
            self._regimes.append(Regime(at, "well", Outcome.SUCCESS))
            at += MINUTE * 2 ** rng.uniform(0, 12)  # a minute to almost three days
            kind = rng.choices(("down", "flaky", "slow", "drip"), (6, 2, 2, 1))[0]
            self._regimes.append(Regime(at, kind, rng.choice(FAILURES)))
        if always_well:
            self._regimes = []

    def mend(self) -> None:
        """From now on it works."""
        self._regimes = []

    def learn(self, secrets: Secrets) -> None:
        """An operator tells which secrets sign now and next; others have a moment to go."""
        for secret, (since, until) in self.secrets.items():
            self.secrets[secret] = (since, min(until, self._wall_ms() + ROTATION_GRACE_MS))
        if secrets.pending is None or secrets.pending_at_ms is None:
            self.secrets[secrets.current] = (-math.inf, math.inf)
            return
        until = secrets.pending_at_ms + ROTATION_GRACE_MS
        self.secrets[secrets.current] = (-math.inf, until)
        self.secrets[secrets.pending] = (secrets.pending_at_ms, math.inf)

    def answer(self, now: float, timeout_s: float) -> tuple[Outcome, float, float]:
        """How an attempt ends, after how many seconds, and for how many its body drips."""
        while self._regimes and self._regimes[0].until <= now:
            self._regimes.pop(0)
        rng = self._rng
        quick_s = 0.005 * 2 ** rng.uniform(0, 5)
        regime = self._regimes[0] if self._regimes else WELL
        if regime.kind == "slow":
            slow_s = rng.uniform(0.5, timeout_s * 1.1)
            late = slow_s >= timeout_s
            return Outcome.TIMEOUT if late else Outcome.SUCCESS, min(slow_s, timeout_s), 0.0
        if regime.kind == "drip":
            return Outcome.SUCCESS, quick_s, DRIPS_FOR_S
        if regime.kind == "well" or (regime.kind == "flaky" and rng.random() < 0.5):
            return Outcome.SUCCESS, quick_s, 0.0
        outcome = regime.outcome if rng.random() < 0.9 else rng.choice(FAILURES)
        if outcome is Outcome.TIMEOUT:
            return outcome, timeout_s, 0.0
        drip_s = 2.0 if outcome is Outcome.HTTP_ERROR and rng.random() < 0.1 else 0.0
        return outcome, quick_s, drip_s


class Receivers:
    """All endpoints, by their webhooks' URLs."""

    def __init__(self, world: World, journal: Journal, seed: int, end: float) -> None:
        self.world = world
        self.journal = journal
        self._seed = seed
        self._end = end
        self._by_url: dict[str, Receiver] = {}
        self._mended = False

    def at(self, url: str) -> Receiver:
        """The receiver at a URL; one of the well-behaved where it says so."""
        receiver = self._by_url.get(url)
        if receiver is None:
            receiver = self._by_url[url] = Receiver(
                f"{self._seed} {url}",
                self.world.wall_ms,
                always_well="well" in url,
                end=self._end,
            )
            if self._mended:
                receiver.mend()
        return receiver

    def mend(self) -> None:
        """From now on all of them work."""
        self._mended = True
        for receiver in self._by_url.values():
            receiver.mend()


class Samples:
    """The same door for who sends samples."""

    def __init__(self, sender: "SimSender") -> None:
        self.send = sender.send_sample


class SimSender:
    """The transport's door, with simulated receivers behind it; one for each run of the relay."""

    def __init__(
        self,
        receivers: Receivers,
        clock: SimClock,
        limits: "Limits",
        rule: "HealthRule",
        *,
        timeout_s: float,
    ) -> None:
        self._receivers = receivers
        self._journal = receivers.journal
        self._clock = clock
        self._limits = limits
        self._rule = rule
        self._timeout_s = timeout_s
        self.flying: dict[tuple[int, int], Attempt] = {}
        self.dead = False

    @staticmethod
    def template(webhook: Webhook) -> str:
        """As the real one's."""
        return describe.template(webhook)

    def set_timeout(self, timeout_s: float) -> None:
        """Nothing reloads."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(
        self, webhook: Webhook, event: StoredEvent, format: Format, *, is_test: bool = False
    ) -> AttemptResult:
        """One attempt, as the receiver sees it."""
        journal, clock = self._journal, self._clock
        started_ms = clock.wall_ms()
        receiver = self._receivers.at(webhook.url)
        signature = self._check_request(receiver, webhook, event, format, started_ms)
        attempt = Attempt(
            webhook.row, event.row, event.event_id, at=clock.schedule_ms(), started_ms=started_ms,
            is_test=is_test,
        )  # fmt: skip
        if not event.data.startswith(b'{"n":'):
            journal.samples.add(event.row)
        else:
            journal.events[event.row] = (event.event_id, int(event.data[5:-1]))
        key = (webhook.row, event.row)
        if key in self.flying:
            journal.wrong("in flight", f"delivery {key} is sent twice at a time")
        self.flying[key] = attempt
        journal.attempts.append(attempt)
        journal.delivery(attempt, attempt.at, "start")
        self._limits.started(webhook, attempt)
        timeout_s = webhook.timeout_s or self._timeout_s
        outcome, after_s, drip_s = receiver.answer(self._receivers.world.now, timeout_s)
        try:
            await clock.sleep(after_s)
            attempt.duration_ms = round(after_s * 1000)
            if drip_s:
                await clock.sleep(drip_s)
        except asyncio.CancelledError:
            if not self.dead:
                self._over(attempt, "cut")
            raise
        attempt.outcome = outcome
        attempt.slot_s = after_s + drip_s
        self._over(attempt, "end")
        status = {Outcome.SUCCESS: 200, Outcome.HTTP_ERROR: 503}.get(outcome)
        return AttemptResult(
            outcome, started_ms, attempt.duration_ms, attempt.slot_s, signature, status,
            truncated=bool(drip_s), cut_off=bool(drip_s),
        )  # fmt: skip

    async def send_sample(
        self, webhook: Webhook, event: StoredEvent, format: Format
    ) -> AttemptResult:
        """An attempt that was asked for as a test."""
        return await self.send(webhook, event, format, is_test=True)

    def _over(self, attempt: Attempt, kind: str) -> None:
        attempt.ended_at = self._clock.schedule_ms()
        attempt.fate = "ended" if kind == "end" else kind
        self._limits.ended(attempt)
        if kind == "end" and not attempt.is_test:
            self._rule.ended(attempt)
        self._journal.delivery(attempt, attempt.ended_at, kind)
        del self.flying[attempt.webhook_row, attempt.event_row]

    def _check_request(
        self, receiver: Receiver, webhook: Webhook, event: StoredEvent, format: Format, wall_ms: int
    ) -> bytes:
        """The same bytes on every attempt, signed with a secret that the receiver knows."""
        body = formats.render(format, event, webhook.id)
        if receiver.bodies.setdefault(event.row, body) != body:
            self._journal.wrong("same bytes", f"event {event.event_id} has another body now")
        headers, packed = signatures.sign(
            webhook.signatures, webhook.secrets, wall_ms=wall_ms, event_id=event.event_id,
            body=body,
        )  # fmt: skip
        known = [
            signatures.prynt.digest(secret, wall_ms // 1000, event.event_id, body)
            for secret, (since, until) in receiver.secrets.items()
            if since <= wall_ms <= until
        ]
        if packed not in known:
            self._journal.wrong("signature", f"none of the receiver's secrets made {headers}")
        return packed

"""What one seed means: settings, and who does what when."""

import math
import random
from typing import NamedTuple

HOUR = 3_600_000.0
MINUTE = 60_000.0
RUN_MS = 72 * HOUR


SCENES = (
    ("disable", "crash"),
    ("delete", "crash"),
    ("enable", "crash"),
    ("window", "crash"),
    ("blink", "stop"),
)


class Action(NamedTuple):
    """Something that someone does at a moment (ms since the beginning)."""

    at: float
    kind: str


class Plan:
    """Everything that is decided before the run begins."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = self._rng = random.Random(seed)
        self.random_bytes = random.Random(f"{seed} bytes").randbytes
        self.concurrency = rng.choice((4, 8, 16, 64))
        self.per_webhook = rng.choice((1, 2, 4, 16))
        self.retry_schedule_s = rng.choice(((300.0, 1800.0),) * 4 + ((5.0, 30.0), (20.0,), ()))
        # Kept for a month, or for so short that even what is scheduled grows older than that.
        self.history_s = rng.choice((None, None, None, 26 * 3600.0))
        if self.history_s is not None and random.Random(f"{seed} history").random() < 0.5:
            self.history_s = 20 * 60.0
        # A key is recognised for as long as its event is kept.
        self.dedup_window_s = min(86_400.0, self.history_s or math.inf)
        self.webhooks = rng.randint(2, 5)
        self.crowd = rng.random() < 0.1
        self.small_bounds = random.Random(f"{seed} bounds").random() < 0.5
        self.actions = sorted(self._actions(rng))

    def _scenes(self, publish: list[Action]) -> list[Action]:
        """Ends in the middle of what takes many steps, while deliveries wait for their retry."""
        rng = random.Random(f"{self.seed} scenes")
        found = []
        for _ in range(rng.choice((0, 1, 2))):
            at = rng.choice(publish).at
            at += rng.choice((rng.uniform(0.0, 100.0), rng.uniform(1000.0, 290_000.0)))
            found += [Action(at, kind) for kind in rng.choice(SCENES)]
        return found

    def _farewells(self, publish: list[Action]) -> list[Action]:
        """Webhooks go off and on again just as the relay is told to leave."""
        rng = random.Random(f"{self.seed} farewells")
        if rng.random() < 0.5:
            return []
        at = rng.choice(publish).at + rng.uniform(1000.0, 290_000.0)
        blinks = [Action(at, "blink")] * self.webhooks
        return [*blinks, Action(at + rng.choice((0.0, rng.uniform(0.0, 60.0))), "stop")]

    def _actions(self, rng: random.Random) -> list[Action]:
        first = [Action(1000.0 + number, "create") for number in range(self.webhooks)]
        if self.crowd:
            # Many endpoints that hang beside one that is well.
            first += [Action(1500.0 + number, "create") for number in range(12)]
        bursts = rng.randint(15, 55)
        if self.crowd:
            # Each of a crowd's events becomes five times as many deliveries as another's.
            bursts //= 3
        publish = [Action(rng.uniform(2000.0, RUN_MS), "publish") for _ in range(bursts)]
        publish += [
            Action(action.at + rng.uniform(0.0, 900.0), "publish")
            for action in publish
            if rng.random() < 0.3
        ]
        kinds = ("create", "delete", "disable", "enable", "blink", "window", "one", "rotate",
                 "test", "repeat", "change")  # fmt: skip
        weights = (1, 1, 3, 5, 3, 5, 6, 1, 2, 4, 1)
        others = []
        for _ in range(rng.randint(10, 50)):
            at = rng.uniform(2000.0, RUN_MS)
            if rng.random() < 0.6:
                # In the middle of what follows from a burst: deliveries, and their retries.
                at = rng.choice(publish).at + rng.choice(
                    (
                        rng.uniform(0.0, 200.0),
                        rng.uniform(0.0, 12_000.0),
                        300_000.0 + rng.uniform(0, 9e3),
                    )
                )
            others += [Action(at, rng.choices(kinds, weights)[0])] * rng.choice((1, 1, 1, 2))
        others += self._scenes(publish) + self._farewells(publish)
        ends = [
            Action(
                rng.choice(publish + others).at + rng.choice((0.0, rng.uniform(0.0, 12_000.0))),
                rng.choice(("crash", "crash", "crash", "stop")),
            )
            for _ in range(rng.randint(0, 7))
        ]
        jumps = [
            Action(rng.uniform(0.0, RUN_MS), "jump") for _ in range(rng.choice((0, 0, 0, 1, 2)))
        ]
        return first + publish + others + ends + jumps

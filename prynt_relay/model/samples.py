"""Made-up events that look like real ones: for tests of an endpoint, the demo and the docs.

Built after what the specification says of each type (sections 3 and 4) and what its own receivers
read (section 8).
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from prynt_relay.model.ids import BASE62
from prynt_relay.model.scenarios import (
    ALERTS,
    BLOCKED,
    BOTS,
    CHALLENGED,
    DEVICES,
    LISTS,
    NETWORKS,
    PLACES,
    QUIET,
    Scenario,
)

Data = dict[str, Any]
_T = TypeVar("_T")
_FRESH: Final = random.SystemRandom()
_DAY_S: Final = 86_400


class _Chance:
    """The usual choice without a generator, a drawn one with it; ids are fresh either way."""

    def __init__(self, rng: random.Random | None) -> None:
        self._rng = rng
        self._ids = rng or _FRESH

    def pick(self, options: Sequence[_T]) -> _T:
        return self._rng.choice(options) if self._rng else options[0]

    def integer(self, usual: int, low: int, high: int) -> int:
        return self._rng.randint(low, high) if self._rng else usual

    def score(self, low: float, high: float) -> float:
        """Two decimals; halfway without a generator."""
        return round(self._rng.uniform(low, high) if self._rng else (low + high) / 2, 2)

    def text(self, length: int, alphabet: str = BASE62) -> str:
        return "".join(self._ids.choices(alphabet, k=length))


def _second(unix_s: float) -> str:
    """ISO 8601 to the second, as the specification's example writes times inside `data`."""
    return datetime.fromtimestamp(int(unix_s), UTC).isoformat()[:-6] + "Z"


class _Visit:
    """One identification; every type that carries its context is built on it."""

    def __init__(self, chance: _Chance, now_s: float, scenario: Scenario, *, new: bool) -> None:
        self.chance = chance
        self.now_s = now_s
        self.scenario = scenario
        self.visits = 1 if new else chance.integer(47, 2, 240)
        self.first_s = now_s if new else now_s - chance.integer(153, 2, 540) * _DAY_S
        self.request_id = f"req_{int(now_s)}_{chance.text(6, '0123456789abcdef')}"
        self.visitor_id = "pv_" + chance.text(13)
        self.ip = f"{chance.pick(NETWORKS)}.{chance.integer(42, 1, 254)}"
        self.rule = {
            "id": scenario.rule_id,
            "name": scenario.rule,
            "condition": scenario.condition,
            "action": scenario.verdict,
        }

    def context(self) -> Data:
        """All fields of the specification's `identification.complete`, in its order."""
        chance, scenario = self.chance, self.scenario
        device = chance.pick(
            [d for d in DEVICES if not scenario.device_type or d.type == scenario.device_type]
        )
        new = self.visits == 1
        return {
            "requestId": self.request_id,
            "visitorId": self.visitor_id,
            "visitorFound": not new,
            "confidence": chance.score(0.9, 1.0) if chance.integer(0, 0, 3) else 0.995,
            "firstSeenAt": _second(self.first_s),
            "lastSeenAt": _second(self.now_s),
            "visitCount": self.visits,
            "ip": self.ip,
            "geo": chance.pick(PLACES)._asdict(),
            "device": device._asdict(),
            "signals": self._signals(),
            "scores": {
                "abuse": chance.score(*scenario.abuse),
                "ato": chance.score(*scenario.ato),
                "bot": chance.score(*scenario.bot),
                "suspect": chance.integer(scenario.suspect[0], *scenario.suspect),
            },
            "verdict": scenario.verdict,
            "matchedRules": [{"id": scenario.rule_id, "name": scenario.rule}]
            if scenario.rule
            else [],
        }

    def _signals(self) -> Data:
        quiet: Data = {
            "bot": {"detected": False, "type": None},
            "vpn": {"detected": False, "provider": None},
            "proxy": {"detected": False, "type": None},
            "tor": False,
            "incognito": False,
            "tampered": False,
            "emulator": False,
            "rootedDevice": False,
        }
        # Copied: the table's own dictionaries must not reach a caller who may change them.
        found = {k: dict(v) if isinstance(v, dict) else v for k, v in self.scenario.signals.items()}
        return quiet | found


def _identification(chance: _Chance, now_s: float) -> Data:
    return _Visit(chance, now_s, QUIET, new=chance.integer(1, 0, 4) == 0).context()


def _verdict_allow(chance: _Chance, now_s: float) -> Data:
    return _Visit(chance, now_s, QUIET, new=False).context()


def _verdict_block(chance: _Chance, now_s: float) -> Data:
    visit = _Visit(chance, now_s, chance.pick(BLOCKED), new=chance.integer(1, 0, 1) == 0)
    return visit.context() | {"rule": visit.rule}


def _verdict_challenge(chance: _Chance, now_s: float) -> Data:
    scenario = chance.pick(CHALLENGED)
    visit = _Visit(chance, now_s, scenario, new=False)
    return visit.context() | {"challengeType": scenario.challenge, "rule": visit.rule}


def _rule_matched(chance: _Chance, now_s: float) -> Data:
    scenario = chance.pick(CHALLENGED + BLOCKED)
    visit = _Visit(chance, now_s, scenario, new=False)
    return visit.context() | {"rule": visit.rule | {"matchedAt": _second(now_s)}}


def _visitor_new(chance: _Chance, now_s: float) -> Data:
    return _Visit(chance, now_s, QUIET, new=True).context()


def _visitor_returning(chance: _Chance, now_s: float) -> Data:
    visit = _Visit(chance, now_s, QUIET, new=False)
    earlier = visit.visits - 1
    challenged = min(earlier, chance.integer(2, 0, 3))
    blocked = min(earlier - challenged, chance.integer(1, 0, 2))
    return visit.context() | {
        "history": {
            "firstSeenAt": _second(visit.first_s),
            "previousSeenAt": _second(now_s - (now_s - visit.first_s) / visit.visits),
            "visitCount": visit.visits,
            "previousVerdicts": {
                "allow": earlier - challenged - blocked,
                "challenge": challenged,
                "block": blocked,
            },
        }
    }


def _bot_detected(chance: _Chance, now_s: float) -> Data:
    visit = _Visit(chance, now_s, BLOCKED[0], new=chance.integer(0, 0, 2) == 0)
    data = visit.context()
    bot_type, method = chance.pick(BOTS)
    data["signals"]["bot"]["type"] = bot_type
    confidence = chance.score(0.9, 0.99)
    return data | {
        "bot": {"type": bot_type, "detectionMethod": method, "confidence": confidence},
    }


def _list_entry(chance: _Chance) -> Data:
    list_id, list_name = chance.pick(LISTS)
    kind = chance.pick(("ip", "visitorId", "emailDomain"))
    value = {
        "ip": f"{chance.pick(NETWORKS)}.{chance.integer(42, 1, 254)}",
        "visitorId": "pv_" + chance.text(13),
        "emailDomain": chance.pick(("mail.example", "inbox.example", "throwaway.example")),
    }[kind]
    return {
        "listId": list_id,
        "listName": list_name,
        "entryId": "ent_" + chance.text(13),
        "entryType": kind,
        "value": value,
    }


def _list_added(chance: _Chance, now_s: float) -> Data:
    rule = chance.pick(BLOCKED)
    by_rule: Data = {"type": "rule", "ruleId": rule.rule_id, "ruleName": rule.rule}
    by_hand: Data = {"type": "manual", "addedBy": "analyst@example.com"}
    ttl_s = chance.pick((7 * _DAY_S, _DAY_S, 3600))
    return _list_entry(chance) | {
        "source": chance.pick((by_rule, by_hand)),
        "ttlSeconds": ttl_s,
        "addedAt": _second(now_s),
        "expiresAt": _second(now_s + ttl_s),
    }


def _list_expired(chance: _Chance, now_s: float) -> Data:
    ttl_s = chance.pick((7 * _DAY_S, _DAY_S, 3600))
    return _list_entry(chance) | {
        "ttlSeconds": ttl_s,
        "addedAt": _second(now_s - ttl_s),
        "expiredAt": _second(now_s),
    }


def _alert(chance: _Chance, now_s: float) -> Data:
    """Return an alert with the visit that tripped it: the specification's receiver reads both."""
    alert_id, name, kind, metric, threshold, window_s, severity = chance.pick(ALERTS)
    visit = _Visit(chance, now_s, BLOCKED[0], new=False)
    value = round(threshold * (1 + chance.score(0.2, 1.4)), 2)
    return visit.context() | {
        "alert": {
            "id": alert_id,
            "name": name,
            "type": kind,
            "metric": metric,
            "operator": ">",
            "threshold": threshold,
            "windowSeconds": window_s,
            "severity": severity,
        },
        "metrics": {
            "value": value,
            "baseline": round(threshold * chance.score(0.3, 0.8), 2),
            "events": chance.integer(1840, 200, 9000),
            "visitors": chance.integer(312, 20, 190),
        },
        "windowStartedAt": _second(now_s - window_s),
        "triggeredAt": _second(now_s),
    }


_BUILDERS: Final[dict[str, Callable[[_Chance, float], Data]]] = {
    "identification.complete": _identification,
    "verdict.allow": _verdict_allow,
    "verdict.block": _verdict_block,
    "verdict.challenge": _verdict_challenge,
    "rule.matched": _rule_matched,
    "visitor.new": _visitor_new,
    "visitor.returning": _visitor_returning,
    "signal.bot.detected": _bot_detected,
    "list.entry.added": _list_added,
    "list.entry.expired": _list_expired,
    "alert.triggered": _alert,
}


def sample_data(
    event_type: str, *, rng: random.Random | None = None, now_ms: int | None = None
) -> Data:
    """Return the `data` of a realistic event of this type, a fresh dictionary each time.

    Without `rng` it is the type's usual case, with new ids and the present moment as its times;
    with one everything is drawn from it. `now_ms` (Unix time in milliseconds) replaces the
    present, so that `rng` and `now_ms` together fix every byte. A type that isn't one of the
    specification's gets an object that says so: nothing is known of what it holds.
    """
    now_s = (time.time_ns() // 1_000_000 if now_ms is None else now_ms) / 1000
    chance = _Chance(rng)
    builder = _BUILDERS.get(event_type)
    if builder is None:
        return {"sample": True, "reference": "ref_" + chance.text(13), "at": _second(now_s)}
    return builder(chance, now_s)

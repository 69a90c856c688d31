"""Made-up events that look like real ones: for tests of an endpoint, the demo and the docs.

Built after what the specification says of each type (sections 3 and 4) and what its own receivers
read (section 8). Addresses come from the ranges that RFC 5737 sets aside for documentation.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

from prynt_relay.model.ids import BASE62

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


class _Place(NamedTuple):
    city: str
    region: str
    country: str
    latitude: float
    longitude: float
    timezone: str


class _Device(NamedTuple):
    platform: str
    browser: str
    gpu: str
    type: str
    screenRes: str  # noqa: N815 - the name on the wire
    language: str


class _Range(NamedTuple):
    low: float
    high: float


class _Scenario(NamedTuple):
    """A visit that a rule has something to say about; `signals` replaces the quiet defaults."""

    rule_id: str
    rule: str
    condition: str
    verdict: str
    signals: Data
    abuse: _Range
    ato: _Range
    bot: _Range
    suspect: tuple[int, int]
    challenge: str = ""
    device_type: str = ""


_PLACES: Final = (
    _Place("San Francisco", "California", "US", 37.7749, -122.4194, "America/Los_Angeles"),
    _Place("Toronto", "Ontario", "CA", 43.6532, -79.3832, "America/Toronto"),
    _Place("São Paulo", "São Paulo", "BR", -23.5505, -46.6333, "America/Sao_Paulo"),
    _Place("London", "England", "GB", 51.5072, -0.1276, "Europe/London"),
    _Place("Berlin", "Berlin", "DE", 52.52, 13.405, "Europe/Berlin"),
    _Place("Kraków", "Lesser Poland", "PL", 50.0647, 19.945, "Europe/Warsaw"),
    _Place("Nairobi", "Nairobi County", "KE", -1.2921, 36.8219, "Africa/Nairobi"),
    _Place("Singapore", "Central Singapore", "SG", 1.3521, 103.8198, "Asia/Singapore"),
    _Place("Osaka", "Osaka", "JP", 34.6937, 135.5023, "Asia/Tokyo"),
)

_DEVICES: Final = (
    _Device("macOS", "Chrome 121", "Apple M3 Pro", "desktop", "2560x1440", "en-US"),
    _Device("Windows", "Edge 121", "NVIDIA GeForce RTX 3060", "desktop", "1920x1080", "en-GB"),
    _Device("Linux", "Firefox 122", "AMD Radeon RX 6700 XT", "desktop", "3440x1440", "de-DE"),
    _Device("Android", "Chrome Mobile 121", "Adreno 740", "mobile", "1080x2340", "pt-BR"),
    _Device("iOS", "Mobile Safari 17", "Apple A17 Pro", "mobile", "1179x2556", "ja-JP"),
    _Device("iPadOS", "Mobile Safari 17", "Apple M2", "tablet", "1640x2360", "pl-PL"),
)

_NETWORKS: Final = ("203.0.113", "198.51.100", "192.0.2")

_QUIET: Final = _Scenario(
    "", "", "", "allow", {}, _Range(0.01, 0.05), _Range(0.01, 0.03), _Range(0.01, 0.03), (4, 12)
)

_BLOCKED: Final = (
    _Scenario(
        "rule_2bTq8LxV4mZr9",
        "Block automated browsers",
        "signals.bot.detected == true",
        "block",
        {"bot": {"detected": True, "type": "headless_chrome"}},
        _Range(0.62, 0.94),
        _Range(0.05, 0.35),
        _Range(0.93, 0.99),
        (91, 99),
    ),
    _Scenario(
        "rule_7hWc3NpK6yDf1",
        "Block tampered browsers behind a VPN",
        "signals.tampered == true && signals.vpn.detected == true",
        "block",
        {"tampered": True, "vpn": {"detected": True, "provider": "NordVPN"}},
        _Range(0.71, 0.96),
        _Range(0.31, 0.72),
        _Range(0.12, 0.44),
        (78, 95),
    ),
    _Scenario(
        "rule_5gMs1RjB8uXe4",
        "Block emulated devices",
        "signals.emulator == true && scores.abuse > 0.6",
        "block",
        {"emulator": True, "rootedDevice": True},
        _Range(0.66, 0.91),
        _Range(0.08, 0.4),
        _Range(0.35, 0.7),
        (74, 90),
        device_type="mobile",
    ),
)

_CHALLENGED: Final = (
    _Scenario(
        "rule_9kFv6ZaQ2tHn5",
        "Challenge sign-ins that look taken over",
        "scores.ato > 0.5",
        "challenge",
        {"incognito": True},
        _Range(0.12, 0.3),
        _Range(0.55, 0.8),
        _Range(0.02, 0.08),
        (52, 68),
        challenge="mfa",
    ),
    _Scenario(
        "rule_3dYx7CwE1oGb8",
        "Challenge anonymising networks",
        "signals.vpn.detected == true || signals.proxy.detected == true || signals.tor == true",
        "challenge",
        {
            "vpn": {"detected": True, "provider": "Mullvad"},
            "proxy": {"detected": True, "type": "residential"},
        },
        _Range(0.2, 0.45),
        _Range(0.05, 0.2),
        _Range(0.1, 0.3),
        (44, 61),
        challenge="captcha",
    ),
)

_BOTS: Final = (
    ("headless_chrome", "browser_automation"),
    ("selenium", "webdriver_flag"),
    ("playwright", "browser_automation"),
    ("scraper", "behavioral_analysis"),
)

_LISTS: Final = (("lst_8qPw4RkC1zTn6", "Blocked sources"), ("lst_2mXb9VhS5eJd7", "Watch list"))

_ALERTS: Final = (
    ("alr_6sJd2FqX9wLk3", "Bot traffic spike", "spike", "bot_traffic_ratio", 0.2, 300, "high"),
    ("alr_1vNz8TeR5cUp7", "Sign-up velocity", "velocity", "signups_per_ip", 20, 600, "critical"),
    ("alr_4yHm3GbW7iAs9", "Unusual block rate", "anomaly", "block_ratio", 0.1, 900, "medium"),
)


def _second(unix_s: float) -> str:
    """ISO 8601 to the second, as the specification's example writes times inside `data`."""
    return datetime.fromtimestamp(int(unix_s), UTC).isoformat()[:-6] + "Z"


class _Visit:
    """One identification; every type that carries its context is built on it."""

    def __init__(self, chance: _Chance, now_s: float, scenario: _Scenario, *, new: bool) -> None:
        self.chance = chance
        self.now_s = now_s
        self.scenario = scenario
        self.visits = 1 if new else chance.integer(47, 2, 240)
        self.first_s = now_s if new else now_s - chance.integer(153, 2, 540) * _DAY_S
        self.request_id = f"req_{int(now_s)}_{chance.text(6, '0123456789abcdef')}"
        self.visitor_id = "pv_" + chance.text(13)
        self.ip = f"{chance.pick(_NETWORKS)}.{chance.integer(42, 1, 254)}"
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
            [d for d in _DEVICES if not scenario.device_type or d.type == scenario.device_type]
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
            "geo": chance.pick(_PLACES)._asdict(),
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
    return _Visit(chance, now_s, _QUIET, new=chance.integer(1, 0, 4) == 0).context()


def _verdict_allow(chance: _Chance, now_s: float) -> Data:
    return _Visit(chance, now_s, _QUIET, new=False).context()


def _verdict_block(chance: _Chance, now_s: float) -> Data:
    visit = _Visit(chance, now_s, chance.pick(_BLOCKED), new=chance.integer(1, 0, 1) == 0)
    return visit.context() | {"rule": visit.rule}


def _verdict_challenge(chance: _Chance, now_s: float) -> Data:
    scenario = chance.pick(_CHALLENGED)
    visit = _Visit(chance, now_s, scenario, new=False)
    return visit.context() | {"challengeType": scenario.challenge, "rule": visit.rule}


def _rule_matched(chance: _Chance, now_s: float) -> Data:
    scenario = chance.pick(_CHALLENGED + _BLOCKED)
    visit = _Visit(chance, now_s, scenario, new=False)
    return visit.context() | {"rule": visit.rule | {"matchedAt": _second(now_s)}}


def _visitor_new(chance: _Chance, now_s: float) -> Data:
    return _Visit(chance, now_s, _QUIET, new=True).context()


def _visitor_returning(chance: _Chance, now_s: float) -> Data:
    visit = _Visit(chance, now_s, _QUIET, new=False)
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
    visit = _Visit(chance, now_s, _BLOCKED[0], new=chance.integer(0, 0, 2) == 0)
    data = visit.context()
    bot_type, method = chance.pick(_BOTS)
    data["signals"]["bot"]["type"] = bot_type
    confidence = chance.score(0.9, 0.99)
    return data | {
        "bot": {"type": bot_type, "detectionMethod": method, "confidence": confidence},
    }


def _list_entry(chance: _Chance) -> Data:
    list_id, list_name = chance.pick(_LISTS)
    kind = chance.pick(("ip", "visitorId", "emailDomain"))
    value = {
        "ip": f"{chance.pick(_NETWORKS)}.{chance.integer(42, 1, 254)}",
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
    rule = chance.pick(_BLOCKED)
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
    alert_id, name, kind, metric, threshold, window_s, severity = chance.pick(_ALERTS)
    visit = _Visit(chance, now_s, _BLOCKED[0], new=False)
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

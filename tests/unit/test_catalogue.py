"""The catalogue of event types and the samples behind `test`, the demo and the docs."""

import json
import random
import re
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from prynt_relay.model.catalogue import catalogue, sample_data
from prynt_relay.model.event import EVENT_TYPES

NOW_MS = 1_771_069_522_341

# The specification's example, section 4: every field with its type.
IDENTIFICATION: dict[str, Any] = {
    "requestId": str,
    "visitorId": str,
    "visitorFound": bool,
    "confidence": float,
    "firstSeenAt": str,
    "lastSeenAt": str,
    "visitCount": int,
    "ip": str,
    "geo": {
        "city": str,
        "region": str,
        "country": str,
        "latitude": float,
        "longitude": float,
        "timezone": str,
    },
    "device": dict.fromkeys(("platform", "browser", "gpu", "type", "screenRes", "language"), str),
    "signals": {
        "bot": {"detected": bool, "type": (str, type(None))},
        "vpn": {"detected": bool, "provider": (str, type(None))},
        "proxy": {"detected": bool, "type": (str, type(None))},
        "tor": bool,
        "incognito": bool,
        "tampered": bool,
        "emulator": bool,
        "rootedDevice": bool,
    },
    "scores": {"abuse": float, "ato": float, "bot": float, "suspect": int},
    "verdict": str,
    "matchedRules": list,
}
OWN_FIELDS: dict[str, set[str]] = {
    "identification.complete": set(),
    "verdict.allow": set(),
    "verdict.block": {"rule"},
    "verdict.challenge": {"rule", "challengeType"},
    "rule.matched": {"rule"},
    "visitor.new": set(),
    "visitor.returning": {"history"},
    "signal.bot.detected": {"bot"},
    "alert.triggered": {"alert", "metrics", "windowStartedAt", "triggeredAt"},
}


def assert_shape(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, dict):
        assert list(value) == list(shape), where
        for key, inner in shape.items():
            assert_shape(value[key], inner, f"{where}.{key}")
    else:
        assert isinstance(value, shape), where
        if shape is not bool:
            assert not isinstance(value, bool), where


def drawn_from(seed: int) -> random.Random:
    return random.Random(seed)


def draws() -> list[random.Random | None]:
    return [None, *(drawn_from(seed) for seed in range(40))]


def test_the_catalogue_lists_the_eleven_types_in_the_specification_s_order() -> None:
    """Every known type has a category, a description and a sample; extra ones come after."""
    infos = catalogue(["order.paid"])
    assert tuple(info.name for info in infos[:-1]) == EVENT_TYPES
    assert infos[-1].name == "order.paid"
    assert infos[-1].category == "Custom"
    assert all(info.category and info.description and info.sample for info in infos)
    assert {info.category for info in infos[:-1]} == {
        "Identification",
        "Verdict",
        "Rule",
        "Visitor",
        "Signal",
        "List",
        "Alert",
    }


@pytest.mark.parametrize("event_type", sorted(OWN_FIELDS))
def test_a_sample_carries_the_whole_identification_and_its_own_fields(event_type: str) -> None:
    """Types with the identification's context have all fields of the specification's example."""
    for rng in draws():
        data = sample_data(event_type, rng=rng)
        assert set(data) - set(IDENTIFICATION) == OWN_FIELDS[event_type]
        context = {key: data[key] for key in IDENTIFICATION}
        assert_shape(context, IDENTIFICATION, event_type)


def test_a_verdict_agrees_with_its_rule_its_signals_and_its_scores() -> None:
    """The rule of a block or a challenge names that action and is among the matched rules."""
    for rng in draws():
        for verdict in ("block", "challenge"):
            data = sample_data(f"verdict.{verdict}", rng=rng)
            assert data["verdict"] == data["rule"]["action"] == verdict
            assert [rule["id"] for rule in data["matchedRules"]] == [data["rule"]["id"]]
            assert data["scores"]["suspect"] > 40
            signals = data["signals"]
            assert signals["bot"]["detected"] == (signals["bot"]["type"] is not None)
            assert "emulator" not in data["rule"]["condition"] or data["device"]["type"] == "mobile"
        assert sample_data("verdict.challenge", rng=rng)["challengeType"] in ("mfa", "captcha")
        allowed = sample_data("verdict.allow", rng=rng)
        assert (allowed["verdict"], allowed["matchedRules"]) == ("allow", [])
        assert allowed["scores"]["suspect"] < 40


def test_a_history_adds_up() -> None:
    """A returning visitor's earlier verdicts are one for each earlier visit; a new one has none."""
    for rng in draws():
        data = sample_data("visitor.returning", rng=rng)
        history = data["history"]
        assert data["visitorFound"] is True
        assert sum(history["previousVerdicts"].values()) == data["visitCount"] - 1
        assert min(history["previousVerdicts"].values()) >= 0
        assert history["firstSeenAt"] <= history["previousSeenAt"] < data["lastSeenAt"]
        new = sample_data("visitor.new", rng=rng)
        assert (new["visitorFound"], new["visitCount"]) == (False, 1)
        assert new["firstSeenAt"] == new["lastSeenAt"]


def test_a_bot_is_described_alike_in_both_places() -> None:
    """The bot's type is the signal's; the method and the confidence come with it."""
    for rng in draws():
        data = sample_data("signal.bot.detected", rng=rng)
        assert data["signals"]["bot"] == {"detected": True, "type": data["bot"]["type"]}
        assert data["bot"]["detectionMethod"]
        assert 0 < data["bot"]["confidence"] < 1


def test_list_entries_name_their_list_value_source_and_lifetime() -> None:
    """What the specification says of the two list types is there, and the times agree."""
    names: dict[str, set[str]] = {}
    for rng in draws():
        added = sample_data("list.entry.added", rng=rng)
        assert added["source"]["type"] in ("rule", "manual")
        expired = sample_data("list.entry.expired", rng=rng)
        for data, end in ((added, "expiresAt"), (expired, "expiredAt")):
            assert data["listId"].startswith("lst_")
            names.setdefault(data["listId"], set()).add(data["listName"])
            assert data["value"]
            lifetime = datetime.fromisoformat(data[end]) - datetime.fromisoformat(data["addedAt"])
            assert lifetime == timedelta(seconds=data["ttlSeconds"])
    assert all(len(known) == 1 for known in names.values())


def test_an_alert_has_crossed_its_threshold() -> None:
    """The current value is over what the definition allows, and the baseline below it."""
    for rng in draws():
        data = sample_data("alert.triggered", rng=rng)
        threshold = data["alert"]["threshold"]
        assert data["metrics"]["baseline"] < threshold < data["metrics"]["value"]


def test_samples_are_of_the_present_with_fresh_ids() -> None:
    """Two samples of one type differ in their ids and carry the present second."""
    first, second = sample_data("verdict.block"), sample_data("verdict.block")
    assert first["visitorId"] != second["visitorId"]
    assert first["requestId"] != second["requestId"]
    assert re.fullmatch(r"req_\d{10}_[0-9a-f]{6}", first["requestId"])
    assert re.fullmatch(r"pv_[0-9A-Za-z]{13}", first["visitorId"])
    age_s = time.time() - datetime.fromisoformat(first["lastSeenAt"]).timestamp()
    assert -1 < age_s < 60


@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "order.paid"])
def test_a_seed_and_a_moment_fix_every_byte(event_type: str) -> None:
    """The same generator state and time give the same text, another seed another one."""

    def drawn(seed: int) -> str:
        return json.dumps(sample_data(event_type, rng=drawn_from(seed), now_ms=NOW_MS))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_changing_a_sample_changes_no_other() -> None:
    """What is handed out is the caller's own."""
    data = sample_data("verdict.block", now_ms=NOW_MS)
    data["signals"]["bot"]["detected"] = "changed"
    data["rule"]["name"] = "changed"
    data["geo"]["city"] = "changed"
    assert "changed" not in json.dumps(sample_data("verdict.block", now_ms=NOW_MS))

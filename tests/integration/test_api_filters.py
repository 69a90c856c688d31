"""Filters over HTTP: trying one on events of the past, and how one fails."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.api.match_handlers import READ_AT_ONCE
from tests.integration.api_client import Api, serving


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def some_events(api: Api) -> None:
    for kind, suspect in (
        ("verdict.block", 91),
        ("verdict.block", 7),
        ("verdict.allow", 91),
        ("verdict.block", "high"),
    ):
        await api.event(kind, data={"scores": {"suspect": suspect}})


def verdicts(answer: Any) -> list[tuple[bool, str | None]]:
    assert answer.status == 200, answer.body
    return [(row["matches"], row["reason"]) for row in answer.json["data"]]


async def test_a_webhooks_filter_is_tried_on_recent_events(api: Api) -> None:
    """Newest first, each with a verdict and the reason; its own filter, another one, or none."""
    await some_events(api)
    made = await api.webhook(events=["verdict.block"], filter="data.scores.suspect > `50`")
    path = f"/v1/webhooks/{made['id']}/match"
    untrue = (False, "the filter isn't true")
    other = (False, "not subscribed to its type")
    assert verdicts(await api.post(path)) == [untrue, other, untrue, (True, None)]
    assert verdicts(await api.post(path, {"filter": None})) == [
        (True, None), other, (True, None), (True, None),
    ]  # fmt: skip
    failing = await api.post(path, {"filter": "abs(data.scores.suspect) > `1`"})
    assert verdicts(failing) == [
        (False, "the filter fails: abs() takes number, but got string"),
        other,
        (True, None),
        (True, None),
    ]
    row = failing.json["data"][0]
    assert row.keys() == {
        *("eventId", "eventType", "createdAt", "receivedAt", "idempotencyKey"),
        *("matches", "reason"),
    }
    assert (await api.get(f"/v1/webhooks/{made['id']}")).json["filterFailures"] is None


async def test_a_filter_is_tried_without_a_webhook(api: Api) -> None:
    """With a window, a type and a number of events; nothing is sent or stored."""
    await some_events(api)
    asked = {"filter": "data.scores.suspect", "eventType": "verdict.block", "limit": 2}
    assert verdicts(await api.post("/v1/match", asked)) == [(True, None)] * 2
    assert verdicts(await api.post("/v1/match", {"filter": "`true`", "until": "24h"})) == []
    assert len(verdicts(await api.post("/v1/match", {"filter": "`true`", "since": "1h"}))) == 4
    assert (await api.get("/v1/deliveries")).json["data"] == []


async def test_a_filter_sees_what_it_would_have_seen(api: Api) -> None:
    """The version of the time, and of ids and keys those that the publisher gave."""
    await api.event(eventId="evt_0000000000001", idempotencyKey="k1")
    await api.event()
    asked = "apiVersion == '2026-01-15' && {}"
    for expression, expected in (
        (asked.format("eventId"), [False, True]),
        (asked.format("idempotencyKey == 'k1'"), [False, True]),
        ("webhookId == 'wh_0000000000000'", [True, True]),
    ):
        found = verdicts(await api.post("/v1/match", {"filter": expression}))
        assert [matches for matches, _ in found] == expected


async def test_many_events_are_read_in_parts(api: Api) -> None:
    """More than fit in memory at a time come back in order, each once."""
    count = 2 * READ_AT_ONCE + 3
    await api.post(
        "/v1/events", [{"eventType": "visitor.new", "data": {"n": n}} for n in range(count)]
    )
    answer = await api.post("/v1/match", {"filter": "data.n > `4`", "limit": 250})
    assert [matches for matches, _ in verdicts(answer)] == [n > 4 for n in reversed(range(count))]
    assert len({row["eventId"] for row in answer.json["data"]}) == count


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filter"),
        ({"filter": "data.["}, "filter"),
        ({"filter": "a", "limit": 0}, "limit"),
        ({"filter": "a", "limit": 251}, "limit"),
        ({"filter": "a", "limit": 1.5}, "limit"),
        ({"filter": "a", "since": "soon"}, "since"),
        ({"filter": "a", "eventType": "nope"}, "eventType"),
        ({"filter": "a", "cursor": ""}, "cursor"),
    ],
)
async def test_what_can_not_be_asked_is_refused_by_field(
    api: Api, body: dict[str, Any], field: str
) -> None:
    """400, naming the field."""
    refused = await api.post("/v1/match", body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert [each["field"] for each in refused.json["errors"]] == [field]


async def test_an_unknown_webhook_matches_nothing(api: Api) -> None:
    """404."""
    assert (await api.post("/v1/webhooks/wh_0000000000000/match")).code == "not_found"


async def test_a_failing_filter_is_shown_until_it_is_changed(api: Api) -> None:
    """Count, time and reason of the last failure; another filter starts afresh."""
    made = await api.webhook(filter="abs(data.visitorId)")
    path = f"/v1/webhooks/{made['id']}"
    assert made["filterFailures"] is None
    for _ in range(3):
        await api.event()
    shown = (await api.get(path)).json["filterFailures"]
    assert (shown["count"], shown["lastError"]) == (3, "abs() takes number, but got string")
    assert shown["lastAt"] > made["createdAt"]
    [listed] = (await api.get("/v1/webhooks")).json["data"]
    assert listed["filterFailures"] == shown
    changed = (await api.ask("PATCH", path, {"description": "x"})).json
    assert changed["filterFailures"] == shown
    changed = (await api.ask("PATCH", path, {"filter": "data.visitorId"})).json
    assert changed["filterFailures"] is None
    row = api.relay.registry.by_id(made["id"])
    assert row is not None
    await api.ask("PATCH", path, {"filter": "abs(data.visitorId)"})
    await api.event()
    assert api.relay.filters.failures(row.row) is not None
    await api.ask("DELETE", path)
    assert api.relay.filters.failures(row.row) is None

"""Deliveries and events over HTTP: what came in, and what became of it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from prynt_relay.model import ids
from prynt_relay.model.states import DeliveryState
from tests.integration.api_client import Api, serving
from tests.integration.receivers import Receiver, Reply

ROW = {
    *("id", "webhookId", "eventId", "eventType", "state", "createdAt", "nextAttemptAt"),
    *("attemptCount", "lastOutcome", "lastStatus"),
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def rows(api: Api, path: str, limit: int = 2) -> list[dict[str, Any]]:
    """Follow a list's pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    join = "&" if "?" in path else "?"
    while True:
        answer = await api.get(f"{path}{join}limit={limit}&cursor={cursor}")
        assert answer.status == 200, answer.body
        found += answer.json["data"]
        cursor = answer.json["nextCursor"]
        if cursor is None:
            return found


async def test_a_row_shows_where_a_delivery_stands(api: Api, receiver: Receiver) -> None:
    """The contract's fields; a failing delivery shows its last outcome and its next attempt."""
    receiver.respond = Reply(503)
    webhook = await api.webhook(receiver)
    event_id = await api.event()
    await api.settlements.wait_for(1)
    [row] = await rows(api, "/v1/deliveries")
    assert row.keys() == ROW
    assert (row["webhookId"], row["eventId"]) == (webhook["id"], event_id)
    assert (row["state"], row["attemptCount"]) == ("scheduled", 1)
    assert (row["lastOutcome"], row["lastStatus"]) == ("http_error", 503)
    assert row["nextAttemptAt"] > row["createdAt"]
    assert await rows(api, f"/v1/webhooks/{webhook['id']}/deliveries") == [row]


async def test_lists_filter_and_page(api: Api, receiver: Receiver) -> None:
    """Filters combine; following cursors meets each row once, newest first, in any page size."""
    good = await api.webhook(receiver)
    held = await api.webhook(enabled=False, events=["verdict.block"])
    for number in range(9):
        await api.event("verdict.block" if number % 3 else "verdict.allow")
    await api.settlements.wait_for(9)
    everything = await rows(api, "/v1/deliveries")
    assert len(everything) == 15
    created = [ids.delivery_row(row["id"]) or 0 for row in everything]
    assert created == sorted(created, reverse=True)
    for query, count in (
        ("?state=delivered", 9),
        ("?state=held", 6),
        ("?state=failed", 0),
        ("?eventType=verdict.allow", 3),
        ("?eventType=verdict.block&state=delivered", 6),
        ("?since=1h", 15),
        ("?until=1h", 0),
        ("?since=1h&until=0s&state=held", 6),
        (f"?eventId={everything[0]['eventId']}", 2),
        ("?eventId=evt_0000000000000", 0),
    ):
        for limit in (1, 4, 250):
            found = await rows(api, f"/v1/deliveries{query}", limit)
            assert len(found) == count, query
            assert len({row["id"] for row in found}) == count
    of_held = await rows(api, f"/v1/webhooks/{held['id']}/deliveries?eventType=verdict.block")
    assert {row["state"] for row in of_held} == {"held"}
    assert len(await rows(api, f"/v1/webhooks/{good['id']}/deliveries")) == 9


@pytest.mark.parametrize("path", ["/v1/deliveries", "/v1/events"])
async def test_pages_are_stable_while_events_arrive(api: Api, path: str) -> None:
    """New rows neither shift a page nor move a window that was given as a duration."""
    await api.webhook(enabled=False)
    before = [await api.event() for _ in range(6)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await api.get(f"{path}?since=1h&limit=2&cursor={cursor}")).json
        seen += [row["eventId"] for row in page["data"]]
        cursor = page["nextCursor"]
        await api.event()
    assert seen == before[::-1]


async def test_a_cursor_belongs_to_its_list(api: Api) -> None:
    """Garbage, another list's cursor or other filters are 400 and say so."""
    webhook = await api.webhook(enabled=False)
    for _ in range(3):
        await api.event()
    cursor = (await api.get("/v1/deliveries?state=held&limit=1")).json["nextCursor"]
    again = await api.get(f"/v1/deliveries?limit=1&cursor={cursor}")
    assert again.json["data"][0]["state"] == "held"
    for path in (
        f"/v1/deliveries?state=failed&cursor={cursor}",
        f"/v1/events?cursor={cursor}",
        f"/v1/webhooks/{webhook['id']}/deliveries?cursor={cursor}",
        f"/v1/deliveries?cursor={cursor[:-3]}",
        "/v1/deliveries?cursor=garbage",
        "/v1/webhooks?cursor=%00",
    ):
        answer = await api.get(path)
        assert answer.code == "invalid_request", path
        assert answer.json["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=251", "limit"),
        ("limit=ten", "limit"),
        ("limit=5&limit=6", "limit"),
        ("state=broken", "state"),
        ("state=failed,held", "state"),
        ("eventType=no.such", "eventType"),
        ("eventId=nonsense", "eventId"),
        ("since=whenever", "since"),
        ("until=2026-99-99", "until"),
        ("page=2", "page"),
        ("Limit=5", "Limit"),
    ],
)
async def test_a_wrong_parameter_is_named(api: Api, query: str, field: str) -> None:
    """Unknown, repeated and malformed parameters are 400 and named."""
    answer = await api.get(f"/v1/deliveries?{query}")
    assert answer.code == "invalid_request"
    assert answer.json["errors"][0]["field"] == field


async def test_a_delivery_shows_requests_and_responses(api: Api, receiver: Receiver) -> None:
    """Each request is what the receiver got, secrets masked; each response what it gave."""
    receiver.respond = Reply(500, b"\xff oops " + b"x" * 20_000, (("Server", "test"),))
    await api.webhook(
        receiver,
        headers={"X-Api-Key": "header-s3cret"},
        auth={"type": "basic", "username": "u", "password": "pa55-word"},
    )
    await api.event(data={"n": 1.10, "text": "é\u2028"})
    await api.settlements.wait_for(1)
    [row] = await rows(api, "/v1/deliveries")
    answer = await api.get(f"/v1/deliveries/{row['id']}")
    assert b"s3cret" not in answer.body
    assert b"pa55-word" not in answer.body
    shown = answer.json
    attempts = shown.pop("attempts")
    assert shown == row
    [attempt] = attempts
    [request] = receiver.requests
    assert attempt["request"]["url"] == receiver.url
    assert attempt["request"]["body"].encode() == request.body
    sent = {name.lower(): value for name, value in request.headers}
    for name, value in attempt["request"]["headers"].items():
        secret = name in ("Authorization", "X-Api-Key")
        assert value == ("***" if secret else sent[name.lower()]), name
    response = attempt["response"]
    assert response["status"] == 500
    assert response["headers"]["Server"] == "test"
    assert response["body"].startswith("\ufffd oops xxx")
    assert response["truncated"] is True
    assert attempt["outcome"] == "http_error"
    assert attempt["durationMs"] >= 0


async def test_an_attempt_without_an_answer_has_no_response(api: Api) -> None:
    """A refused connection shows its error, and null for the response."""
    await api.webhook()
    await api.event()
    await api.settlements.wait_for(1)
    [row] = await rows(api, "/v1/deliveries")
    [attempt] = (await api.get(f"/v1/deliveries/{row['id']}")).json["attempts"]
    assert attempt["outcome"] == "connection_refused"
    assert attempt["response"] is None
    assert attempt["error"]
    assert "receiver.test" in attempt["request"]["url"]


async def test_an_event_is_shown_byte_for_byte(api: Api, receiver: Receiver) -> None:
    """`data` comes back as it was written, with the deliveries that it led to."""
    await api.webhook(receiver)
    data = '{ "n": 1.10e+2, "text": "\\u00e9\\u2028", "empty": {} }'
    body = f'{{"eventType":"alert.triggered","data":{data},"idempotencyKey":"k-1"}}'
    sent = await api.ask(
        "POST", "/v1/events", raw=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert sent.json["ok"] is True
    assert sent.json["duplicate"] is False
    event_id = sent.json["eventId"]
    await api.settlements.wait_for(1)
    answer = await api.get(f"/v1/events/{event_id}")
    assert f'"data":{data}'.encode() in answer.body
    shown = answer.json
    assert (shown["eventId"], shown["idempotencyKey"]) == (event_id, "k-1")
    assert shown["createdAt"] == shown["receivedAt"]
    assert shown["deliveryCount"] == 1
    assert shown["deliveries"] == await rows(api, f"/v1/deliveries?eventId={event_id}")
    listed = await rows(api, "/v1/events")
    assert [{k: shown[k] for k in row} for row in listed] == listed
    for unknown in ("evt_0000000000000", "evt_short", "wh_0000000000000"):
        assert (await api.get(f"/v1/events/{unknown}")).code == "not_found"


async def test_an_events_own_id_and_time_are_found_again(api: Api) -> None:
    """What the publisher supplied is shown and looked up; received is when it came."""
    event_id = await api.event(eventId="evt_myOwnEventId1", createdAt="2020-02-02T02:02:02.5Z")
    shown = (await api.get(f"/v1/events/{event_id}")).json
    assert event_id == "evt_myOwnEventId1"
    assert shown["createdAt"] == "2020-02-02T02:02:02.500Z"
    assert shown["receivedAt"] > "2026"
    assert await rows(api, "/v1/events?until=" + quote("2021-01-01T00:00:00+00:00")) == []
    assert len(await rows(api, "/v1/events?since=2021-01-01")) == 1


async def test_a_repeated_event_answers_the_first(api: Api) -> None:
    """The same idempotencyKey stores nothing new and answers the first eventId."""
    first = await api.event(idempotencyKey="once")
    body = {"eventType": "verdict.block", "data": {}, "idempotencyKey": "once"}
    again = (await api.post("/v1/events", body)).json
    assert again == {"ok": True, "eventId": first, "duplicate": True}
    assert len(await rows(api, "/v1/events")) == 1


async def test_an_array_is_taken_whole_or_not_at_all(api: Api) -> None:
    """As many answers as events, in their order; one bad event refuses all and is named."""
    events = [{"eventType": "verdict.block", "data": {"n": n}} for n in range(1000)]
    taken = await api.post("/v1/events", events)
    assert taken.status == 200
    assert len({answer["eventId"] for answer in taken.json}) == 1000
    assert (await api.post("/v1/events", [])).json == []
    events[7] = {"eventType": "no.such", "data": {}}
    refused = await api.post("/v1/events", events)
    assert refused.code == "unknown_event_type"
    assert refused.json["index"] == 7
    assert refused.json["ok"] is False
    assert refused.json["error"]["code"] == "unknown_event_type"
    assert (await api.post("/v1/events", [events[0]] * 1001)).status == 400
    assert len(await rows(api, "/v1/events", 250)) == 1000


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"eventType":"verdict.block"', 400, "invalid_json"),
        (b'{"eventType":"verdict.block"}', 400, "invalid_event"),
        (b'{"eventType":"verdict.block","data":{},"extra":1}', 400, "invalid_event"),
        (b'{"eventType":"nope","data":{}}', 400, "unknown_event_type"),
        (b'"text"', 400, "invalid_event"),
        (b"", 400, "invalid_json"),
        (b'{"eventType":"verdict.block","data":{"a":"' + b"x" * 262_144 + b'"}}', 413, "payload"),
        (b'{"eventType":"verdict.block","data":' + b'{"a":' * 200 + b"1" + b"}" * 201, 400, "inv"),
    ],
)
async def test_a_refused_event_has_the_sockets_code(
    api: Api, body: bytes, status: int, code: str
) -> None:
    """What the socket refuses the API refuses with the same code, as a problem document."""
    answer = await api.ask(
        "POST", "/v1/events", raw=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status == status
    assert answer.code.startswith(code)
    assert answer.json["ok"] is False
    assert answer.json["error"] == {"code": answer.code, "message": answer.json["detail"]}


async def test_every_state_can_be_listed(api: Api) -> None:
    """Each name of a state is taken by the filter."""
    for state in DeliveryState:
        assert (await api.get(f"/v1/deliveries?state={state.label}")).status == 200


async def test_large_bodies_stay_within_bounds(api: Api, receiver: Receiver) -> None:
    """A delivery with many attempts and a large body is shown, its newest attempts first of all."""
    receiver.respond = Reply(500)
    await api.webhook(receiver, retrySchedule=[])
    await api.event(data={"text": "y" * 200_000})
    await api.settlements.wait_for(1)
    [row] = await rows(api, "/v1/deliveries")
    for number in range(30):
        await api.post(f"/v1/deliveries/{row['id']}/retry")
        await api.settlements.wait_for(number + 2)
    answer = await api.get(f"/v1/deliveries/{row['id']}")
    shown = json.loads(answer.body)
    assert shown["attemptCount"] == 31
    assert shown["attempts"][-1]["number"] == 31
    assert 5 <= len(shown["attempts"]) < 31
    assert len(answer.body) < 8_000_000

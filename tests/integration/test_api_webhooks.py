"""`/v1/webhooks` over HTTP, on a whole relay with a real receiver."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.api_client import Api, serving
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import Settlements

CONTRACT_FIELDS = {
    *("id", "url", "events", "description", "enabled", "disabledReason", "disabledAt"),
    *("failingSince", "createdAt", "updatedAt"),
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_a_created_webhook_shows_its_secret_once(api: Api, receiver: Receiver) -> None:
    """201 with Location and the signing secret; reading it later shows no secret of any kind."""
    body = {
        "url": receiver.url,
        "events": ["verdict.block"],
        "description": "Fraud alerts",
        "auth": {"type": "basic", "username": "prynt", "password": "pa55-word"},
        "headers": {"X-Team": "header-s3cret"},
    }
    created = await api.post("/v1/webhooks", body)
    assert created.status == 201
    webhook = created.json
    assert created.headers["Location"] == f"/v1/webhooks/{webhook['id']}"
    secret = webhook.pop("signingSecret")
    assert secret.startswith("whsec_")
    assert webhook.keys() >= CONTRACT_FIELDS
    assert webhook["enabled"] is True
    assert webhook["auth"] == {"type": "basic", "username": "prynt"}
    assert webhook["headers"] == {"X-Team": "***"}
    read = await api.get(created.headers["Location"])
    assert read.json == webhook
    listed = await api.get("/v1/webhooks")
    assert listed.json == {"data": [webhook], "nextCursor": None}
    for answer in (read, listed):
        for hidden in (secret, "pa55-word", "header-s3cret"):
            assert hidden.encode() not in answer.body


async def test_defaults_and_profile_are_the_contracts(api: Api, receiver: Receiver) -> None:
    """A plain webhook speaks prynt; the Fingerprint profile sets what it stands for."""
    plain = await api.webhook(receiver)
    assert (plain["format"], plain["signatures"], plain["timeout"], plain["filter"]) == (
        "prynt",
        ["prynt"],
        None,
        None,
    )
    answer = await api.post("/v1/webhooks", {"url": receiver.url, "profile": "fingerprint"})
    profiled = answer.json
    assert profiled["events"] == ["identification.complete"]
    assert (profiled["format"], profiled["signatures"]) == ("fingerprint", ["fingerprint"])
    assert (profiled["timeout"], profiled["retrySchedule"]) == ("3s", ["5m"])


async def test_a_change_touches_what_it_mentions(api: Api, receiver: Receiver) -> None:
    """PATCH answers the webhook as it is now; null takes a field back to its default."""
    webhook = await api.webhook(receiver, timeout="5s", filter="data.x", description="old")
    path = f"/v1/webhooks/{webhook['id']}"
    changed = await api.ask("PATCH", path, {"description": "new", "timeout": None, "filter": None})
    assert changed.status == 200
    assert changed.json["description"] == "new"
    assert changed.json["timeout"] is None
    assert changed.json["filter"] is None
    assert changed.json["events"] == ["*"]
    assert (await api.get(path)).json == changed.json
    disabled = (await api.ask("PATCH", path, {"enabled": False})).json
    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "manual")
    assert disabled["disabledAt"].endswith("Z")


async def test_a_change_that_does_not_fit_the_webhook_is_a_conflict(
    api: Api, receiver: Receiver
) -> None:
    """What would be fine on another webhook is 409; what is wrong by itself stays 400."""
    webhook = await api.webhook(receiver)
    path = f"/v1/webhooks/{webhook['id']}"
    assert (await api.ask("PATCH", path, {"format": "fingerprint"})).code == "conflict"
    both = {"format": "fingerprint", "events": ["identification.complete"]}
    assert (await api.ask("PATCH", path, both)).status == 200
    assert (await api.ask("PATCH", path, {"events": ["verdict.block"]})).code == "conflict"
    assert (await api.ask("PATCH", path, {"events": ["no.such"]})).code == "invalid_request"
    test = await api.post(f"{path}/test", {"eventType": "verdict.block"})
    assert test.code == "conflict"
    auth = {"auth": {"type": "basic", "username": "u", "password": "p"}}
    own = {"headers": {"Authorization": "Bearer x"}}
    assert (await api.ask("PATCH", path, {**auth, **own})).code == "invalid_request"
    assert (await api.ask("PATCH", path, own)).status == 200
    assert (await api.ask("PATCH", path, auth)).code == "conflict"
    assert (await api.ask("PATCH", path, {**auth, "headers": {}})).status == 200
    refused = await api.ask("PATCH", path, own)
    assert refused.code == "conflict"
    assert "headers.Authorization" in refused.json["detail"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "http://192.0.2.1/x"}, "url"),
        ({"url": "https://localhost/x"}, "url"),
        ({"url": "ftp://receiver.test/x"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["no.such.type"]}, "events"),
        ({"timeout": "31s"}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"retrySchedule": ["5m", "31d"]}, "retrySchedule[1]"),
        ({"filter": "data.["}, "filter"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({"auth": {"type": "basic", "username": "a:b", "password": "c"}}, "auth.username"),
        ({"format": "fingerprint"}, "events"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_refused_creation_names_the_field(
    api: Api, fields: dict[str, object], field: str
) -> None:
    """400 with the field in `errors` and `detail`, and no webhook."""
    body = {"url": "https://yourapp.com/hook", "events": ["*"], **fields}
    answer = await api.post("/v1/webhooks", body)
    assert answer.status == 400
    assert answer.code == "invalid_request"
    [error] = answer.json["errors"]
    assert error["field"] == field
    assert answer.json["detail"] == f"{field}: {error['message']}"
    assert (await api.get("/v1/webhooks")).json["data"] == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"retrySchedule": ["5m", "400d"]}, "must be from 0s to 30d, not 400d"),
        ({"retrySchedule": ["31d"]}, "must be from 0s to 30d, not 31d"),
        ({"timeout": "60000s"}, "must be from 1s to 30s, not 1000m"),
        ({"timeout": "31s"}, "must be from 1s to 30s, not 31s"),
    ],
)
async def test_a_refused_duration_is_shown_as_people_write_it(
    api: Api, fields: dict[str, object], why: str
) -> None:
    """However long, it has a unit and no exponent."""
    answer = await api.post("/v1/webhooks", {"url": "https://a.example", "events": ["*"], **fields})
    assert answer.status == 400
    assert answer.json["errors"][0]["message"] == why


async def test_webhooks_are_listed_newest_first_in_pages(api: Api) -> None:
    """Each webhook comes once, and one created meanwhile doesn't shift the pages."""
    made = [(await api.webhook())["id"] for _ in range(7)]
    seen, cursor = [], ""
    while True:
        page = (await api.get(f"/v1/webhooks?limit=3&cursor={cursor}")).json
        seen += [webhook["id"] for webhook in page["data"]]
        if page["nextCursor"] is None:
            break
        cursor = page["nextCursor"]
        await api.webhook()
    assert seen == made[::-1]


async def test_a_deleted_webhook_is_gone_and_its_deliveries_are_cancelled(api: Api) -> None:
    """204, then 404; what waited is cancelled and stays in the log."""
    webhook = await api.webhook(enabled=False)
    await api.event()
    path = f"/v1/webhooks/{webhook['id']}"
    deleted = await api.ask("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    for method, suffix in (
        *(("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("GET", "/stream")),
        *(("POST", "/test"), ("POST", "/rotate-secret"), ("GET", "/deliveries")),
    ):
        assert (await api.ask(method, path + suffix)).code == "not_found", (method, suffix)
    [delivery] = (await api.get("/v1/deliveries?state=cancelled")).json["data"]
    assert delivery["webhookId"] == webhook["id"]


async def test_what_was_scheduled_is_held_when_disabling_is_answered(api: Api) -> None:
    """Whoever looks after the answer sees nothing scheduled any more."""
    webhook = await api.webhook(retrySchedule=["30d"])
    settled = Settlements(api.relay)
    for _ in range(5):
        await api.event()
    await settled.wait_for(5)
    path = f"/v1/webhooks/{webhook['id']}"
    assert len((await api.get(f"{path}/deliveries?state=scheduled")).json["data"]) == 5
    await api.ask("PATCH", path, {"enabled": False})
    assert (await api.get(f"{path}/deliveries?state=scheduled")).json["data"] == []
    assert len((await api.get(f"{path}/deliveries?state=held")).json["data"]) == 5


async def test_a_retry_schedule_may_be_what_the_configurations_may(api: Api) -> None:
    """From no pause at all to thirty days, in any unit."""
    webhook = await api.webhook(retrySchedule=["0s", "500ms", "30d"])
    assert webhook["retrySchedule"] == ["0s", "500ms", "30d"]


async def test_rotation_keeps_the_old_secret_until_then(api: Api, receiver: Receiver) -> None:
    """The default is 24 h ahead, "0s" is at once; a second rotation replaces the pending one."""
    webhook = await api.webhook(receiver)
    path = f"/v1/webhooks/{webhook['id']}"
    first = await api.post(f"{path}/rotate-secret")
    assert first.status == 200
    assert first.json["signingSecret"] != webhook["signingSecret"]
    pending = (await api.get(path)).json["secretRotatesAt"]
    assert pending == first.json["activeFrom"]
    second = await api.post(f"{path}/rotate-secret", {"activateIn": "1h"})
    assert second.json["signingSecret"] not in (
        webhook["signingSecret"],
        first.json["signingSecret"],
    )
    assert second.json["activeFrom"] < first.json["activeFrom"]
    await api.post(f"{path}/rotate-secret", {"activateIn": "0s"})
    assert (await api.get(path)).json["secretRotatesAt"] is None
    late = await api.post(f"{path}/rotate-secret", {"activateIn": "31d"})
    assert late.json["errors"][0]["field"] == "activateIn"


async def test_a_test_answers_the_attempt(api: Api, receiver: Receiver) -> None:
    """A sample goes out at once, to a disabled webhook too; the answer shows how it went."""
    webhook = await api.webhook(receiver, events=["verdict.block"], enabled=False)
    path = f"/v1/webhooks/{webhook['id']}"
    receiver.respond = Reply(418, b"short and stout", (("X-Pot", "tea"), ("X-Pot", "kettle")))
    answer = await api.post(f"{path}/test")
    attempt = answer.json
    assert answer.status == 200
    assert (attempt["number"], attempt["trigger"], attempt["outcome"]) == (1, "test", "http_error")
    assert attempt["response"]["status"] == 418
    assert attempt["response"]["headers"]["X-Pot"] == "tea, kettle"
    assert attempt["response"]["body"] == "short and stout"
    assert attempt["eventType"] == "verdict.block"
    [request] = receiver.requests
    assert attempt["request"]["body"] == request.body.decode()
    assert attempt["request"]["headers"]["X-Prynt-Signature"] == request.header("X-Prynt-Signature")
    other = await api.post(f"{path}/test", {"eventType": "alert.triggered"})
    assert other.json["eventType"] == "alert.triggered"
    shown = await api.get(f"/v1/deliveries/{other.json['deliveryId']}")
    assert shown.json["attempts"][0]["request"] == other.json["request"]
    assert (await api.post(f"{path}/test", {"eventType": "no.such"})).code == "invalid_request"


async def test_a_window_is_sent_again(api: Api, receiver: Receiver) -> None:
    """`retry` answers how many, sends them, and takes only what its states and window name."""
    receiver.respond = Reply(500)
    webhook = await api.webhook(receiver, retrySchedule=[])
    for _ in range(3):
        await api.event()
    await api.settlements.wait_for(3)
    receiver.respond = Reply(200)
    path = f"/v1/webhooks/{webhook['id']}/retry"
    assert (await api.post(path, {"since": "1h", "states": ["held"]})).json == {"scheduled": 0}
    past = {"since": "2h", "until": "1h"}
    assert (await api.post(path, past)).json == {"scheduled": 0}
    answer = await api.post(path, {"since": "1h"})
    assert (answer.status, answer.json) == (200, {"scheduled": 3})
    await api.settlements.wait_for(6)
    listed = (await api.get("/v1/deliveries")).json["data"]
    assert {(row["state"], row["attemptCount"]) for row in listed} == {("delivered", 2)}
    for body, field in (
        ({}, "since"),
        ({"since": "soon"}, "since"),
        ({"since": "1h", "states": []}, "states"),
        ({"since": "1h", "states": ["cancelled"]}, "states[0]"),
        ({"since": "1h", "until": "x"}, "until"),
    ):
        assert (await api.post(path, body)).json["errors"][0]["field"] == field
    await api.ask("PATCH", f"/v1/webhooks/{webhook['id']}", {"enabled": False})
    assert (await api.post(path, {"since": "1h"})).code == "conflict"


async def test_one_delivery_is_sent_again(api: Api, receiver: Receiver) -> None:
    """The retry answers the scheduled delivery; the attempt shows as a manual one."""
    receiver.respond = Reply(500)
    await api.webhook(receiver, retrySchedule=[])
    await api.event()
    await api.settlements.wait_for(1)
    [failed] = (await api.get("/v1/deliveries?state=failed")).json["data"]
    receiver.respond = Reply(200)
    answer = await api.post(f"/v1/deliveries/{failed['id']}/retry")
    assert answer.status == 200
    assert answer.json["id"] == failed["id"]
    assert answer.json["state"] in ("scheduled", "delivered")
    await api.settlements.wait_for(2)
    shown = (await api.get(f"/v1/deliveries/{failed['id']}")).json
    assert [a["trigger"] for a in shown["attempts"]] == ["schedule", "manual"]
    assert [a["number"] for a in shown["attempts"]] == [1, 2]
    assert shown["state"] == "delivered"
    for unknown in ("del_0000000000000", "del_zzzzzzzzzzzzz", "nonsense"):
        assert (await api.post(f"/v1/deliveries/{unknown}/retry")).code == "not_found"
    path = f"/v1/deliveries/{failed['id']}/retry"
    assert (await api.post(path, {"now": True})).code == "invalid_request"


async def test_many_changes_at_once_leave_a_webhook_whole(api: Api) -> None:
    """Concurrent changes of one webhook are all answered, and the last one written counts."""
    webhook = await api.webhook()
    path = f"/v1/webhooks/{webhook['id']}"
    answers = await asyncio.gather(
        *(api.ask("PATCH", path, {"description": str(number)}) for number in range(20))
    )
    assert {answer.status for answer in answers} == {200}
    last = (await api.get(path)).json
    assert last["updatedAt"] == max(answer.json["updatedAt"] for answer in answers)

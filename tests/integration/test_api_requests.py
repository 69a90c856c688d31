"""What every request meets: the key, methods, bodies, headers, repetitions, errors."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.api.routes import OPERATIONS
from prynt_relay.errors import StorageUnavailableError
from tests.integration.api_client import Answer, Api, serving
from tests.integration.receivers import Receiver, Reply

IDS = {
    "webhookId": "wh_0000000000000",
    "deliveryId": "del_0000000000000",
    "eventId": "evt_0000000000000",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def raw_exchange(api: Api, request: bytes) -> bytes:
    """Send bytes as they are and return what comes back until the connection closes."""
    reader, writer = await asyncio.open_connection(*api.relay.api.address)
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def read_raw(answer: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return int(status_line.split()[1]), headers, json.loads(body)


async def test_every_operation_needs_the_key_or_says_that_it_does_not(api: Api) -> None:
    """Without a key, with another scheme or a wrong key: 401 with WWW-Authenticate."""
    for operation in OPERATIONS:
        path = operation.path.format(**IDS)
        for given in (None, "Bearer sk_live_wrong", "Basic c2s6", f"Token {api.key}", "Bearer"):
            headers = {} if given is None else {"Authorization": given}
            answer = await api.ask(operation.method, path, key=False, headers=headers)
            if operation.needs_key:
                assert answer.status == 401, (operation.id, given)
                assert answer.code == "unauthorized"
                assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")
            else:
                assert answer.status == 200, (operation.id, given)
    assert (await api.ask("GET", "/v1/no/such/path", key=False)).status == 401
    assert (await api.get("/v1/no/such/path")).code == "not_found"
    assert (await api.ask("GET", "/nothing", key=False)).code == "not_found"


async def test_a_rotated_key_counts_at_once(api: Api) -> None:
    """The file's content is the one valid key, without a restart."""
    (api.relay.config.state_dir / "api-key").write_text("another-key-of-my-own-1234\n")
    assert (await api.get("/v1/webhooks")).status == 401
    api.key = "another-key-of-my-own-1234"
    assert (await api.get("/v1/webhooks")).status == 200


async def test_other_methods_are_refused_with_what_is_possible(api: Api) -> None:
    """405 names the methods in Allow; OPTIONS answers them; HEAD is GET without a body."""
    allowed: dict[str, set[str]] = {}
    for operation in OPERATIONS:
        allowed.setdefault(operation.path, {"OPTIONS"}).add(operation.method)
    for pattern, methods in allowed.items():
        if "GET" in methods:
            methods.add("HEAD")
        path = pattern.format(**IDS)
        for method in ("PUT", "TRACE", "POST", "DELETE"):
            if method in methods:
                continue
            refused = await api.ask(method, path)
            assert refused.code == "method_not_allowed", (method, path)
            assert set(refused.headers["Allow"].split(", ")) == methods
        options = await api.ask("OPTIONS", path)
        assert (options.status, set(options.headers["Allow"].split(", "))) == (204, methods)
    read, head = await api.get("/v1/event-types"), await api.ask("HEAD", "/v1/event-types")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(read.body))


async def test_answers_carry_a_request_id_and_keep_browsers_out(api: Api) -> None:
    """A harmless id of the caller's is kept, any other gets a new one; nothing is cached."""
    answer = await api.get("/v1/webhooks", **{"X-Request-Id": "trace-17"})
    assert answer.headers["X-Request-Id"] == "trace-17"
    for given in ("", "a b", "x" * 65):
        problem = await api.get("/v1/webhooks/wh_x", **{"X-Request-Id": given})
        assert re.fullmatch(r"req_[0-9a-f]{16}", problem.json["requestId"])
        assert problem.headers["X-Request-Id"] == problem.json["requestId"]
    for name, value in (
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("Server", "prynt-relay"),
    ):
        assert answer.headers[name] == value
        assert problem.headers[name] == value
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not any(name.startswith("Access-Control") for name in answer.headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json; charset=UTF-8"}, 201),
        ({"Content-Type": "application/merge-patch+json"}, 201),
    ],
)
async def test_bodies_are_plain_json_in_utf8(
    api: Api, headers: dict[str, str], status: int
) -> None:
    """Another type, charset or coding is 415, whatever the bytes are."""
    body = b'{"url":"https://yourapp.com/hook","events":["*"]}'
    answer = await api.ask("POST", "/v1/webhooks", raw=body, headers=headers)
    assert answer.status == status
    if status == 415:
        assert answer.code == "unsupported_media_type"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"url":"https://a.example/","events":["*"],"events":["verdict.block"]}', "events"),
        (
            b'{"url":"https://a.example/","events":["*"],"headers":{"X-A":"1","X-A":"2"}}',
            "X-A",
        ),
    ],
)
async def test_a_key_that_is_given_twice_is_refused(api: Api, body: bytes, field: str) -> None:
    """Neither of the two values is taken for the one that was meant."""
    json_type = {"Content-Type": "application/json"}
    answer = await api.ask("POST", "/v1/webhooks", raw=body, headers=json_type)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.json["errors"] == [{"field": field, "message": "is given twice; give it once"}]
    assert (await api.get("/v1/webhooks")).json["data"] == []


async def test_a_body_over_8_mib_is_refused(api: Api) -> None:
    """413 at once where the length is given, and as soon as it shows where it isn't."""
    path = "/v1/events"
    for raw in (b"[" + b" " * (8 << 20), b" " * (9 << 20)):
        answer = await api.ask("POST", path, raw=raw, headers={"Content-Type": "application/json"})
        assert answer.status == 413
        assert answer.code == "payload_too_large"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    status, _, problem = read_raw(await raw_exchange(api, head + chunk * 10 + b"0\r\n\r\n"))
    assert (status, problem["code"]) == (413, "payload_too_large")


async def test_what_is_not_http_is_a_problem_too(api: Api) -> None:
    """Malformed requests and overlong headers get a problem document, and the connection ends."""
    for request, status, code in (
        (b"GARBAGE\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", 400, "malformed_request"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431, "headers_too_large"),
    ):
        found, headers, problem = read_raw(await raw_exchange(api, request))
        assert (found, problem["code"]) == (status, code), request[:30]
        assert headers["content-type"] == "application/problem+json"
        assert "aiohttp" not in headers["server"]
    assert (await api.get("/healthz")).status == 200


async def test_a_repeated_post_gets_the_first_answer(api: Api) -> None:
    """The same key and request create one webhook; the answer is the same, secret and all."""
    body = {"url": "https://yourapp.com/hook", "events": ["*"]}
    first = await api.post("/v1/webhooks", body, Idempotency_Key="k1")
    again = await api.post("/v1/webhooks", body, Idempotency_Key="k1")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len((await api.get("/v1/webhooks")).json["data"]) == 1


async def test_a_key_for_another_request_is_refused(api: Api) -> None:
    """Another body, path or query with a used key is 422; other keys and none go on."""
    body = {"url": "https://yourapp.com/hook", "events": ["*"]}
    await api.post("/v1/webhooks", body, Idempotency_Key="k1")
    for path, other in (
        ("/v1/webhooks", {**body, "description": "x"}),
        ("/v1/events", body),
        ("/v1/webhooks?x=1", body),
    ):
        answer = await api.post(path, other, Idempotency_Key="k1")
        assert answer.status == 422
        assert answer.code == "idempotency_key_reused"
    assert (await api.post("/v1/webhooks", body, Idempotency_Key="k2")).status == 201
    assert (await api.post("/v1/webhooks", body)).status == 201


async def test_a_refused_post_leaves_its_key_free(api: Api) -> None:
    """What failed changed nothing: corrected, it goes through with the same key."""
    bad = {"url": "https://yourapp.com/hook", "events": ["no.such"]}
    assert (await api.post("/v1/webhooks", bad, Idempotency_Key="k")).status == 400
    good = {**bad, "events": ["*"]}
    assert (await api.post("/v1/webhooks", good, Idempotency_Key="k")).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "with blank", "é"])
async def test_a_malformed_key_is_refused(api: Api, key: str) -> None:
    """A key is 1 to 255 printable ASCII characters without blanks."""
    answer = await api.post("/v1/events", {}, Idempotency_Key=key)
    assert answer.json["errors"][0]["field"] == "Idempotency-Key"


async def test_a_key_under_way_is_a_conflict(api: Api) -> None:
    """While the first request is being worked on, a repetition is 409 and may try again."""
    release = asyncio.Event()

    async def wait(_: Any) -> Reply:
        await release.wait()
        return Reply(200)

    async with Receiver(respond=wait) as receiver:
        webhook = await api.webhook(receiver)
        path = f"/v1/webhooks/{webhook['id']}/test"
        first = asyncio.create_task(api.post(path, {}, Idempotency_Key="k"))
        await receiver.wait_for(1)
        second = await api.post(path, {}, Idempotency_Key="k")
        assert second.code == "idempotency_key_in_use"
        assert second.headers["Retry-After"] == "1"
        release.set()
        done: Answer = await first
        assert done.json["outcome"] == "success"
        assert (await api.post(path, {}, Idempotency_Key="k")).body == done.body
        assert len(receiver.requests) == 1


async def test_kept_answers_are_encrypted_where_secrets_are(tmp_path: Path) -> None:
    """With an encryption key no file of the database holds a signing secret, kept or not."""
    async with serving(tmp_path, encryption_keys=(b"k" * 32,)) as api:
        body = {"url": "https://yourapp.com/hook", "events": ["*"]}
        created = await api.post("/v1/webhooks", body, Idempotency_Key="k")
        secret = created.json["signingSecret"].encode()
        assert (await api.post("/v1/webhooks", body, Idempotency_Key="k")).body == created.body
        files = list(api.relay.config.state_dir.glob("relay.db*"))
        assert files
        assert not any(secret in file.read_bytes() for file in files)


async def test_storage_that_takes_no_writes_is_503(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that didn't reach the disk is 503 with Retry-After, and its key stays free."""

    def fail(*_: object) -> None:
        raise StorageUnavailableError("the disk is full; make room")

    body = {"eventType": "verdict.block", "data": {}}
    with monkeypatch.context() as patch:
        patch.setattr(api.relay.acceptor, "accept", fail)
        answer = await api.post("/v1/events", body, Idempotency_Key="k")
        assert answer.status == 503
        assert answer.code == "storage_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
    assert (await api.post("/v1/events", body, Idempotency_Key="k")).status == 200


async def test_what_nobody_foresaw_is_a_500_with_a_trace_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer names the request id and nothing of the inside."""

    def fail(*_: object) -> None:
        raise RuntimeError("s3cret inside")

    monkeypatch.setattr(api.relay.acceptor, "accept", fail)
    answer = await api.post("/v1/events", {"eventType": "verdict.block", "data": {}})
    assert answer.status == 500
    assert answer.code == "internal_error"
    assert answer.json["requestId"] in answer.json["detail"]
    assert b"s3cret" not in answer.body

"""`prynt webhooks stream`, `prynt listen` and `prynt webhooks test --url`, each as a process."""

import asyncio
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from prynt_relay.cli.prynt.api_client import ApiClient
from prynt_relay.cli.prynt.credentials import ApiKey
from prynt_relay.cli.prynt.direct_test import sample_request, send_sample
from prynt_relay.cli.prynt.event_stream import StreamEvent, follow, parse_events
from prynt_relay.version import __version__
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt, Running
from tests.integration.receivers import Receiver

HOOK = "wh_3kR8mNqT7xP2v"
SECRET = "whsec_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        api.webhooks = [
            {"id": HOOK, "url": "https://yourapp.com/webhooks/secret-path", "enabled": True}
        ]
        yield api


def attempt(event: int, /, **more: Any) -> dict[str, Any]:
    return {
        "webhookId": HOOK,
        "deliveryId": "del_x9K2mNpR7jT3q",
        "eventId": f"evt_{event:013d}",
        "eventType": "verdict.block",
        "number": 1,
        "trigger": "schedule",
        "startedAt": "2026-02-14T11:45:22.341Z",
        "durationMs": 12,
        "outcome": "success",
        "status": 200,
        "error": None,
        "state": "delivered",
        "nextAttemptAt": None,
        **more,
    }


def test_stream_shows_attempts_and_goes_on_after_a_break(api: FakeApi) -> None:
    """Two lines an attempt; a lost connection resumes after the last one, a gap is announced."""
    environ = {"PRYNT_API_URL": api.url, "PRYNT_API_KEY": KEY, "TZ": "UTC"}
    with Running("webhooks", "stream", **environ) as stream:
        assert stream.err.get(timeout=15) == "Waiting for attempts; Ctrl-C ends it."
        api.wait_for_stream()
        api.push("attempt", attempt(1))
        assert stream.out.get(timeout=15) == (
            f"11:45:22  --> verdict.block [evt_0000000000001] {HOOK}"
        )
        assert stream.out.get(timeout=15) == (
            "11:45:22  <-- [200] POST yourapp.com [evt_0000000000001] 12 ms"
        )
        api.break_streams()
        assert "lost (the daemon ended it); trying again in 1 s." in stream.err.get(timeout=15)
        api.push("gap", {"missed": 42})
        api.push(
            "attempt",
            attempt(2, number=2, trigger="manual", outcome="timeout", status=None,
                    nextAttemptAt="2099-02-14T11:45:22.341Z", eventType="verdict\x1b[2J"),
        )  # fmt: skip
        assert stream.err.get(timeout=15) == "Connected again; going on where it broke off."
        assert stream.err.get(timeout=15).startswith("42 attempts were missed here")
        assert stream.out.get(timeout=15) == (
            f"11:45:22  --> verdict\\x1b[2J [evt_0000000000002] {HOOK} try 2, manual"
        )
        api.push("attempt", attempt(3, outcome="http_error", status=503, state="failed"))
        second = stream.out.get(timeout=15)
        assert "<-- [timeout] POST yourapp.com [evt_0000000000002] 12 ms retry in " in second
        stream.out.get(timeout=15)
        assert stream.out.get(timeout=15) == (
            "11:45:22  <-- [503] POST yourapp.com [evt_0000000000003] 12 ms no retry left"
        )
        assert stream.interrupt() == 0
        assert stream.out.get(timeout=15) == stream.err.get(timeout=15) == "(end)"
    assert api.resumed_from == [None, "1"]


def test_a_host_that_cannot_be_had_for_now_is_asked_for_again(api: FakeApi) -> None:
    """While the daemon refuses, a webhook goes by its id; only one that isn't there is deleted."""
    api.refuse_webhooks_with = (503, "shutting down")
    with Running("webhooks", "stream", PRYNT_API_URL=api.url, PRYNT_API_KEY=KEY) as stream:

        def shown(event: int, **more: Any) -> str:
            api.push("attempt", attempt(event, **more))
            stream.out.get(timeout=15)
            return stream.out.get(timeout=15).partition(" POST ")[2].partition(" [")[0]

        api.wait_for_stream()
        assert shown(1) == HOOK
        api.refuse_webhooks_with = None
        assert shown(2) == "yourapp.com"
        assert shown(3, webhookId="wh_0000000000000") == "(deleted)"
        api.webhooks.append(
            {"id": "wh_1111111111111", "url": "https://[nothing]/", "enabled": True}
        )
        assert shown(4, webhookId="wh_1111111111111") == "wh_1111111111111"
        assert stream.interrupt() == 0


def test_a_key_that_is_changed_under_a_stream_is_read_again(api: FakeApi, tmp_path: Path) -> None:
    """After `prynt-relay rotate-api-key` a running stream goes on with the file's new key."""
    file = tmp_path / "api-key"
    file.write_text(KEY)
    environ = {"PRYNT_API_URL": api.url, "PRYNT_API_KEY_FILE": str(file)}
    with Running("webhooks", "stream", **environ) as stream:
        assert stream.err.get(timeout=15).startswith("Waiting")
        api.wait_for_stream()
        api.key = "sk_live_another"
        file.write_text(api.key)
        api.break_streams()
        assert "trying again" in stream.err.get(timeout=15)
        assert stream.err.get(timeout=15).startswith("Connected again")
        api.wait_for_stream()
        api.key = "sk_live_a_third"  # which isn't in the file
        api.break_streams()
        assert "trying again" in stream.err.get(timeout=15)
        assert "refused the key from $PRYNT_API_KEY_FILE" in stream.err.get(timeout=15)
        assert stream.process.wait(15) == 1


def test_stream_of_one_webhook_as_json_is_one_value_a_line(api: FakeApi) -> None:
    """Each line is an attempt as the API streams it; notices stay on stderr."""
    args = ("webhooks", "stream", HOOK, "--json", "--api-url", api.url)
    with Running(*args, PRYNT_API_KEY=KEY) as stream:
        api.wait_for_stream()
        sent = [attempt(n, error="x\x1b[2J") for n in range(3)]
        for each in sent:
            api.push("attempt", each)
        lines = [stream.out.get(timeout=15) for _ in sent]
        assert [json.loads(line) for line in lines] == sent
        assert stream.interrupt() == 0
    assert any(path == f"/v1/webhooks/{HOOK}/stream" for _, path, _ in api.requests)


def test_stream_waits_longer_while_the_daemon_is_away(api: FakeApi) -> None:
    """Doubling waits, up to a bound, and no end; what helps nothing to repeat ends it."""
    client = ApiClient(api.url, ApiKey(KEY, "test"))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            api.refuse_streams_with = (503, "shutting down")
        elif len(waits) == 7:
            api.refuse_streams_with = None
        elif len(waits) == 8:
            api.refuse_streams_with = (404, "There is no webhook.")

    opened: list[bool] = []

    def on_opened(again: bool, resumed: bool) -> None:
        opened.append(again)
        assert not resumed
        api.wait_for_stream()
        api.break_streams()

    with pytest.raises(Exception, match=r"There is no webhook") as caught:
        list(follow(client, "/v1/stream", lost=lambda *_: None, opened=on_opened, sleep=sleep))
    assert type(caught.value).__name__ == "CommandError"
    assert waits == [1, 2, 4, 8, 15, 15, 15, 1]
    assert opened == [False, True]
    client.close()


def test_events_are_parsed_as_the_standard_has_it() -> None:
    """Comments, several data lines, ids that stay, unknown fields and CRLF (WHATWG, 9.2.6)."""
    lines = (
        b": heartbeat\n", b"id: 7\r\n", b"event: attempt\r\n", b"data: {\r\n", b"data:  }\r\n",
        b"retry: 5\n", b"\n", b"data: second\n", b"\n", b"event: empty\n", b"\n", b"id\n",
        b"data: third\n", b"\n", b"id: 9\n",
        b"\n", b"data: cut off\n",
    )  # fmt: skip
    assert list(parse_events(iter(lines))) == [
        None,
        StreamEvent("attempt", "{\n }", "7"),
        StreamEvent("message", "second", "7"),
        StreamEvent("message", "third", ""),
        StreamEvent("message", "", "9"),
    ]


def listening(*args: str, **env: str) -> tuple[Running, str]:
    running = Running("listen", "--port", "0", *args, **env)
    found = re.search(r"http://[0-9.:]+", notice := running.err.get(timeout=15))
    assert found, notice
    return running, found[0]


def post(url: str, body: bytes, **headers: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=15)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", url.partition(parts.netloc)[2] or "/", body, named)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def prynt(monkeypatch: pytest.MonkeyPatch) -> Prynt:
    for name in ("PRYNT_WEBHOOK_SECRET", "PRYNT_API_URL", "PRYNT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Prynt(monkeypatch)


def test_test_and_listen_understand_each_other(prynt: Prynt) -> None:
    """A sample signed with the shared secret is verified, printed and answered 200."""
    running, url = listening("--secret", "whsec_other", "--secret", SECRET)
    with running:
        done = prynt("webhooks", "test", "--url", f"{url}/webhooks/prynt", "--event",
                     "verdict.block", "--secret", SECRET)  # fmt: skip
        assert (done.code, done.err) == (0, "")
        event = re.search(r"\[(evt_\w{13})\]", done.out)
        assert event
        assert f"<-- [200] POST {url}/webhooks/prynt [{event[1]}]" in done.out
        assert '"received": true' in done.out
        assert running.out.get(timeout=15)[8:] == (f"  --> verdict.block [{event[1]}] verified")
        assert running.out.get(timeout=15)[8:] == (f"  <-- [200] POST /webhooks/prynt [{event[1]}]")
        assert running.interrupt() == 0


def test_a_wrong_secret_is_told_on_both_sides(
    prynt: Prynt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver says why it doesn't verify and answers 401; the sender fails with it."""
    running, url = listening(PRYNT_WEBHOOK_SECRET=SECRET)
    with running:
        monkeypatch.setenv("PRYNT_WEBHOOK_SECRET", "whsec_wrong")
        done = prynt("webhooks", "test", "--url", url)
        assert done.code == 1
        assert "<-- [401]" in done.out
        line = running.out.get(timeout=15)
        assert "identification.complete" in line
        assert "NOT VERIFIED: the signature doesn't match" in line
        assert "<-- [401] POST /" in running.out.get(timeout=15)
        monkeypatch.delenv("PRYNT_WEBHOOK_SECRET")
        made_up = prynt("webhooks", "test", "--url", url)
        assert re.search(r"made up for this test: whsec_[A-Za-z0-9+/]{32};", made_up.err)


def test_listen_without_a_secret_says_so_and_answers_as_told(prynt: Prynt) -> None:
    """Nothing is verified; the status is the one that was asked for; bodies on request."""
    running, url = listening("--status", "503", "--body")
    with running:
        done = prynt("webhooks", "test", "--url", url, "--event", "list.entry.added", "--json")
        assert done.code == 1
        answer = json.loads(done.out)
        assert (answer["outcome"], answer["response"]["status"]) == ("http_error", 503)
        assert answer["eventType"] == "list.entry.added"
        assert running.out.get(timeout=15).endswith("] not verified")
        body = ""
        while not (line := running.out.get(timeout=15)).endswith(f"[{answer['eventId']}]"):
            body += line
        assert json.loads(body) == json.loads(answer["request"]["body"])


def test_an_event_type_of_ones_own_is_sent_with_a_notice(prynt: Prynt) -> None:
    """It may be a slip or one of extra_event_types: said on stderr, and nothing else changes."""
    running, url = listening("--secret", SECRET)
    with running:
        done = prynt(
            "webhooks", "test", "--url", url, "--event", "foo", "--secret", SECRET, "--json"
        )
        assert done.code == 0
        assert json.loads(done.out)["eventType"] == "foo"
        assert done.err.startswith("foo is none of the specification's event types")
        assert "extra_event_types" in done.err
        assert running.out.get(timeout=15)[8:].startswith("  --> foo [")


def test_listen_says_what_it_is() -> None:
    """Name and version, as RFC 9110 writes them: nothing behind."""
    running, url = listening()
    with running:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=15)
        connection.request("POST", "/", b"{}")
        server = connection.getresponse().headers["Server"]
        connection.close()
    assert server == f"prynt-listen/{__version__}"


def test_listen_survives_what_is_no_webhook() -> None:
    """Other methods, missing lengths, huge and hostile bodies each get an answer."""
    running, url = listening("--secret", SECRET, "--body")
    with running:
        assert post(url, b"\x1b[2J\xff", X_Prynt_Event="a\tb") == 401
        line = running.out.get(timeout=15)
        assert line.endswith("--> a\\tb NOT VERIFIED: it has no signature header")
        assert running.out.get(timeout=15) == "    \\x1b[2J\ufffd"
        running.out.get(timeout=15)
        host, port = url.removeprefix("http://").split(":")
        for request, status in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
            (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"413"),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"411"),
        ):
            with socket.create_connection((host, int(port)), timeout=15) as connection:
                connection.sendall(request)
                assert connection.recv(4096).split(b" ")[1] == status
            assert "refused: " in running.out.get(timeout=15)
            assert f"<-- [{status.decode()}]" in running.out.get(timeout=15)
        with socket.create_connection((host, int(port)), timeout=15) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        assert post(url, b"{}") == 401
        assert "NOT VERIFIED" in running.out.get(timeout=15)
        assert running.interrupt() == 0


def test_listen_as_json_tells_everything() -> None:
    """One object a request: when, what, verified or why not, and the answer."""
    running, url = listening("--json", "--secret", SECRET)
    with running:
        assert post(f"{url}/a?b=c", b'{"x":1}', X_Prynt_Delivery="evt_1") == 401
        told = json.loads(running.out.get(timeout=15))
        assert told["receivedAt"].endswith("Z")
        del told["receivedAt"], told["request"]["headers"]
        assert told == {
            "eventType": None,
            "eventId": "evt_1",
            "verified": False,
            "reason": "it has no signature header",
            "request": {"method": "POST", "path": "/a?b=c", "body": '{"x":1}'},
            "status": 401,
        }


def sample() -> Any:
    return sample_request("verdict.block", '{"n":1.10}', SECRET, 1_707_832_922.5)


def test_a_sample_is_what_a_delivery_would_be() -> None:
    """The contract's envelope in its order, data as it is, the headers of section 4."""
    made = sample()
    assert re.fullmatch(
        rb'\{"webhookId":"wh_\w{13}","eventId":"evt_\w{13}","eventType":"verdict.block",'
        rb'"apiVersion":"2026-01-15","createdAt":"2024-02-13T14:02:02.500Z",'
        rb'"idempotencyKey":"idk_[0-9a-f]{12}","data":\{"n":1.10\}\}',
        made.body,
    )
    assert list(made.headers) == [
        "Content-Type", "User-Agent", "X-Prynt-Event", "X-Prynt-Delivery", "X-Prynt-Timestamp",
        "X-Prynt-Signature",
    ]  # fmt: skip
    assert made.headers["X-Prynt-Timestamp"] == "1707832922"


class Misbehaving:
    """A server that does `act` with each connection, on a thread."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._act = act
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self._act(connection)

    def close(self) -> None:
        self._server.close()


OVER = threading.Event()


def take(connection: socket.socket) -> bool:
    """Read the whole request, so that closing doesn't reset the connection."""
    read = b""
    while not read.endswith(b"}}"):
        read += connection.recv(65536)
    return True


def drip(connection: socket.socket) -> None:
    take(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not OVER.wait(0.02):
        try:
            connection.sendall(b"X-A: b\r\n")
        except OSError:
            return


def endless(connection: socket.socket) -> None:
    take(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not OVER.is_set():
        try:
            connection.sendall(b"x" * 4096)
        except OSError:
            return


@pytest.mark.parametrize(
    ("act", "outcome", "told"),
    [
        (lambda c: take(c) and c.sendall(b"HTTP/1.1 204 No\r\n\r\n"), "success", None),
        (lambda c: take(c) and c.sendall(b"HTTP/1.1 302 F\r\nLocation: /\r\n\r\n"),
         "http_error", None),
        (take, "connection_error", "closed the connection without a response"),
        (lambda c: take(c) and c.sendall(b"garbage\r\n\r\n"), "connection_error", "HTTP"),
        (lambda _: OVER.wait(0.5), "timeout", "no response within"),
        (drip, "timeout", "no response within"),
        (endless, "success", None),
    ],
)  # fmt: skip
def test_a_direct_test_names_outcomes_as_the_relay_does(
    act: Callable[[socket.socket], None], outcome: str, told: str | None
) -> None:
    """The contract's names, within the deadline, whatever the receiver does."""
    OVER.clear()
    server = Misbehaving(act)
    try:
        attempt = send_sample(server.url, sample(), 0.3)
    finally:
        OVER.set()
        server.close()
    assert attempt["outcome"] == outcome
    assert (told is None) == (attempt["error"] is None)
    assert told is None or told in attempt["error"]
    assert attempt["durationMs"] < 3000
    if act is endless:
        assert attempt["response"]["truncated"] is True
        assert len(attempt["response"]["body"]) == 16 * 1024


async def test_a_direct_test_verifies_certificates() -> None:
    """A receiver whose authority the system doesn't know is a tls_error that says so."""
    async with Receiver() as receiver:
        url = receiver.url_for(host="localhost")
        attempt = await asyncio.to_thread(send_sample, url, sample(), 10)
    assert attempt["outcome"] == "tls_error"
    assert "certificate" in attempt["error"]


def test_a_direct_test_to_nowhere() -> None:
    """Nothing listening and no such name are told apart."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    assert send_sample(url, sample(), 5)["outcome"] == "connection_refused"
    nowhere = send_sample("http://no-such-host.invalid/", sample(), 15)
    assert nowhere["outcome"] == "dns_error"

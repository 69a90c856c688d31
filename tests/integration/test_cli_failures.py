"""What `prynt` says when something is wrong: one line, that says what to do, and exit code 1."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.cli.prynt.session import Session
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt

HOOK = "wh_3kR8mNqT7xP2v"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def prynt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prynt:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "PRYNT_API_KEY_FILE", "PRYNT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PRYNT_API_KEY", KEY)
    return Prynt(monkeypatch)


class Answering:
    """A TCP server that answers each connection with the same bytes, or never."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if self._answer is None:
                self._held.append(connection)
                continue
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)

    def close(self) -> None:
        for each in (self._server, *self._held):
            each.close()


def http_answer(status: str, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\nConnection: close\r\n\r\n" + body


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_no_daemon(prynt: Prynt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address, how to start one, and how to name another, with or without a key."""
    url = unused_url()
    told = (
        f"prynt: no daemon answers at {url} (connection refused); start one with "
        "`prynt-relay serve`, or give its address with --api-url or $PRYNT_API_URL\n"
    )
    assert prynt("--api-url", url, "webhooks", "list") == (1, "", told)
    assert prynt("--api-url", url, "webhooks", "stream") == (1, "", told)
    monkeypatch.delenv("PRYNT_API_KEY")
    assert prynt("--api-url", url, "webhooks", "list") == (1, "", told)


def test_no_key(api: FakeApi, prynt: Prynt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a daemon runs, the files that were tried are named."""
    monkeypatch.delenv("PRYNT_API_KEY")
    done = prynt("--api-url", api.url, "webhooks", "list")
    assert (done.code, done.out) == (1, "")
    assert ".config/prynt/api-key (no such file or directory)" in done.err
    assert done.err.count("\n") == 1


def test_a_wrong_key(api: FakeApi, prynt: Prynt) -> None:
    """Where the key came from is said, the key itself is not."""
    done = prynt("--api-url", api.url, "--api-key", "sk_live_wrong", "webhooks", "list")
    assert (done.code, done.out) == (1, "")
    assert f"the API at {api.url} refused the key from --api-key" in done.err
    assert "sk_live_wrong" not in done.err


def test_no_such_thing(api: FakeApi, prynt: Prynt) -> None:
    """The API's sentence, and the command that shows what there is."""
    for args, advice in (
        (("webhooks", "get", HOOK), f"There is no webhook {HOOK}; `prynt webhooks list`"),
        (("webhooks", "inspect", "del_1"), "There is no delivery del_1; `prynt webhooks deliv"),
        (("events", "get", "evt_1"), "There is no event evt_1; `prynt events list`"),
        (("webhooks", "stream", HOOK), "There is no stream"),
    ):
        if args[1] == "stream":
            api.refuse_streams_with = (404, "There is no stream.")
        done = prynt("--api-url", api.url, *args)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert advice in done.err


def test_refused_fields_are_named(api: FakeApi, prynt: Prynt) -> None:
    """A validation error names each field; with `--json` stdout has the API's own document."""
    args = ("--api-url", api.url, "webhooks", "create", "http://a.example.com", "--events", "*")
    done = prynt(*args)
    assert done == (1, "", "prynt: The request is not valid; url: must be https\n")
    as_json = prynt(*args, "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["errors"] == [{"field": "url", "message": "must be https"}]
    assert as_json.err == done.err


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http_answer("200 OK", "text/html", b"<html>"), "something that isn't JSON"),
        (http_answer("404 Not Found", "text/html", b"<html>"), "isn't its error format"),
        (http_answer("200 OK", "application/json", b"\xff"), "bytes that aren't UTF-8"),
        (http_answer("200 OK", "application/json", b"{}"), "a list without data"),
        (http_answer("302 Found", "text/plain", b""), "isn't its error format"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "can't reach the API"),
        (b"", "can't reach the API"),
    ],
)
def test_another_server_at_the_address(answer: bytes, why: str, prynt: Prynt) -> None:
    """Whatever answers there, the line says that it isn't the API and what to check."""
    server = Answering(answer)
    try:
        done = prynt("--api-url", server.url, "webhooks", "list")
    finally:
        server.close()
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert why in done.err
    assert "--api-url or $PRYNT_API_URL" in done.err


def test_hostile_errors_are_spelled_out(prynt: Prynt) -> None:
    """An error's text can't drive the terminal either."""
    body = json.dumps({"code": "x", "detail": "no\x1b[2J\nway", "title": "t"}).encode()
    server = Answering(http_answer("409 Conflict", "application/problem+json", body))
    try:
        done = prynt("--api-url", server.url, "webhooks", "list")
    finally:
        server.close()
    assert done == (1, "", "prynt: no\\x1b[2J\\nway\n")


@pytest.mark.parametrize(
    ("status", "problem", "told"),
    [
        (
            "503 Service Unavailable",
            {"code": "storage_unavailable", "detail": "not stored: disk full; send it again later"},
            "not stored: disk full; send it again later",
        ),
        (
            "503 Service Unavailable",
            {"code": "storage_unavailable", "detail": "the disk is full"},
            "the disk is full; try again shortly",
        ),
        (
            "400 Bad Request",
            {"code": "invalid_event", "detail": "[0]: data: must be an object", "index": 0},
            "data: must be an object (event 1 of the batch)",
        ),
    ],
)
def test_an_error_says_each_thing_once(
    status: str, problem: dict[str, object], told: str, prynt: Prynt
) -> None:
    """Advice that the API gives isn't given again, nor the place in a batch in two ways."""
    body = json.dumps({"title": "t", **problem}).encode()
    server = Answering(http_answer(status, "application/problem+json", body))
    try:
        done = prynt("--api-url", server.url, "events", "send", "a.b", "--data", "{}")
    finally:
        server.close()
    assert done == (1, "", f"prynt: {told}\n")


def test_a_daemon_that_does_not_answer(prynt: Prynt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded, and the line says how long it was."""
    monkeypatch.setattr(Session.connect, "__defaults__", (0.2,))
    server = Answering(None)
    try:
        done = prynt("--api-url", server.url, "webhooks", "list")
    finally:
        server.close()
    assert done.code == 1
    assert "no answer within" in done.err


def test_names_that_do_not_resolve(prynt: Prynt) -> None:
    """A typo in the host is told as such."""
    done = prynt("--api-url", "http://no-such-host.invalid:8420", "webhooks", "list")
    assert done.code == 1
    assert "its name can't be resolved" in done.err


def test_a_port_that_is_taken(prynt: Prynt) -> None:
    """`listen` names the address and the options that choose another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = prynt("listen", "--port", port)
    assert (done.code, done.out) == (1, "")
    assert f"can't listen on 127.0.0.1:{port}: address already in use" in done.err

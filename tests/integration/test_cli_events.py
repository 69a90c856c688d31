"""`prynt events` and dry runs, against an API of the contract's section 6."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_rows import DELIVERY, EVENT, HOOK, delivery, row, webhook
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def prynt(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prynt:
    return Prynt.knowing(api.url, KEY, monkeypatch, tmp_path)


def test_events_list_and_get(api: FakeApi, prynt: Prynt) -> None:
    """The log, and one event with its data's own digits and where it went."""
    head = {
        "eventId": EVENT, "eventType": "verdict.block", "createdAt": "2026-02-14T11:45:22.341Z",
        "receivedAt": "2026-02-14T11:45:22.400Z", "idempotencyKey": "idk_a7f2c9e1b3d4",
    }  # fmt: skip
    api.events = [head]
    listed = prynt("events", "list", "--type", "verdict.block", "--since", "1h")
    assert api.requests[-1][1] == "/v1/events?eventType=verdict.block&since=1h&limit=20"
    assert EVENT in listed.out
    assert "idk_a7f2c9e1b3d4" in listed.out
    rest = json.dumps({"deliveries": [row(delivery())], "deliveryCount": 7})
    api.raw_events[EVENT] = json.dumps(head)[:-1] + ',"data":{"n":1.10},' + rest[1:]
    shown = prynt("events", "get", EVENT)
    assert '{\n  "n": 1.10\n}' in shown.out
    assert DELIVERY in shown.out
    assert "These are 1 of 7" in shown.err
    assert prynt("events", "get", EVENT, "--json").out == api.raw_events[EVENT] + "\n"


def test_events_send_passes_data_on_byte_for_byte(
    api: FakeApi, prynt: Prynt, tmp_path: Path
) -> None:
    """From the argument, a file or standard input: the very text, not what parsing made of it."""
    text = '{"n": 1.10,  "big": 12345678901234567890123, "e": 1e400}'
    path = tmp_path / "data.json"
    path.write_text(text)
    for option, stdin in ((text, b""), (f"@{path}", b""), ("-", text.encode())):
        done = prynt("events", "send", "verdict.block", "--data", option,
                     "--idempotency-key", "k1", "--event-id", EVENT,
                     "--created-at", "2026-02-14T11:45:22Z", stdin=stdin)  # fmt: skip
        assert done.code == 0, done.err
        assert text.encode() in api.raw_bodies[-1]
        sent = api.requests[-1][2]
        assert {name: sent[name] for name in ("eventType", "idempotencyKey", "eventId")} == {
            "eventType": "verdict.block", "idempotencyKey": "k1", "eventId": EVENT,
        }  # fmt: skip
        assert "is stored" in done.out
        assert "prynt events get evt_" in done.err
    assert prynt("events", "send", "verdict.block", "--sample").code == 0
    assert api.requests[-1][2]["data"]["verdict"] == "block"


def test_an_integer_of_thousands_of_digits_is_shown_and_sent_as_it_is(
    api: FakeApi, prynt: Prynt, tmp_path: Path
) -> None:
    """JSON and the relay set no bound to an integer's digits, so neither does the command line."""
    data = f'{{"n":-{"7" * 5000}}}'
    event = {
        "eventId": EVENT, "eventType": "verdict.block", "createdAt": "2026-02-14T11:45:22.341Z",
        "receivedAt": "2026-02-14T11:45:22.400Z", "idempotencyKey": "k", "deliveries": [],
    }  # fmt: skip
    api.raw_events[EVENT] = json.dumps(event)[:-1] + f',"data":{data}}}'
    shown = prynt("events", "get", EVENT)
    assert (shown.code, shown.err) == (0, "")
    assert "-" + "7" * 5000 in shown.out.replace("\n", "")
    assert prynt("events", "get", EVENT, "--json").out == api.raw_events[EVENT] + "\n"
    assert prynt("events", "send", "verdict.block", "--data", data).code == 0
    assert data.encode() in api.raw_bodies[-1]
    path = tmp_path / "events"
    line = f'{{"eventType":"a.b","data":{data}}}'
    for content, body in ((f"{line}\n{line}", f"[{line},{line}]"), (f"[{line}]", f"[{line}]")):
        path.write_text(content)
        done = prynt("events", "send", "--file", str(path))
        assert (done.code, done.err) == (0, "")
        assert api.raw_bodies[-1] == body.encode()


def test_events_send_takes_files_of_many(api: FakeApi, prynt: Prynt, tmp_path: Path) -> None:
    """JSON Lines or an array, in batches that the API takes, each event's text as it is."""
    lines = [f'{{"eventType":"a.b","data":{{"n":{n}.0}}}}' for n in range(2500)]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines) + "\n\n")
    done = prynt("events", "send", "--file", str(path))
    assert done.out == "2,500 events are stored\n"
    assert [len(body) for _, _, body in api.requests] == [1000, 1000, 500]
    assert b'{"eventType":"a.b","data":{"n":7.0}}' in api.raw_bodies[0]
    path.write_text(lines[0])
    assert prynt("events", "send", "--file", str(path)).out == "1 event is stored\n"
    array = " [ " + " ,\n".join(lines[:3]) + " ]"
    streamed = prynt("events", "send", "--file", "-", "--json", stdin=array.encode())
    assert [json.loads(line)["ok"] for line in streamed.out.splitlines()] == [True] * 3
    assert api.raw_bodies[-1] == ("[" + ",".join(lines[:3]) + "]").encode()


@pytest.mark.parametrize(
    ("content", "code", "why"),
    [
        (b'{"eventType":"a"}\n' * 1500 + b"nonsense\n", 2, "line 1501 is not JSON"),
        (b"[1 2]", 2, "is not JSON"),
        (b"\xff", 1, "it isn't UTF-8"),
        (None, 1, "No such file"),
    ],
)
def test_files_that_hold_no_events(
    content: bytes | None, code: int, why: str, api: FakeApi, prynt: Prynt, tmp_path: Path
) -> None:
    """The mistake and its line are named before anything is sent."""
    path = tmp_path / "events"
    if content is not None:
        path.write_bytes(content)
    done = prynt("events", "send", "--file", str(path))
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert why in done.err
    assert api.requests == []


def test_a_dry_run_shows_what_matches_among_recent_events(api: FakeApi, prynt: Prynt) -> None:
    """As the daemon judges it, by the webhook's filter or another one; nothing is sent."""
    reasons = [None, "the filter isn't true", "not subscribed to its type"]
    api.match_answer = [
        {
            "eventId": f"evt_{number:013d}", "eventType": "verdict.block", "idempotencyKey": "k",
            "createdAt": "2026-02-14T11:45:22.341Z", "receivedAt": "2026-02-14T11:45:22.341Z",
            "matches": reason is None, "reason": reason,
        }
        for number, reason in enumerate(reasons)
    ]  # fmt: skip
    api.webhooks = [webhook(filter="data.scores.suspect > `50`")]
    done = prynt("webhooks", "test", HOOK, "--dry-run", "--since", "24h")
    assert done.code == 0, done.err
    assert [line.split("  ")[-1].strip() for line in done.out.splitlines()[1:]] == [
        "delivered", "the filter isn't true", "not subscribed to its type",
    ]  # fmt: skip
    assert "1 of these 3 events would be delivered. Nothing was sent." in done.err
    told = prynt("webhooks", "test", "--dry-run", "--filter", "max(data.scores)", "--json")
    assert json.loads(told.out) == {"data": api.match_answer}
    api.match_answer = []
    wider = prynt(
        "webhooks", "test", HOOK, "--dry-run", "--filter", "", "--event", "visitor.new",
        "--limit", "7",
    )  # fmt: skip
    assert "No event is like that" in wider.err
    path = f"/v1/webhooks/{HOOK}/match"
    assert api.requests == [
        ("POST", path, {"since": "24h", "limit": 20}),
        ("POST", "/v1/match", {"filter": "max(data.scores)", "limit": 20}),
        ("POST", path, {"filter": None, "eventType": "visitor.new", "limit": 7}),
    ]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--dry-run",), "--dry-run wants a webhook"),
        (("--dry-run", HOOK, "--url", "http://a/"), "and no --url"),
        (("--dry-run", "--filter", ""), "--dry-run wants a webhook"),
        (("--dry-run", HOOK, "--limit", "251"), "251 is not in the range"),
        ((HOOK, "--filter", "a"), "go with --dry-run"),
    ],
)
def test_dry_runs_that_make_no_sense(args: tuple[str, ...], why: str, prynt: Prynt) -> None:
    """Wrong usage is told before anything is asked."""
    done = prynt("webhooks", "test", *args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert why in done.err

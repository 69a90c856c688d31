"""Every `prynt` command against an API of the contract's section 6, off a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt

HOOK = "wh_3kR8mNqT7xP2v"
DELIVERY = "del_x9K2mNpR7jT3q"
EVENT = "evt_9fJ3kL7mNpR2x"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def prynt(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prynt:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "PRYNT_API_KEY_FILE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PRYNT_WEBHOOK_SECRET", raising=False)
    monkeypatch.setenv("PRYNT_API_URL", api.url)
    monkeypatch.setenv("PRYNT_API_KEY", KEY)
    return Prynt(monkeypatch)


def webhook(number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": HOOK if not number else f"wh_{number:013d}",
        "url": "https://yourapp.com/webhooks/prynt",
        "events": ["verdict.block"],
        "description": "Fraud alerts",
        "enabled": True,
        "disabledReason": None,
        "disabledAt": None,
        "failingSince": None,
        "createdAt": "2026-02-14T10:30:00.000Z",
        "updatedAt": "2026-02-14T10:30:00.000Z",
        "auth": {"type": "basic", "username": "bob"},
        "headers": {"X-Team": "***"},
        "format": "prynt",
        "signatures": ["prynt"],
        "timeout": None,
        "retrySchedule": ["5m"],
        "filter": None,
        "secretRotatesAt": None,
        **more,
    }


def attempt(number: int, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "trigger": "schedule",
        "startedAt": "2026-02-14T11:45:22.341Z",
        "durationMs": 12,
        "outcome": "http_error",
        "error": None,
        "request": {
            "url": "https://yourapp.com/webhooks/prynt",
            "headers": {
                "Content-Type": "application/json",
                "X-Prynt-Event": "verdict.block",
                "X-Prynt-Delivery": EVENT,
                "X-Prynt-Timestamp": "1707832922",
                "X-Prynt-Signature": "sha256=5f1d",
                "webhook-signature": "v1,5f1d",
                "Authorization": "***",
            },
            "body": '{"eventId":"' + EVENT + '","data":{"confidence":1.0}}',
        },
        "response": {
            "status": 503,
            "headers": {"Content-Type": "text/html", "Server": "evil\x1b]0;x\x07"},
            "body": "<h1>\x1b[2Jbusy</h1>\r\n[red]",
            "truncated": True,
        },
        **more,
    }


def delivery(number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": DELIVERY if not number else f"del_{number:013d}",
        "webhookId": HOOK,
        "eventId": EVENT,
        "eventType": "verdict.block",
        "state": "failed",
        "createdAt": "2026-02-14T11:45:22.341Z",
        "nextAttemptAt": None,
        "attemptCount": 2,
        "lastOutcome": "http_error",
        "lastStatus": 503,
        "attempts": [],
        **more,
    }


def row(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name != "attempts"}


def test_list_shows_webhooks_and_json_is_the_answer(api: FakeApi, prynt: Prynt) -> None:
    """The table goes to stdout; `--json` is the API's own answer."""
    api.webhooks = [webhook(), webhook(1, enabled=False, disabledReason="failing")]
    done = prynt("webhooks", "list")
    assert (done.code, done.err) == (0, "")
    assert HOOK in done.out
    assert "disabled: failing" in done.out
    shown = prynt("webhooks", "list", "--json")
    assert json.loads(shown.out) == {"data": api.webhooks, "nextCursor": None}
    assert shown.out.count("\n") == 1


def test_an_empty_list_says_what_to_do_on_stderr(prynt: Prynt) -> None:
    """Nothing goes to stdout when there is nothing to list."""
    done = prynt("webhooks", "list")
    assert (done.code, done.out) == (0, "")
    assert "prynt webhooks create" in done.err
    assert "no deliveries yet" in prynt("webhooks", "deliveries").err
    assert "No delivery is like that" in prynt("webhooks", "deliveries", "--state", "held").err
    assert "No events came in yet" in prynt("events", "list").err


def test_lists_follow_cursors_until_the_limit(api: FakeApi, prynt: Prynt) -> None:
    """More rows than a page holds come from several, whole and in order; the rest is announced."""
    api.page_size = 7
    api.deliveries = [delivery(n) for n in range(1, 31)]
    answer = json.loads(prynt("webhooks", "deliveries", "--limit", "25", "--json").out)
    assert [each["id"] for each in answer["data"]] == [d["id"] for d in api.deliveries[:25]]
    assert answer["nextCursor"] == "25"
    rest = prynt("webhooks", "deliveries", "--json", "--cursor", "25")
    assert [d["id"] for d in json.loads(rest.out)["data"]] == [d["id"] for d in api.deliveries[25:]]
    people = prynt("webhooks", "deliveries", "--limit", "25")
    assert len(people.out.splitlines()) == 26
    assert "--cursor 25" in people.err


def test_a_page_without_rows_does_not_end_a_list(api: FakeApi, prynt: Prynt) -> None:
    """A page may be empty and have a cursor: the list goes on there."""
    api.deliveries = [delivery(n) for n in range(1, 5)]
    api.empty_pages = 2
    answer = json.loads(prynt("webhooks", "deliveries", "--json").out)
    assert len(answer["data"]) == 4


def test_create_sends_every_field_and_shows_the_secret_once(
    api: FakeApi, prynt: Prynt, tmp_path: Path
) -> None:
    """Each option becomes the API's field; the password comes from stdin."""
    more = tmp_path / "headers"
    more.write_text("X-Key: from file\n\n")
    done = prynt(
        "webhooks", "create", "https://yourapp.com/webhooks/prynt",
        "--events", "verdict.block,alert.triggered", "--events", "rule.matched",
        "--description", "Fraud alerts", "--disabled", "--basic-auth", "bob", "--password-stdin",
        "--header", "X-Team: fraud: ops", "--headers-file", str(more), "--format", "prynt",
        "--signature", "prynt,standard", "--timeout", "5s", "--retry-schedule", "1m, 10m",
        "--filter", "data.scores.suspect > `50`", "--profile", "fingerprint",
        stdin=b"s3cret \n",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert api.requests[-1] == (
        "POST",
        "/v1/webhooks",
        {
            "url": "https://yourapp.com/webhooks/prynt",
            "events": ["verdict.block", "alert.triggered", "rule.matched"],
            "description": "Fraud alerts",
            "enabled": False,
            "auth": {"type": "basic", "username": "bob", "password": "s3cret "},
            "headers": {"X-Team": "fraud: ops", "X-Key": "from file"},
            "format": "prynt",
            "signatures": ["prynt", "standard"],
            "timeout": "5s",
            "retrySchedule": ["1m", "10m"],
            "filter": "data.scores.suspect > `50`",
            "profile": "fingerprint",
        },
    )
    assert "whsec_" + "a" * 32 in done.out
    assert "not shown again" in done.err


def test_create_sends_only_what_was_given(api: FakeApi, prynt: Prynt) -> None:
    """Defaults are the API's; `--json` is its answer with the secret."""
    done = prynt("webhooks", "create", "https://a.example.com/", "--events", "*", "--json")
    assert api.requests[-1][2] == {"url": "https://a.example.com/", "events": ["*"]}
    assert json.loads(done.out)["signingSecret"] == "whsec_" + "a" * 32
    prynt("webhooks", "create", "https://a.example.com/", "--profile", "fingerprint",
          "--retry-schedule", "none")  # fmt: skip
    assert api.requests[-1][2] == {
        "url": "https://a.example.com/", "profile": "fingerprint", "retrySchedule": [],
    }  # fmt: skip


def test_the_password_may_come_from_the_environment(
    api: FakeApi, prynt: Prynt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$PRYNT_BASIC_AUTH_PASSWORD serves scripts; without it, off a terminal, that is an error."""
    command = ("webhooks", "create", "https://a.example.com/", "--events", "*", "--basic-auth")
    done = prynt(*command, "bob")
    assert done.code == 2
    assert "$PRYNT_BASIC_AUTH_PASSWORD" in done.err
    refused = prynt(*command, "bob:hunter2")
    assert refused.code == 2
    assert "hunter2" not in refused.err
    monkeypatch.setenv("PRYNT_BASIC_AUTH_PASSWORD", "s3cret")
    assert prynt(*command, "bob").code == 0
    assert api.requests[-1][2]["auth"]["password"] == "s3cret"


def test_get_shows_every_field(api: FakeApi, prynt: Prynt) -> None:
    """One webhook with its authentication, headers, retries and exact times."""
    api.webhooks = [webhook(failingSince="2026-02-14T10:31:00.000Z", somethingNew="shown too")]
    out = prynt("webhooks", "get", HOOK).out
    for text in (
        HOOK, "failing ", "https://yourapp.com/webhooks/prynt", "Fraud alerts", "verdict.block",
        "basic, as bob", "X-Team: ***", "Retries         5m", "2026-02-14T10:31:00.000Z (",
        "somethingNew    shown too",
    ):  # fmt: skip
        assert text in out
    assert json.loads(prynt("webhooks", "get", HOOK, "--json").out) == api.webhooks[0]


def test_update_sends_what_changes_and_takes_fields_back(api: FakeApi, prynt: Prynt) -> None:
    """Null takes a field back to its default; what isn't mentioned isn't sent."""
    api.webhooks = [webhook()]
    done = prynt(
        "webhooks", "update", HOOK, "--url", "https://b.example.com/", "--timeout", "default",
        "--retry-schedule", "default", "--filter", "", "--no-basic-auth", "--no-headers",
        "--description", "",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert api.requests[-1] == (
        "PATCH",
        f"/v1/webhooks/{HOOK}",
        {
            "url": "https://b.example.com/",
            "timeout": None,
            "retrySchedule": None,
            "filter": None,
            "auth": None,
            "headers": {},
            "description": "",
        },
    )
    assert "https://b.example.com/" in done.out


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("webhooks", "update", HOOK), "nothing to change"),
        (("webhooks", "update", HOOK, "--header", "no colon"), "'Name: value'"),
        (("webhooks", "update", HOOK, "--header", "A: 1", "--header", "a: 2"), "a is given twice"),
        (("webhooks", "update", HOOK, "--header", "A: 1", "--no-headers"), "contradicts"),
        (("webhooks", "update", HOOK, "--events", "a,,b"), "--events: an empty name"),
        (("webhooks", "update", HOOK, "--password-stdin"), "needs --basic-auth"),
        (("webhooks", "create", "https://a.example.com/"), "give --events"),
        (("webhooks", "create"), "Missing argument 'URL'"),
        (("webhooks", "get", "nonsense"), "'nonsense' is no id; wanted wh_…"),
        (("webhooks", "get", DELIVERY), "is a delivery, see `prynt webhooks inspect`"),
        (("webhooks", "inspect", EVENT), "is an event, see `prynt events get`"),
        (("webhooks", "retry", HOOK), "name the window: --since 24h"),
        (("webhooks", "retry", DELIVERY, "--since", "1h"), "a webhook's deliveries"),
        (("webhooks", "retry", HOOK, "--since", "1h", "--state", "cancelled"), "cancelled"),
        (("webhooks", "deliveries", "--limit", "0"), "0 is not in the range"),
        (("webhooks", "test"), "name a webhook, or a --url"),
        (("webhooks", "test", HOOK, "--url", "http://a/"), "name a webhook, or a --url"),
        (("webhooks", "test", HOOK, "--secret", "x"), "--secret goes with --url"),
        (("webhooks", "test", "--url", "ftp://a/"), "no http or https URL"),
        (("webhooks", "test", "--url", "http://u:p@a/"), "no user info"),
        (("webhooks", "test", "--url", "http://a/ b"), "printable ASCII"),
        (("webhooks", "lits"), "no such command 'lits'; did you mean 'list'?"),
        (("frobnicate",), "there are webhooks, events, listen, completion"),
        (("--api-url", "localhost:8420", "webhooks", "list"), "is no API address"),
        (("--api-url", "http://a:99999/", "webhooks", "list"), "is no API address"),
        (("events", "send"), "name the event's type"),
        (("events", "send", "verdict.block"), "either --data or --sample"),
        (("events", "send", "a", "--data", "{}", "--sample"), "either --data or --sample"),
        (("events", "send", "verdict.block", "--data", "[]"), "--data is not a JSON object"),
        (("events", "send", "verdict.block", "--data", "{"), "--data is not JSON"),
        (("events", "send", "a", "--file", "x"), "--file holds everything"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    args: tuple[str, ...], why: str, api: FakeApi, prynt: Prynt
) -> None:
    """The line says what was wrong and where the help is; nothing is asked of the API."""
    done = prynt(*args)
    assert done.code == 2
    assert done.out == ""
    assert why in done.err
    assert done.err.count("\n") == 1
    assert "--help`" in done.err
    assert api.requests == []


def test_enable_and_disable(api: FakeApi, prynt: Prynt) -> None:
    """Each is one PATCH; enabling a webhook that has held deliveries says how to send them."""
    api.webhooks = [webhook(enabled=False)]
    assert "retry" not in prynt("webhooks", "enable", HOOK).err
    api.deliveries = [delivery(state="held")]
    assert f"prynt webhooks retry {HOOK} --since 24h" in prynt("webhooks", "enable", HOOK).err
    assert json.loads(prynt("webhooks", "enable", HOOK, "--json").out)["enabled"] is True
    assert "disabled" in prynt("webhooks", "disable", HOOK).out
    assert api.requests[-1] == ("PATCH", f"/v1/webhooks/{HOOK}", {"enabled": False})


def test_delete_off_a_terminal_does_not_ask(api: FakeApi, prynt: Prynt) -> None:
    """It is deleted; the API's 204 is `null` in JSON."""
    api.webhooks = [webhook(), webhook(1)]
    assert "is deleted" in prynt("webhooks", "delete", HOOK).out
    assert prynt("webhooks", "delete", api.webhooks[0]["id"], "--json").out == "null\n"
    assert api.webhooks == []


def test_rotate_secret_shows_the_new_one_and_when_it_signs(api: FakeApi, prynt: Prynt) -> None:
    """The default is the API's; `--activate-in` is passed on."""
    api.webhooks = [webhook()]
    done = prynt("webhooks", "rotate-secret", HOOK)
    assert api.requests[-1] == ("POST", f"/v1/webhooks/{HOOK}/rotate-secret", {})
    assert "whsec_" + "b" * 32 in done.out
    assert "2026-02-15T10:30:00.000Z" in done.out
    prynt("webhooks", "rotate-secret", HOOK, "--activate-in", "0s", "--yes")
    assert api.requests[-1][2] == {"activateIn": "0s"}


def test_deliveries_passes_its_filters_on(api: FakeApi, prynt: Prynt) -> None:
    """Of one webhook or of all; every filter reaches the API under its name."""
    api.webhooks = [webhook()]
    api.deliveries = [delivery(state="scheduled", nextAttemptAt="2099-01-01T00:00:00.000Z")]
    done = prynt("webhooks", "deliveries", HOOK, "--state", "scheduled", "--type", "verdict.block",
                 "--since", "24h", "--until", "2099-01-01T00:00:00Z", "--limit", "5")  # fmt: skip
    assert api.requests[-1][1] == (
        f"/v1/webhooks/{HOOK}/deliveries?state=scheduled&eventType=verdict.block&since=24h"
        "&until=2099-01-01T00%3A00%3A00Z&limit=5"
    )
    assert "http_error 503" in done.out
    assert " in " in done.out
    prynt("webhooks", "deliveries", "--event-id", EVENT)
    assert api.requests[-1][1] == f"/v1/deliveries?eventId={EVENT}&limit=20"


INSPECTED = f"""\
{DELIVERY}  failed
  Event         {EVENT} verdict.block
  Webhook       {HOOK}
  Created       2026-02-14T11:45:22.341Z (AGO)
  Next attempt  none; prynt webhooks retry {DELIVERY} makes one

Attempt 1  schedule  2026-02-14T11:45:22.341Z  http_error 503 after 12 ms

POST https://yourapp.com/webhooks/prynt
Content-Type: application/json
X-Prynt-Event: verdict.block
X-Prynt-Delivery: {EVENT}
X-Prynt-Timestamp: 1707832922
X-Prynt-Signature: (redacted; --show-signature shows it)
webhook-signature: (redacted; --show-signature shows it)
Authorization: ***

{{
  "eventId": "{EVENT}",
  "data": {{
    "confidence": 1.0
  }}
}}

HTTP 503
Content-Type: text/html
Server: evil\\x1b]0;x\\x07

<h1>\\x1b[2Jbusy</h1>
[red]
(the body goes on; the relay keeps its beginning)

Attempt 2  manual  2026-02-14T11:45:22.341Z  timeout after 10.0 s

POST https://yourapp.com/webhooks/prynt
Content-Type: application/json

(the same body as in attempt 1)

No response: no response headers within 10 s
"""


def test_inspect_shows_both_sides_of_every_attempt(api: FakeApi, prynt: Prynt) -> None:
    """Pretty-printed JSON with its own digits, hostile text made visible, signatures hidden."""
    second = attempt(
        2, trigger="manual", outcome="timeout", error="no response headers within 10 s",
        durationMs=10_003, response=None,
    )  # fmt: skip
    second["request"]["headers"] = {"Content-Type": "application/json"}
    api.deliveries = [delivery(attempts=[attempt(1), second])]
    out = prynt("webhooks", "inspect", DELIVERY).out
    before, _, rest = out.partition("341Z (")
    assert f"{before}341Z (AGO){rest.partition(')')[2]}" == INSPECTED
    shown = prynt("webhooks", "inspect", DELIVERY, "--show-signature").out
    assert "X-Prynt-Signature: sha256=5f1d" in shown
    assert "webhook-signature: v1,5f1d" in shown
    as_json = prynt("webhooks", "inspect", DELIVERY, "--json").out
    assert json.loads(as_json) == api.deliveries[0]
    assert "\x1b" not in as_json


def test_inspect_tells_when_the_next_attempt_is_due(api: FakeApi, prynt: Prynt) -> None:
    """A failing delivery shows the exact moment; one that was never tried says so."""
    api.deliveries = [
        delivery(state="scheduled", nextAttemptAt="2099-01-01T00:00:00.000Z", attemptCount=0,
                 lastOutcome=None, lastStatus=None)
    ]  # fmt: skip
    out = prynt("webhooks", "inspect", DELIVERY).out
    assert "Next attempt  2099-01-01T00:00:00.000Z (in " in out
    assert "No attempt has been made yet." in out


def test_test_exits_1_unless_the_answer_was_2xx(api: FakeApi, prynt: Prynt) -> None:
    """The answer is shown either way, with where to look it up."""
    api.webhooks = [webhook()]
    names = {"webhookId": HOOK, "deliveryId": DELIVERY, "eventId": EVENT}
    names["eventType"] = "verdict.block"
    response = {"status": 200, "headers": {}, "body": '{"ok":true}', "truncated": False}
    api.test_answer = attempt(1, trigger="test", outcome="success", response=response) | names
    done = prynt("webhooks", "test", HOOK, "--event", "verdict.block")
    assert api.requests[-1] == ("POST", f"/v1/webhooks/{HOOK}/test", {"eventType": "verdict.block"})
    assert done.code == 0
    assert done.out == (
        f"--> verdict.block [{EVENT}]\n"
        f"<-- [200] POST https://yourapp.com/webhooks/prynt [{EVENT}] 12 ms\n"
        "\nHTTP 200\n\n{\n"
        '  "ok": true\n}\n'
    )
    assert done.err == f"In the log: prynt webhooks inspect {DELIVERY}\n"
    api.test_answer = attempt(1, trigger="test") | names
    failed = prynt("webhooks", "test", HOOK, "--json")
    assert api.requests[-1][2] == {}
    assert failed.code == 1
    assert json.loads(failed.out)["response"]["status"] == 503
    assert "POST https://yourapp.com" in prynt("webhooks", "test", HOOK, "-v").out


def test_retry_of_a_window_and_of_one_delivery(api: FakeApi, prynt: Prynt) -> None:
    """Off a terminal nothing is asked or counted; the API's count is told."""
    api.webhooks = [webhook()]
    api.deliveries = [delivery(), delivery(1, state="held"), delivery(2, state="delivered")]
    done = prynt("webhooks", "retry", HOOK, "--since", "24h")
    assert done.out == "2 deliveries are being sent again\n"
    assert api.requests == [("POST", f"/v1/webhooks/{HOOK}/retry", {"since": "24h"})]
    prynt("webhooks", "retry", HOOK, "--since", "2026-02-14T11:00:00Z", "--until", "1h",
          "--state", "held", "--state", "failed")  # fmt: skip
    assert api.requests[-1][2] == {
        "since": "2026-02-14T11:00:00Z", "until": "1h", "states": ["held", "failed"],
    }  # fmt: skip
    as_json = prynt("webhooks", "retry", HOOK, "--since", "24h", "--json")
    assert json.loads(as_json.out) == {"scheduled": 2}
    assert DELIVERY in prynt("webhooks", "retry", DELIVERY).out
    assert api.requests[-1] == ("POST", f"/v1/deliveries/{DELIVERY}/retry", None)


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


def test_events_send_takes_files_of_many(api: FakeApi, prynt: Prynt, tmp_path: Path) -> None:
    """JSON Lines or an array, in batches that the API takes, each event's text as it is."""
    lines = [f'{{"eventType":"a.b","data":{{"n":{n}.0}}}}' for n in range(2500)]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines) + "\n\n")
    done = prynt("events", "send", "--file", str(path))
    assert done.out == "2,500 events are stored, 0 of them before\n"
    assert [len(body) for _, _, body in api.requests] == [1000, 1000, 500]
    assert b'{"eventType":"a.b","data":{"n":7.0}}' in api.raw_bodies[0]
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


def test_shared_options_work_before_and_after_the_subcommand(
    api: FakeApi, prynt: Prynt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that stands last wins; they win over the environment."""
    monkeypatch.setenv("PRYNT_API_KEY", "sk_live_wrong")
    monkeypatch.setenv("PRYNT_API_URL", "http://127.0.0.1:9")
    right = ("--api-key", KEY, "--api-url", api.url, "--json")
    for args in (
        (*right, "webhooks", "list"),
        ("webhooks", *right, "list"),
        ("webhooks", "list", *right),
        ("--api-key", "wrong", "webhooks", "--api-url", "http://127.0.0.1:9", "list", *right),
        (*right, "events", "list"),
    ):
        done = prynt(*args)
        assert (done.code, done.out) == (0, '{"data": [], "nextCursor": null}\n'), args


def test_a_dry_run_shows_what_matches_among_recent_events(api: FakeApi, prynt: Prynt) -> None:
    """By subscription and by the webhook's filter, or another one; nothing is sent."""
    for number, (kind, suspect) in enumerate(
        [("verdict.block", "91"), ("verdict.block", "7"), ("verdict.allow", "91"),
         ("verdict.block", '"high"')]
    ):  # fmt: skip
        head = {
            "eventId": f"evt_{number:013d}", "eventType": kind, "idempotencyKey": "k",
            "createdAt": "2026-02-14T11:45:22.341Z", "receivedAt": "2026-02-14T11:45:22.341Z",
        }  # fmt: skip
        api.events.append(head)
        data = '{"scores":{"suspect":' + suspect + "}}"
        api.raw_events[head["eventId"]] = json.dumps(head)[:-1] + ',"data":' + data + "}"
    api.webhooks = [webhook(filter="data.scores.suspect > `50`")]
    done = prynt("webhooks", "test", HOOK, "--dry-run", "--since", "24h")
    assert done.code == 0, done.err
    assert [line.split("  ")[-1].strip() for line in done.out.splitlines()[1:]] == [
        "delivered", "the filter isn't true", "not subscribed to its type",
        "the filter isn't true",
    ]  # fmt: skip
    assert "1 of these 4 events would be delivered. Nothing was sent." in done.err
    told = prynt("webhooks", "test", "--dry-run", "--filter", "max(data.scores)", "--json")
    verdicts = json.loads(told.out)["data"]
    assert [each["matches"] for each in verdicts] == [False] * 4
    assert "the filter fails: " in verdicts[0]["reason"]
    wider = prynt("webhooks", "test", HOOK, "--dry-run", "--filter", "", "--json")
    assert [each["matches"] for each in json.loads(wider.out)["data"]] == [True, True, False, True]
    assert {method for method, _, _ in api.requests} == {"GET"}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--dry-run",), "--dry-run wants a webhook"),
        (("--dry-run", HOOK, "--url", "http://a/"), "and no --url"),
        (("--dry-run", "--filter", "data.["), "--filter: "),
        ((HOOK, "--filter", "a"), "go with --dry-run"),
    ],
)
def test_dry_runs_that_make_no_sense(args: tuple[str, ...], why: str, prynt: Prynt) -> None:
    """Wrong usage is told before anything is asked; a filter's mistake with its place."""
    done = prynt("webhooks", "test", *args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert why in done.err

"""`prynt webhooks`, what lists, shows, tests and retries, against an API of section 6."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_rows import DELIVERY, EVENT, HOOK, attempt, delivery, webhook
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def prynt(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prynt:
    return Prynt.knowing(api.url, KEY, monkeypatch, tmp_path)


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
        (("webhooks", "inspect", DELIVERY, "--raw", "--json"), "give one of them"),
        (("webhooks", "retry", HOOK), "name the window: --since 24h"),
        (("webhooks", "retry", HOOK, "--since", "zz"), "nor ISO 8601"),
        (("webhooks", "deliveries", HOOK, "--until", "1 day"), "nor ISO 8601"),
        (("events", "list", "--since", "2026-02-30"), "nor ISO 8601"),
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


def test_inspect_prints_the_body_byte_for_byte(api: FakeApi, prynt: Prynt) -> None:
    """What a receiver's signature was made of can be piped on; the headers stand beside it."""
    sent = '{"eventId":"é\u2028\x7f","data":{"confidence":1.0, "a":1,"a":2}}'
    last = attempt(2)
    last["request"]["body"] = sent
    api.deliveries = [delivery(attempts=[attempt(1), last])]
    assert prynt("webhooks", "inspect", DELIVERY, "--raw") == (0, sent, "")
    shown = prynt("webhooks", "inspect", DELIVERY, "--raw", "--show-signature")
    assert (shown.code, shown.out) == (0, sent)
    assert "X-Prynt-Timestamp: 1707832922\nX-Prynt-Signature: sha256=5f1d\n" in shown.err
    api.deliveries = [delivery()]
    nothing = prynt("webhooks", "inspect", DELIVERY, "--raw")
    assert (nothing.code, nothing.out) == (1, "")
    assert "nothing was sent" in nothing.err


def test_inspect_names_the_message_that_carried_others_too(api: FakeApi, prynt: Prynt) -> None:
    """A burst that went out as one message says so at each attempt that it stood for."""
    message = {"deliveryId": "del_0000000000007", "count": 250}
    api.deliveries = [delivery(attempts=[attempt(1, message=message), attempt(2, message=None)])]
    out = prynt("webhooks", "inspect", DELIVERY).out
    told = "in one message with 249 more, the first of them del_0000000000007"
    assert out.count(told) == 1
    assert out.index("Attempt 1") < out.index(told) < out.index("Attempt 2")


def test_a_webhook_shows_how_its_filter_failed(api: FakeApi, prynt: Prynt) -> None:
    """How often, when the last time, and why; nothing where it didn't."""
    assert "Filter failures" not in prynt("webhooks", "get", HOOK).out
    failures = {"count": 1200, "lastAt": "2026-02-14T11:45:22.341Z", "lastError": "abs() takes"}
    api.webhooks = [webhook(filterFailures=failures)]
    out = prynt("webhooks", "get", HOOK).out
    assert "1,200 times, last at 2026-02-14T11:45:22.341Z: abs() takes" in out


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

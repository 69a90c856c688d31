"""Slack messages: as the specification shows them, within Slack's limits whatever the data."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prynt_relay.model.event import EVENT_TYPES, StoredEvent
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format
from prynt_relay.transport import formats
from tests.pace import stretched
from tests.unit.json_objects import encode, event, objects
from tests.unit.test_filters import LARGE_EVENTS

DATA: dict[str, Any] = {
    "requestId": "req_1707832921_a7f2c9",
    "visitorId": "pv_8kX2mNqR3jT7p",
    "ip": "203.0.113.42",
    "geo": {"city": "San Francisco", "region": "California", "country": "US"},
    "signals": {"bot": {"detected": True, "type": "headless"}},
    "scores": {"suspect": 92},
    "verdict": "block",
    "rule": {"name": "Block bots"},
}
SIX_FIELDS = [
    "*Visitor:*\n`pv_8kX2mNqR3jT7p`",
    "*IP:*\n203.0.113.42",
    "*Location:*\nSan Francisco, US",
    "*Suspect Score:*\n92/100",
    "*Verdict:*\nblock",
    "*Bot Detected:*\ntrue",
]
BUTTON = {
    "type": "actions",
    "elements": [
        {
            "type": "button",
            "text": {"type": "plain_text", "text": "View in Dashboard"},
            "url": "https://prynt.id/app/event-detail?id=req_1707832921_a7f2c9",
        }
    ],
}
ENTITY = re.compile(r"&(amp|lt|gt);")


def _message(stored: StoredEvent) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(formats.render(Format.SLACK, stored, "wh_1"))
    _check_limits(message)
    return message


def _texts(value: Any) -> Iterator[dict[str, str]]:
    """Every text object of a message."""
    if isinstance(value, dict):
        if value.get("type") in ("mrkdwn", "plain_text"):
            yield value
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _length(text: str) -> int:
    """As a JavaScript program counts, the strictest reading of "characters"."""
    return len(text.encode("utf-16-le")) // 2


def _check_limits(message: dict[str, Any]) -> None:
    """Slack's Block Kit reference: what over one of these comes back as `invalid_blocks`."""
    assert set(message) == {"text", "blocks"}
    assert 1 <= _length(message["text"]) <= 4_000
    assert 1 <= len(message["blocks"]) <= 50
    for block in message["blocks"]:
        match block["type"]:
            case "section":
                assert 1 <= _length(block.get("text", {"text": "x"})["text"]) <= 3_000
                assert 1 <= len(block.get("fields", [None])) <= 10
                for field in block.get("fields", []):
                    assert 1 <= _length(field["text"]) <= 2_000
            case "context":
                assert 1 <= len(block["elements"]) <= 10
            case "actions":
                [button] = block["elements"]
                assert _length(button["text"]["text"]) <= 75
                assert _length(button["url"]) <= 3_000
                assert re.fullmatch(r"[!-~]+", button["url"])
            case other:
                raise AssertionError(other)
    for text in _texts(message):
        assert text["text"].strip()
        assert not re.search(r"[<>]", text["text"]), "could mention or link"
        assert "&" not in ENTITY.sub("", text["text"]), "a cut or missing escape"


@pytest.mark.parametrize("event_type", ["verdict.block", "alert.triggered"])
def test_alerts_look_as_the_specification_shows(event_type: str) -> None:
    """Header, six fields in two columns, and the button to the dashboard."""
    message = _message(event({k: v for k, v in DATA.items() if k != "rule"}, event_type))
    emoji = "🛑" if event_type == "verdict.block" else "⚠️"
    assert message["blocks"] == [
        {
            "type": "section",
            "text": {"type": "mrkdwn", "text": f"{emoji} *Prynt Alert: {event_type}*"},
        },
        {"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in SIX_FIELDS]},
        BUTTON,
    ]
    assert message["text"] == f"{emoji} Prynt Alert: {event_type}"


@pytest.mark.parametrize("event_type", ["verdict.block", "alert.triggered"])
def test_an_alert_has_no_more_than_the_specification_fields(event_type: str) -> None:
    """Other members of a complete event stay out of the message."""
    blocks = _message(event(DATA, event_type))["blocks"]
    assert len(blocks) == 3
    assert [field["text"] for field in blocks[1]["fields"]] == SIX_FIELDS


@pytest.mark.parametrize("event_type", ["verdict.block", "alert.triggered"])
def test_what_else_is_known_stands_for_a_field_that_is_not(event_type: str) -> None:
    """Six fields in all, those that the event doesn't know left out."""
    data = {name: value for name, value in DATA.items() if name not in ("ip", "geo")}
    fields = _message(event(data, event_type))["blocks"][1]["fields"]
    texts = [field["text"] for field in fields]
    assert texts == [SIX_FIELDS[0], *SIX_FIELDS[3:], "*Rule name:*\nBlock bots"]


def test_an_alert_says_what_was_exceeded_below_what_the_specification_shows() -> None:
    """The alert's own definition and figures follow the button, the telling ones first."""
    data = sample_data("alert.triggered")
    *shown, own = _message(event(data, "alert.triggered"))["blocks"]
    assert [block["type"] for block in shown] == ["section", "section", "actions"]
    labels = [field["text"].partition(":")[0] for field in shown[1]["fields"]]
    assert labels == [text.partition(":")[0] for text in SIX_FIELDS]
    assert own["type"] == "section"
    assert len(own["fields"]) == 10
    assert [field["text"].partition(":")[0] for field in own["fields"][:4]] == [
        "*Alert name",
        "*Alert metric",
        "*Metrics value",
        "*Alert threshold",
    ]
    assert own["fields"][0]["text"] == f"*Alert name:*\n{data['alert']['name']}"


def test_an_alert_without_a_visit_shows_itself_once() -> None:
    """What stands in the alert's own block fills no place in the specification's."""
    data = {"alert": {"name": "Spike", "threshold": 5}, "triggeredAt": "2026-02-14T11:45:22Z"}
    _, fields, last, own = _message(event(data, "alert.triggered"))["blocks"]
    assert [field["text"] for field in fields["fields"]] == [
        "*Triggered at:*\n2026-02-14T11:45:22Z"
    ]
    assert last["type"] == "context"
    assert [field["text"] for field in own["fields"]] == [
        "*Alert name:*\nSpike",
        "*Alert threshold:*\n5",
    ]


@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "custom.type"])
def test_every_type_makes_a_message_that_says_something(event_type: str) -> None:
    """A sample of each type names its type and shows what it holds."""
    message = _message(event(sample_data(event_type), event_type))
    assert event_type in message["blocks"][0]["text"]["text"]
    assert event_type in message["text"]
    assert len(message["blocks"][1]["fields"]) >= 3


def test_a_list_entry_shows_its_members_and_how_to_find_it() -> None:
    """Without a request there is no page to link to: the event's id and time instead."""
    message = _message(event(sample_data("list.entry.added"), "list.entry.added"))
    texts = [field["text"] for field in message["blocks"][1]["fields"]]
    assert texts[0].startswith("*List name:*\n")
    assert texts[1].startswith("*Value:*\n")
    assert message["blocks"][-1] == {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": "`evt_9fJ3kL7mNpR2x` · 2026-02-14T11:45:22.341Z"}],
    }


def test_an_empty_event_still_makes_a_message() -> None:
    """No fields section without fields: Slack refuses an empty one."""
    message = _message(event({}, "verdict.block"))
    assert [block["type"] for block in message["blocks"]] == ["section", "context"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<!channel> & <https://evil.example|click>",
         "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;"),
        ("two\nlines\t and  blanks", "two lines and blanks"),
        ("right\u202eto left\u200b", "right to left"),
        ("👩\u200d💻 and می\u200cروم", "👩\u200d💻 and می\u200cروم"),
        (["a", 1, None, True], "a, 1, true"),
        (list(range(30)), ", ".join(map(str, range(20))) + ", …"),
        (4.0, "4"),
        (0, "0"),
        (False, "false"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "…"),
        ("&" * 200, "&amp;" * 99 + "…"),
        ("🦊" * 400, "🦊" * 249 + "…"),
    ],
)  # fmt: skip
def test_values_are_escaped_and_cut(value: Any, shown: str) -> None:
    """A value can't mention, link or break a line, and is cut between its characters."""
    [field] = _message(event({"note": value}, "custom.type"))["blocks"][1]["fields"]
    assert field["text"] == f"*Note:*\n{shown}"


@pytest.mark.parametrize("value", [None, "", [], {}, [None], "\u200b \n", {"a": {"b": 1}}])
def test_what_says_nothing_is_left_out(value: Any) -> None:
    """Empty and deeper values make no field."""
    assert len(_message(event({"note": value}, "custom.type"))["blocks"]) == 2


def test_a_backtick_can_not_leave_the_visitor_code_span() -> None:
    """The visitor id is shown as code; a backtick in it would end the code."""
    [field] = _message(event({"visitorId": "a`*b*`"}, "verdict.block"))["blocks"][1]["fields"]
    assert field["text"] == "*Visitor:*\n`a'*b*'`"


@pytest.mark.parametrize(
    ("request_id", "url_end"),
    [("a b&c=d/é", "?id=a%20b%26c%3Dd%2F%C3%A9"), (7, "?id=7"), ("x" * 3_000, None), ("", None)],
)
def test_the_button_url_holds_any_request_id(request_id: Any, url_end: str | None) -> None:
    """An id is quoted; without a usable one there is no button."""
    last = _message(event({"requestId": request_id}, "verdict.block"))["blocks"][-1]
    if url_end is None:
        assert last["type"] == "context"
    else:
        assert last["elements"][0]["url"].endswith(url_end)


def test_a_wide_event_is_looked_at_no_further_than_a_message_takes() -> None:
    """Messages are built on the event loop: members after the hundredth don't count."""
    wide = {f"member{n}": None for n in range(30_000)} | {"last": 1}
    assert len(_message(event(wide, "custom.type"))["blocks"]) == 2


@given(
    objects("visitorId", "ip", "geo", "scores", "verdict", "signals", "requestId", "alert", "rule"),
    st.sampled_from([*EVENT_TYPES, "<!here>", "a&b"]),
)
@example(encode({"geo": {"city": 1, "country": ["<", "&" * 5_000]}}), "verdict.block")
def test_no_data_breaks_a_limit(data: bytes, event_type: str) -> None:
    """Any JSON object gives a message that Slack takes."""
    _message(event(data, event_type))


def _summary(events: list[StoredEvent]) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(formats.summary(events))
    _check_limits(message)
    return message


def test_a_summary_counts_all_that_it_stands_for() -> None:
    """500 alerts in one message: the count, the counts by type, and the first ones in order."""
    events = [
        event({"visitorId": f"pv_{n}"}, "verdict.block" if n % 5 else "alert.triggered")
        for n in range(500)
    ]
    message = _summary(events)
    title, counts, lines, period = message["blocks"]
    assert title["text"]["text"] == "⚠️ *Prynt: 500 alerts*"
    assert [field["text"] for field in counts["fields"]] == [
        "*verdict.block:*\n400",
        "*alert.triggered:*\n100",
    ]
    shown = lines["text"]["text"].splitlines()
    assert [line.rpartition("pv_")[2] for line in shown[:10]] == [str(n) for n in range(10)]
    assert shown[10:] == ["… and 490 more"]
    assert period["elements"][0]["text"].count("2026-02-14T11:45:22.341Z") == 2
    assert message["text"] == "⚠️ Prynt: 500 alerts (400 verdict.block, 100 alert.triggered)"


def test_a_summary_of_many_types_counts_the_rare_ones_together() -> None:
    """Slack shows ten fields: nine types and the sum of the others, nothing lost."""
    events = [event({}, f"type{n}") for n in range(30) for _ in range(40 - n)]
    fields = [field["text"] for field in _summary(events)["blocks"][1]["fields"]]
    assert len(fields) == 10
    assert fields[0] == "*type0:*\n40"
    assert fields[-1].startswith("*other types:*\n")
    assert sum(int(field.rpartition("\n")[2]) for field in fields) == len(events)


def test_a_summary_of_one_is_the_event_own_message() -> None:
    """Nothing is folded where there is nothing to fold."""
    stored = event(DATA, "verdict.block")
    assert formats.summary([stored]) == formats.render(Format.SLACK, stored, "wh_1")


@given(st.lists(objects("visitorId", "ip", "alert", "rule"), min_size=2, max_size=15))
def test_no_burst_breaks_a_limit(burst: list[bytes]) -> None:
    """Any events make a summary that Slack takes."""
    message = _summary([event(data, "alert.triggered") for data in burst])
    assert f"{len(burst)} alerts" in message["text"]


@pytest.mark.parametrize("name", LARGE_EVENTS)
def test_no_burst_of_large_events_holds_the_loop(name: str) -> None:
    """250 of the largest and worst events are told in less than 10 ms of this thread."""
    burst = [event(LARGE_EVENTS[name], "alert.triggered")] * 250
    spent_ms = []
    for _ in range(3):  # the machine may be busy: the best of three is the summary's own
        started = time.thread_time()
        formats.summary(burst)
        spent_ms.append((time.thread_time() - started) * 1000)
    assert min(spent_ms) < stretched(10)


def test_a_line_leaves_out_what_is_too_large_for_it() -> None:
    """A member of kilobytes is no name; in small events everything that can be read is told."""
    large = json.dumps({"visitorId": "v" * 5000, "ip": "203.0.113.42"}).encode()
    odd = b'{"visitorId":"pv_1","rule":{"name":"r\\ud800"},"n":1e999}'
    lines = _summary([event(large, "verdict.block"), event(odd, "verdict.block")])["blocks"][2][
        "text"
    ]["text"].split("\n")
    assert lines == ["🛑 verdict.block · 203.0.113.42", "🛑 verdict.block · pv_1 · r�"]

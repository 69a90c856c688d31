"""The `slack` format: a message for an incoming webhook (specification, section 8).

`verdict.block` and `alert.triggered` look as the specification's example has them, with what an
alert says of itself below; every other type shows what its `data` holds. A message never breaks a
limit of Slack's, whatever the data.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.payload import parse
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.transport.formats.slack_text import (
    MAX_FIELD_TEXT,
    MAX_FIELDS,
    MAX_SECTION_TEXT,
    MAX_URL,
    escape,
    mrkdwn,
    plain,
)

CONTENT_TYPE: Final = "application/json"

Block = dict[str, Any]

_ALERTS: Final = ("verdict.block", "alert.triggered")
_EMOJI: Final = {
    "verdict.block": "🛑",
    "alert.triggered": "⚠️",
    "identification.complete": "🔎",
    "verdict.allow": "✅",
    "verdict.challenge": "🧩",
    "rule.matched": "📐",
    "visitor.new": "👋",
    "visitor.returning": "🔁",
    "signal.bot.detected": "🤖",
    "list.entry.added": "📋",
    "list.entry.expired": "⌛",
}
_OTHER_EMOJI: Final = "🔔"
_DETAIL_URL: Final = "https://prynt.id/app/event-detail?id="
_MAX_VALUE: Final = 500
"""Longer values than this don't help a person; Slack would take four times as much."""
_MAX_NAME: Final = 200
_MAX_IN_LINE: Final = 60
_MAX_TOLD: Final = 4096
"""Bytes of a member that a line may tell of."""
_MAX_MEMBERS: Final = 100
"""How many members of an object are looked at: messages are built on the event loop."""
_SHOWN: Final = 10
"""How many events a summary names; it counts the others."""

_CONTEXT: Final = frozenset(
    {
        "visitorFound",
        "confidence",
        "firstSeenAt",
        "lastSeenAt",
        "visitCount",
        "device",
        "matchedRules",
    }
)
"""What every identification carries: shown only where a type's own members leave room."""

_ABOUT_ALERT: Final = ("alert", "metrics")
"""An alert's definition and what was measured: in a block of their own."""

_TELLING: Final = (
    "alert.name",
    "alert.metric",
    "metrics.value",
    "alert.threshold",
    "rule.name",
    "rule.condition",
    "challengeType",
    "listName",
    "value",
)
"""Members that say what happened, where a type has them."""


def accepts(event_type: str) -> bool:
    """True: every event makes a message."""
    del event_type
    return True


def _at(data: Any, *names: str) -> str | None:
    for name in names:
        if not isinstance(data, dict):
            return None
        data = data.get(name)
    return plain(data)


def _value(text: str | None) -> str | None:
    return None if text is None else escape(text, _MAX_VALUE) or None


def _code(text: str | None) -> str | None:
    value = _value(None if text is None else text.replace("`", "'"))
    return None if value is None else f"`{value}`"


def _place(data: Any) -> str | None:
    parts = (_at(data, "geo", "city"), _at(data, "geo", "country"))
    return _value(", ".join(part for part in parts if part is not None) or None)


def _score(data: Any) -> str | None:
    score = _value(_at(data, "scores", "suspect"))
    return None if score is None else f"{score}/100"


_SPECIFIED: Final[tuple[tuple[str, str, Callable[[Any], str | None]], ...]] = (
    ("Visitor", "visitorId", lambda data: _code(_at(data, "visitorId"))),
    ("IP", "ip", lambda data: _value(_at(data, "ip"))),
    ("Location", "geo", _place),
    ("Suspect Score", "scores", _score),
    ("Verdict", "verdict", lambda data: _value(_at(data, "verdict"))),
    ("Bot Detected", "signals", lambda data: _value(_at(data, "signals", "bot", "detected"))),
)
"""The fields of the specification's example: label, member of `data`, text."""
_SHOWN_OTHERWISE: Final = frozenset(member for _, member, _ in _SPECIFIED) | {"requestId"}


def _label(name: str) -> str:
    """`alert.windowSeconds` as "Alert window seconds"."""
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in name.replace(".", " "))
    spaced = spaced.replace("_", " ").strip()
    return escape(spaced[:1].upper() + spaced[1:], _MAX_NAME).replace("*", "") or "-"


def _nested(data: dict[str, Any], *, in_context: bool) -> Iterator[tuple[str, Any]]:
    """Members of `data` with those of its objects, one level deep."""
    for name, member in itertools.islice(data.items(), _MAX_MEMBERS):
        if name in _SHOWN_OTHERWISE or (name in _CONTEXT) is not in_context:
            continue
        if isinstance(member, dict):
            inner = itertools.islice(member.items(), _MAX_MEMBERS)
            yield from ((f"{name}.{key}", value) for key, value in inner)
        else:
            yield name, member


def _details(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a person can read in `data` beyond the specified fields, the telling members first."""
    told = [(path, _at(data, *path.split("."))) for path in _TELLING]
    seen = set()
    for path, value in itertools.chain(
        told, _nested(data, in_context=False), _nested(data, in_context=True)
    ):
        text = None if isinstance(value, dict) or path in seen else _value(plain(value))
        if text is not None:
            seen.add(path)
            yield path, text


def _specified(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [(label, text) for label, _, find in _SPECIFIED if (text := find(data)) is not None]


def _section(
    found: list[tuple[str, str]], details: Iterator[tuple[str, str]], most: int
) -> Iterator[Block]:
    """A section of what was found and then of details, up to `most` fields; none without any."""
    more = itertools.islice(details, max(0, most - len(found)))
    shown = [*found, *((_label(path), text) for path, text in more)]
    if shown:
        fields = [mrkdwn(f"*{label}:*\n{text}"[:MAX_FIELD_TEXT]) for label, text in shown]
        yield {"type": "section", "fields": fields}


def _title(event_type: str) -> str:
    emoji = _EMOJI.get(event_type, _OTHER_EMOJI)
    name = "Prynt Alert" if event_type in _ALERTS else "Prynt"
    return f"{emoji} *{name}: {escape(event_type, _MAX_NAME)}*"


def _last_block(event: StoredEvent, data: dict[str, Any]) -> Block:
    """The way to the details; where the data names no request, the event's id and time."""
    request_id = _at(data, "requestId")
    url = _DETAIL_URL + quote(request_id or "", safe="")
    if request_id is None or len(url) > MAX_URL:
        text = f"`{escape(event.event_id, _MAX_NAME)}` · {iso_ms(event.created_at_ms)}"
        return {"type": "context", "elements": [mrkdwn(text)]}
    text_object = {"type": "plain_text", "text": "View in Dashboard"}
    return {"type": "actions", "elements": [{"type": "button", "text": text_object, "url": url}]}


def render(event: StoredEvent, webhook_id: str) -> bytes:
    """The message for one event; the same for every webhook and on every attempt."""
    del webhook_id
    data = parse(event.data)
    title = _title(event.event_type)
    blocks: list[Block] = [{"type": "section", "text": mrkdwn(title)}]
    about_alert: dict[str, Any] = {}
    if event.event_type == "alert.triggered":
        about_alert = {name: data.pop(name) for name in _ABOUT_ALERT if name in data}
    most = len(_SPECIFIED) if event.event_type in _ALERTS else MAX_FIELDS
    blocks += _section(_specified(data), _details(data), most)
    blocks.append(_last_block(event, data))
    blocks += _section([], _details(about_alert), MAX_FIELDS)
    # Notifications and screen readers take `text`; they show no blocks.
    return msgspec.json.encode({"text": title.replace("*", ""), "blocks": blocks})


class _Told(msgspec.Struct):
    """What a line tells of an event; decoding all of a large one takes longer than all else."""

    visitorId: msgspec.Raw = msgspec.Raw()  # noqa: N815 - the name in the data
    ip: msgspec.Raw = msgspec.Raw()
    alert: msgspec.Raw = msgspec.Raw()
    rule: msgspec.Raw = msgspec.Raw()


_told: Final = msgspec.json.Decoder(_Told).decode


def _in_a_line(data: bytes) -> dict[str, Any]:
    """The members that a line tells; what is too large to be told in one is left out."""
    try:
        found = _told(data)
    except msgspec.DecodeError:  # what only `parse` can read, and takes its time
        return parse(data) if len(data) <= _MAX_TOLD else {}
    texts = {name: getattr(found, name) for name in found.__struct_fields__}
    return {name: parse(raw) for name, raw in texts.items() if 0 < len(bytes(raw)) <= _MAX_TOLD}


def _line(event: StoredEvent) -> str:
    """One event of a summary, in a line."""
    data = _in_a_line(event.data)
    visitor = _at(data, "visitorId")
    about = _at(data, "alert", "name") or _at(data, "rule", "name")
    texts = (event.event_type, visitor, _at(data, "ip"), about)
    shown = [escape(text, _MAX_IN_LINE) for text in texts if text is not None]
    emoji = _EMOJI.get(event.event_type, _OTHER_EMOJI)
    return f"{emoji} {' · '.join(text for text in shown if text)}"


def _counts(events: Sequence[StoredEvent]) -> list[tuple[str, int]]:
    """How many events of each type, the most frequent first; rare ones are counted together."""
    ranked = Counter(event.event_type for event in events).most_common()
    if len(ranked) <= MAX_FIELDS:
        return ranked
    most = MAX_FIELDS - 1
    return [*ranked[:most], ("other types", sum(count for _, count in ranked[most:]))]


def summary(events: Sequence[StoredEvent]) -> bytes:
    """One message for a burst of events: how many of what, from when to when, and the first ones.

    `events` are in the order in which they would have been sent on their own, at least one.
    """
    if len(events) == 1:
        return render(events[0], "")
    alerts = all(event.event_type in _ALERTS for event in events)
    emoji, noun = ("⚠️", "alerts") if alerts else (_OTHER_EMOJI, "events")
    title = f"{emoji} *Prynt: {len(events):,} {noun}*"
    counts = [
        (escape(event_type, _MAX_NAME), f"{count:,}") for event_type, count in _counts(events)
    ]
    lines = [_line(event) for event in events[:_SHOWN]]
    if len(events) > _SHOWN:
        lines.append(f"… and {len(events) - _SHOWN:,} more")
    times = [event.created_at_ms for event in events]
    period = f"{iso_ms(min(times))} to {iso_ms(max(times))}"
    blocks: list[Block] = [
        {"type": "section", "text": mrkdwn(title)},
        {"type": "section", "fields": [mrkdwn(f"*{name}:*\n{count}") for name, count in counts]},
        {"type": "section", "text": mrkdwn("\n".join(lines)[:MAX_SECTION_TEXT])},
        {"type": "context", "elements": [mrkdwn(period)]},
    ]
    text = f"{title.replace('*', '')} ({', '.join(f'{count} {name}' for name, count in counts)})"
    return msgspec.json.encode({"text": text, "blocks": blocks})

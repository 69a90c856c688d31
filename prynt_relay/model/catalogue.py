"""What each event type is about: for `GET /v1/event-types`, the dashboard and the docs."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from prynt_relay.model.samples import sample_data

__all__ = ["EventTypeInfo", "catalogue", "sample_data"]


class EventTypeInfo(msgspec.Struct, frozen=True):
    """One event type; `sample` is a made-up `data` of it (see `sample_data`)."""

    name: str
    category: str
    description: str
    sample: dict[str, Any]


_KNOWN: Final = (
    (
        "identification.complete",
        "Identification",
        (
            "A visitor was identified. Carries the whole result: visitor id, confidence, "
            "history, location, device, every signal, the scores and the verdict. The most "
            "frequent type."
        ),
    ),
    (
        "verdict.allow",
        "Verdict",
        (
            "The rules let a visitor through. Carries the whole identification; suited to a "
            "log of all traffic decisions."
        ),
    ),
    (
        "verdict.block",
        "Verdict",
        (
            "The rules decided to block a visitor. Carries the rule that did and the whole "
            "identification."
        ),
    ),
    (
        "verdict.challenge",
        "Verdict",
        (
            "The rules want a visitor challenged. Carries the recommended challenge (such as "
            "MFA or a CAPTCHA), the rule that asked for it and the identification."
        ),
    ),
    (
        "rule.matched",
        "Rule",
        (
            "A rule matched, whatever the verdict came to. Shows how rules perform and helps "
            "to debug them."
        ),
    ),
    (
        "visitor.new",
        "Visitor",
        (
            "A visitor was seen for the very first time; later visits don't repeat it. Suited "
            "to new devices and onboarding."
        ),
    ),
    (
        "visitor.returning",
        "Visitor",
        (
            "A known visitor came back. Carries a summary of the history: first seen, number "
            "of visits, earlier verdicts."
        ),
    ),
    (
        "signal.bot.detected",
        "Signal",
        (
            "Bot detection fired on an identification. Carries the kind of bot, how it was "
            "detected and with what confidence."
        ),
    ),
    (
        "list.entry.added",
        "List",
        (
            "An entry joined a list, by hand or as the effect of a rule. Carries the list, "
            "the value and who or what added it."
        ),
    ),
    (
        "list.entry.expired",
        "List",
        (
            "A list entry reached the end of its lifetime. Carries the list, the value that "
            "left and the lifetime that it had."
        ),
    ),
    (
        "alert.triggered",
        "Alert",
        (
            "A metric crossed an alert's threshold: a spike of bots, a velocity limit, an "
            "anomaly. Carries the alert's definition and the metric's current values."
        ),
    ),
)


def catalogue(extra: Sequence[str] = ()) -> list[EventTypeInfo]:
    """Return the specification's eleven types (section 3) and `extra`, with fresh samples."""
    known = [EventTypeInfo(name, kind, text, sample_data(name)) for name, kind, text in _KNOWN]
    custom = "A type of this installation, from extra_event_types; its publishers say what it is."
    return known + [EventTypeInfo(name, "Custom", custom, sample_data(name)) for name in extra]

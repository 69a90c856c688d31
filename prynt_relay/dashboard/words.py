"""Numbers, moments and states as pages show them."""

from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from markupsafe import Markup, escape

from prynt_relay.escape import less_secret, safe_block
from prynt_relay.model.durations import format_duration
from prynt_relay.model.timestamps import iso_ms

MAX_PRETTY: Final = 1_000_000
"""Characters: what is nested deep grows a hundredfold with its indentation."""

NOTHING: Final = "\N{EN DASH}"
"""What stands for a figure that there isn't."""

OUTCOMES: Final = {
    "success": "Success",
    "http_error": "HTTP error",
    "timeout": "Timeout",
    "dns_error": "DNS error",
    "connection_refused": "Connection refused",
    "connection_error": "Connection error",
    "tls_error": "TLS error",
    "blocked_address": "Blocked address",
}
OUTCOME_HELP: Final = {
    "http_error": "The endpoint answered with a status other than 2xx. Redirects aren't followed.",
    "timeout": "No response headers came in time. Answer first and work afterwards.",
    "dns_error": "The host's name could not be resolved.",
    "connection_refused": "Nothing listens at the host's port.",
    "connection_error": "The connection broke, or what came back wasn't HTTP.",
    "tls_error": "No TLS connection: most often a certificate that doesn't verify.",
    "blocked_address": "The address isn't public, or http isn't allowed any more.",
}
STATES: Final = {
    "scheduled": "Scheduled",
    "delivered": "Delivered",
    "failed": "Failed",
    "held": "Held",
    "cancelled": "Cancelled",
}
STATE_HELP: Final = {
    "scheduled": "Waits for its next attempt.",
    "delivered": "The endpoint answered 2xx.",
    "failed": "Every attempt of its schedule failed.",
    "held": "Its webhook was disabled; it is kept until you retry it.",
    "cancelled": "Its webhook was deleted.",
}
TRIGGERS: Final = {"schedule": "Schedule", "manual": "Manual retry", "test": "Test"}
FORMATS: Final = {
    "prynt": ("Prynt", "The envelope of the specification, with your data as it came in."),
    "fingerprint": (
        "Fingerprint",
        "For receivers written for Fingerprint; only identification.complete.",
    ),
    "cloudevents": ("CloudEvents", "Structured CloudEvents 1.0 JSON."),
    "slack": ("Slack", "A message for a Slack incoming webhook, at most one a second."),
}
SIGNATURES: Final = {
    "prynt": ("Prynt", "X-Prynt-Signature: HMAC-SHA256 over the timestamp and the body."),
    "standard": ("Standard Webhooks", "webhook-signature; carries old and new secret together."),
    "fingerprint": ("Fingerprint", "fpjs-event-signature: v1= and HMAC-SHA256 over the body."),
}


FIELDS: Final = {
    "url": "The URL",
    "events": "The list of events",
    "description": "The description",
    "filter": "The filter",
    "timeout": "The timeout",
    "retrySchedule": "A pause before a retry",
    "auth": "Basic authentication:",
    "auth.username": "The user name",
    "auth.password": "The password",
    "headers": "The list of headers",
    "format": "The format",
    "signatures": "The list of signatures",
    "state": "The state",
    "states": "The list of states",
    "since": "The beginning of the window:",
    "until": "The end of the window:",
    "eventType": "The event type",
    "eventId": "The id",
    "cursor": "The page",
    "activateIn": "The time of the change:",
    "limit": "The number of rows",
}


def moment(iso: str | None, shape: Literal["full", "short", "relative"] = "full") -> Markup:
    """Return a moment in UTC, which the page's script turns into the reader's own time.

    There, "short" leaves out what goes without saying, and "relative" is the distance from now.
    """
    if iso is None:
        return Markup('<span class="none">never</span>')
    text = f"{iso[:10]} {iso[11:19]} UTC"
    return Markup('<time datetime="{}" title="{} {} UTC" data-shape="{}">{}</time>').format(
        iso, iso[:10], iso[11:23], shape, text
    )


def ago(iso: str | None) -> Markup:
    """Return a moment that is told by its distance from now."""
    return moment(iso, "relative")


def short(iso: str | None) -> Markup:
    """Return a moment for where many stand below each other."""
    return moment(iso, "short")


def moment_ms(unix_ms: int | None) -> Markup:
    """Return a moment given in milliseconds, short."""
    return moment(None if unix_ms is None else iso_ms(unix_ms), "short")


def number(value: float) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """Return a count in few characters: 1.2M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{value:,.0f}"


def took(milliseconds: float | None) -> str:
    """Return how long something took."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s" if milliseconds < 100_000 else span(milliseconds / 1000)


def span(seconds: float) -> str:
    """Return a length of time as people say it: "3 h 20 min"."""
    seconds = round(seconds)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for index, (unit, size) in enumerate(units):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            if unit == "d" and (whole >= 10 or not rest):
                return plural(whole, "day")
            below = units[index + 1] if index + 1 < len(units) else None
            parts = [f"{whole} {unit}"]
            if below is not None and whole < 10 and rest >= below[1]:
                parts.append(f"{rest // below[1]} {below[0]}")
            return " ".join(parts)
    return "0 s"


def durations(values: list[str]) -> str:
    """Return a retry schedule in words."""
    return ", then ".join(values) if values else "no retry"


def duration(seconds: float) -> str:
    """Return a duration as the configuration has it: "5m"."""
    return format_duration(seconds)


def pretty(text: str) -> str | None:
    """Return JSON indented and otherwise as it is written; None for what isn't JSON or gets huge.

    Nothing is decoded into numbers or strings: 1.0 stays 1.0, and an escape stays an escape.
    """
    if not text.strip():
        return None
    try:
        shown = msgspec.json.format(text.encode(), indent=2).decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return shown if len(shown) <= MAX_PRETTY else None


def size(text: str) -> str:
    """Return how many bytes a text has in UTF-8."""
    count = len(text.encode(errors="replace"))
    return f"{count:,} bytes" if count != 1 else "1 byte"


def clock_utc(iso: str) -> str:
    """Return the time of day in UTC, to the minute."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%H:%M")


def field_name(field: str) -> str:
    """Return an API field's name as a sentence begins with it."""
    head, _, rest = field.partition(".")
    if head == "headers" and rest:
        return f"Header {rest}"
    return FIELDS.get(field) or FIELDS.get(head.partition("[")[0]) or field


def mistake(field: str, reason: str) -> str:
    """Return what is wrong with a field as a sentence."""
    return f"{field_name(field)} {reason}."


def plural(count: float, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def breakable(text: str) -> Markup:
    """Return a long URL or name that may break after its separators."""
    found = escape(text)
    for separator in map(Markup, ("/", ".", "?", "&amp;")):
        found = found.replace(separator, separator + Markup("<wbr>"))
    return found


FILTERS: Final = {
    each.__name__: each
    for each in (
        moment, ago, short, moment_ms, number, compact, took, span, durations, duration, pretty,
        size, clock_utc, plural, breakable, less_secret,
    )
} | {"visible": safe_block}  # fmt: skip

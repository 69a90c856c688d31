"""The last line of defence: what looks like a secret never leaves in a log line.

No room hands a secret to the log in the first place; this is for what slips through in an
exception's text, a library's message or a value's `repr`.
"""

import re
from typing import Final

MASK: Final = "***"

SECRET_KEYS: Final = frozenset(
    {
        *("password", "secret", "secrets", "signing_secret", "authorization", "auth", "token"),
        *("api_key", "encryption_keys", "cookie", "headers", "body", "payload"),
        *("data", "request", "response"),
    }
)
"""Names under which a line's value is never shown."""

_HINTS: Final = ("whsec_", "sk_live_", "://", "uthorization", "bearer ", "basic ")
_RULES: Final = (
    (re.compile(r"\b(whsec_|sk_live_)[A-Za-z0-9+/=_-]+"), rf"\1{MASK}"),
    # A URL can be a secret as a whole (Slack's are): its host is all that may be shown.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)(?:[^\s/@]*@)?([^\s/?#'\"<>\\]*)[^\s'\"<>\\]*"), ""),
    (
        re.compile(
            r"(?i)(authorization\W{1,8}?(?:b?['\"])?)(?:(?:basic|bearer)\s+)?[^\s'\",;:=\\]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
)


_OPEN_PATHS: Final = frozenset({"", "/", "/metrics"})
"""Paths of our own addresses, which the log may name."""


def _host_only(match: re.Match[str]) -> str:
    shown = match[1] + match[2]
    return match[0] if match[0].removeprefix(shown) in _OPEN_PATHS else f"{shown}/{MASK}"


def mask(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced, URLs cut to their host."""
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement or _host_only, text)
    return text

"""Texts that Slack takes: escaped, and within the limits of its Block Kit reference."""

from typing import Any, Final

import msgspec

MAX_SECTION_TEXT: Final = 3000
MAX_FIELD_TEXT: Final = 2000
MAX_URL: Final = 3000
MAX_FIELDS: Final = 10

_MAX_MEMBERS: Final = 20
"""Of a list that is shown in one line."""
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but some scripts and emoji don't read without them."""

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str, limit: int) -> str:
    """`text` on one line, unable to mention or link, at most `limit` units of UTF-16 long.

    Slack counts a text after escaping, and a cut in the middle of an escape would show.
    """
    parts: list[str] = []
    length, fits = 0, 0
    for char in text[: 4 * limit]:  # the rest could only be blanks and a cut
        if char.isspace() or not (char.isprintable() or char in _JOINERS):
            # Runs of blanks count once; anything else invisible has no place in a message.
            if not parts or parts[-1] == " ":
                continue
            piece = " "
        else:
            piece = _ESCAPES.get(char, char)
        length += len(piece) if piece.isascii() else len(piece.encode("utf-16-le")) // 2
        if length > limit:
            return "".join(parts[:fits]) + "…"
        parts.append(piece)
        if length < limit:
            fits = len(parts)
    return "".join(parts).rstrip()


def plain(value: Any) -> str | None:
    """A JSON value as people read it, or None where there is nothing to read."""
    if value is None or value in ("", [], {}):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(member, dict | list) for member in value):
        texts = [plain(member) for member in value[:_MAX_MEMBERS]]
        texts += ["…"] if len(value) > _MAX_MEMBERS else []
        return ", ".join(text for text in texts if text is not None) or None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return msgspec.json.encode(value).decode()


def mrkdwn(text: str) -> dict[str, str]:
    """A text object of Block Kit; `text` is escaped already."""
    return {"type": "mrkdwn", "text": text}

"""Text made fit to be shown: it must drive no terminal, turn or hide nothing, give no key away."""

import re
from typing import Final

# C0 but newline and tab, DEL, C1, line and paragraph separators, the marks and overrides that
# reorder text, invisible joiners of ids, lone surrogates. Each could hide or forge what is shown.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\ud800-\udfff]"
)
_JSON_UNSAFE: Final = re.compile(_UNSAFE.pattern.replace("\x0b-", "\x0b\x0c\x0e-"))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def safe_block(text: str) -> str:
    r"""Return `text` with control characters spelled out (`\x1b`); newlines and tabs stay."""
    return _UNSAFE.sub(_visible, text.replace("\r\n", "\n"))


def safe_line(text: str) -> str:
    r"""Return `text` as one line: newlines and tabs are spelled out too."""
    return _UNSAFE.sub(_visible, text).replace("\n", "\\n").replace("\t", "\\t")


def safe_json(text: str) -> str:
    r"""Return JSON text with the same meaning in which dangerous characters are `\u` escapes.

    They can only stand inside strings there, where the escape means the same.
    """
    return _JSON_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


SLACK_HOST: Final = "hooks.slack.com"


def less_secret(url: str, *, is_slack: bool = False) -> str:
    """Return a URL without what may be a key: its query, and the path of one of Slack's.

    Who has such a path can post to the channel; the signing of everything else goes on a secret.
    """
    base, mark, _ = url.partition("?")
    scheme, _, rest = base.partition("://")
    host = rest.partition("/")[0]
    if is_slack or host.lower() == SLACK_HOST:
        return f"{scheme}://{host}/…"
    return base + ("?…" if mark else "")

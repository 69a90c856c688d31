"""What a setting's value may look like: each kind reads one, refuses one, and writes one down."""

import base64
import binascii
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from prynt_relay.config.settings import Listen
from prynt_relay.model.durations import format_duration, parse_duration
from prynt_relay.model.mailbox import parse_mailbox


class Unfit(ValueError):  # noqa: N818 - says what the value is
    """A value that breaks its kind's rule: `rule` completes "must be …", `value` is the culprit.

    `place` says where in an array it stands: "item 2 ".
    """

    def __init__(self, rule: str, value: object, place: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.value = value
        self.place = place


class Kind(Protocol):
    """One kind of value."""

    def parse(self, value: object) -> Any:
        """Return what TOML's `value` stands for; raises Unfit."""
        ...

    def from_text(self, text: str) -> object:
        """Return what TOML would have held where the environment holds `text`; raises Unfit."""
        ...

    def render(self, value: Any) -> str:
        """Write a parsed value as TOML."""
        ...


class Text:
    """A string; `check` returns it in its usual form or raises Unfit."""

    def __init__(
        self, check: Callable[[str], Any] = str, render: Callable[[Any], str] = str
    ) -> None:
        self._check = check
        self._render = render

    def parse(self, value: object) -> Any:
        """Check a string."""
        if not isinstance(value, str):
            raise Unfit("a string", value)
        return self._check(value)

    def from_text(self, text: str) -> object:
        """The text itself."""
        return text

    def render(self, value: Any) -> str:
        """As a TOML string."""
        return toml_string(self._render(value))


class Flag:
    """True or false."""

    def parse(self, value: object) -> bool:
        """Check a boolean."""
        if not isinstance(value, bool):
            raise Unfit("true or false", value)
        return value

    def from_text(self, text: str) -> object:
        """`true` or `false`, as in TOML."""
        return {"true": True, "false": False}.get(text.strip().lower(), text)

    def render(self, value: bool) -> str:
        """As TOML writes it."""
        return "true" if value else "false"


class Whole:
    """A whole number within bounds, ends included."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def parse(self, value: object) -> int:
        """Check a number."""
        if type(value) is not int or not self._least <= value <= self._most:
            raise Unfit(f"a whole number from {self._least} to {self._most}", value)
        return value

    def from_text(self, text: str) -> object:
        """Digits."""
        return int(text) if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text) else text

    def render(self, value: int) -> str:
        """As digits."""
        return str(value)


_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(B|[KMGT]B|[KMGT]iB)")
_SIZE_UNITS: Final = {"B": 1} | {
    f"{prefix}{unit}": base ** (power + 1)
    for power, prefix in enumerate("KMGT")
    for unit, base in (("B", 1000), ("iB", 1024))
}


class Size(Whole):
    """Bytes: a number, or a string such as "20GB" (powers of 1000) or "256KiB" (of 1024)."""

    def parse(self, value: object) -> int:
        """Check a number or a string."""
        count = value
        if isinstance(value, str):
            match = _SIZE.fullmatch(value)
            count = int(match[1]) * _SIZE_UNITS[match[2]] if match else None
        if type(count) is not int or not self._least <= count <= self._most:
            raise Unfit(
                f'a size from {self._least} to {self._most} bytes, such as 262144 or "20GB"', value
            )
        return count

    def render(self, value: int) -> str:
        """With a unit where that loses nothing and is shorter to read."""
        for unit, factor in sorted(_SIZE_UNITS.items(), key=lambda item: -item[1]):
            if factor >= 1_000_000 and value % factor == 0 and value:
                return toml_string(f"{value // factor}{unit}")
        return str(value)


def _examples(least_s: float, most_s: float) -> str:
    fitting = [
        f'"{text}"'
        for text in ("500ms", "10s", "5m", "24h", "30d")
        if least_s <= parse_duration(text) <= most_s
    ]
    return f", such as {', '.join(fitting[:3])}" if fitting else ""


class Duration:
    """A duration within bounds, ends included; seconds when parsed."""

    def __init__(self, least: str, most: str) -> None:
        self._least, self._most = least, most

    def parse(self, value: object) -> float:
        """Check a string such as "10s"."""
        try:
            seconds = parse_duration(value) if isinstance(value, str) else None
        except ValueError:
            seconds = None
        least, most = parse_duration(self._least), parse_duration(self._most)
        if seconds is None or not least <= seconds <= most:
            raise Unfit(
                f"a duration from {self._least} to {self._most}{_examples(least, most)}",
                value,
            )
        return seconds

    def from_text(self, text: str) -> object:
        """The text itself."""
        return text.strip()

    def render(self, value: float) -> str:
        """The short way."""
        return toml_string(format_duration(value))


class Several:
    """An array of one kind; in the environment a TOML or JSON array, or separated by commas."""

    def __init__(self, item: Kind, most: int = 1000) -> None:
        self._item = item
        self._most = most

    def parse(self, value: object) -> tuple[Any, ...]:
        """Check an array and all that is in it."""
        if not isinstance(value, list):
            raise Unfit('an array, such as [] or ["…"]', value)
        if len(value) > self._most:
            raise Unfit(f"an array of at most {self._most}", f"{len(value)} of them")
        items = []
        for number, one in enumerate(value, 1):
            try:
                items.append(self._item.parse(one))
            except Unfit as error:
                raise Unfit(error.rule, error.value, f"item {number} ") from error
        return tuple(items)

    def from_text(self, text: str) -> object:
        """Read an array, or what stands between commas; nothing is an empty array."""
        stripped = text.strip()
        if stripped.startswith("["):
            try:
                return tomllib.loads(f"x = {stripped}")["x"]
            except (tomllib.TOMLDecodeError, KeyError):
                raise Unfit("an array, or values separated by commas", text) from None
        parts = (part.strip() for part in stripped.split(","))
        return [self._item.from_text(part) for part in parts if part]

    def render(self, value: tuple[Any, ...]) -> str:
        """As a TOML array."""
        return "[" + ", ".join(map(self._item.render, value)) + "]"


def toml_string(text: str) -> str:
    """Write `text` as a TOML string (a JSON string is one, but for DEL)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def choice(*values: str) -> Text:
    """One of a few words."""

    def check(text: str) -> str:
        if text not in values:
            raise Unfit("one of " + ", ".join(map(toml_string, values)), text)
        return text

    return Text(check)


def matching(pattern: str, rule: str) -> Text:
    """A string that matches as a whole."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise Unfit(rule, text)
        return text

    return Text(check)


def check_path(text: str) -> Path:
    """Return a path made absolute; `~` is the home folder."""
    if not text or "\0" in text:
        raise Unfit("a path", text)
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise Unfit("a path whose home folder is known", text) from None


def check_socket(text: str) -> Path:
    """Return the path of a Unix socket, which the system limits to 107 bytes (unix(7))."""
    path = check_path(text)
    if len(str(path).encode(errors="surrogateescape")) > 107:
        raise Unfit("a path of at most 107 bytes, since a socket's can't be longer", str(path))
    return path


def check_optional_path(text: str) -> Path | None:
    """Return a path, or None for the empty string."""
    return check_path(text) if text else None


def check_mode(text: str) -> int:
    """Return a file mode that was written in octal."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise Unfit('a file mode in octal, such as "0660"', text)
    return int(text, 8)


_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*\.?")


def check_host(text: str) -> str:
    """Return a host name or an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if len(text) > 253 or _HOST.fullmatch(text) is None or re.fullmatch(r"[0-9.]+", text):
            raise Unfit("a host name or an address", text) from None
    return text


def check_listen(text: str) -> Listen:
    """Return the host and port of `host:port`, `[::1]:port`."""
    rule = 'an address and a port, such as "127.0.0.1:8420" or "[::1]:8420"'
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]+)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65_535:
        raise Unfit(rule, text)
    try:
        if match[1]:
            ipaddress.IPv6Address(match[1])
        else:
            check_host(match[2])
    except ValueError:
        raise Unfit(rule, text) from None
    return Listen(host=match[1] or match[2], port=int(match[3]))


def render_listen(listen: Listen) -> str:
    """Write an address and a port, IPv6 in brackets."""
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{listen.port}"


def check_network(text: str) -> str:
    """Return a network in CIDR form."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = f" (did you mean {ipaddress.ip_network(text, strict=False)}?)"
    except ValueError:
        meant = ""
    raise Unfit(f'a network in CIDR form, such as "10.0.0.0/8"{meant}', text)


def check_published(text: str) -> str:
    """Return an address or a network as it was written."""
    check_network(text)
    return text


def check_key(text: str) -> bytes:
    """Return an encryption key."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise Unfit("32 bytes in base64 (openssl rand -base64 32 makes one)", text)
    return key


_URI: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2}){1,512}")


def check_uri_reference(text: str) -> str:
    """Return a URI-reference that isn't empty (CloudEvents 1.0, `source`)."""
    try:
        if _URI.fullmatch(text) is None or not urlsplit(text).geturl():
            raise ValueError
    except ValueError:
        raise Unfit('a URI or a path of one, such as "urn:prynt-relay"', text) from None
    return text


def check_mailbox(text: str) -> str:
    """Return an e-mail address, with or without a name before it."""
    try:
        parse_mailbox(text)
    except ValueError:
        rule = 'an e-mail address, such as "ops@example.com" or "Ops <ops@example.com>"'
        raise Unfit(rule, text) from None
    return text

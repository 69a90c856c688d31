"""Every key of the configuration: where it stands, what it may be, which setting it sets.

config.example.toml describes each; a test compares the two.
"""

import base64
from pathlib import Path
from typing import Final

import msgspec

from prynt_relay.config.kinds import (
    Duration,
    Flag,
    Kind,
    Several,
    Size,
    Text,
    Whole,
    check_host,
    check_key,
    check_listen,
    check_mailbox,
    check_mode,
    check_network,
    check_optional_path,
    check_path,
    check_published,
    check_socket,
    check_uri_reference,
    choice,
    matching,
    render_listen,
)

ENVIRONMENT_PREFIX: Final = "PRYNT_RELAY_"


class Key(msgspec.Struct, frozen=True):
    """One key; `field` is the setting's name in its section's struct."""

    section: str
    name: str
    kind: Kind
    field: str
    secret: bool = False

    @property
    def path(self) -> str:
        """Its name with its section's: `delivery.concurrency`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """The environment variable that overrides it: `PRYNT_RELAY_DELIVERY__CONCURRENCY`."""
        return ENVIRONMENT_PREFIX + self.path.replace(".", "__").upper()


def _key(path: str, kind: Kind, *, field: str = "", secret: bool = False) -> Key:
    section, _, name = path.rpartition(".")
    return Key(section, name, kind, field or name, secret)


def _render_optional_path(path: Path | None) -> str:
    return str(path) if path is not None else ""


_WORD: Final = r"[A-Za-z0-9_-]{1,60}"
_PATH: Final = Text(check_path)
_LISTEN: Final = Text(check_listen, render_listen)

KEYS: Final[tuple[Key, ...]] = (
    _key("state_dir", _PATH),
    _key(
        "api_version",
        matching(r"[\x21-\x7e]{1,64}", "1 to 64 printable ASCII characters without blanks"),
    ),
    _key(
        "extra_event_types",
        Several(
            matching(
                rf"{_WORD}(?:\.{_WORD}){{0,5}}",
                'a name such as "payment.failed": up to six words of letters, digits, _ and -, '
                "each of up to 60, joined by dots",
            )
        ),
    ),
    _key(
        "encryption_keys",
        Several(Text(check_key, lambda key: base64.b64encode(key).decode()), most=20),
        secret=True,
    ),
    _key("event_source", Text(check_uri_reference)),
    _key("intake.socket", Text(check_socket)),
    _key("intake.socket_mode", Text(check_mode, lambda mode: f"{mode:04o}")),
    _key("intake.max_payload", Size(1, 16 * 1024 * 1024)),
    _key("intake.dedup_window", Duration("1s", "365d"), field="dedup_window_s"),
    _key("delivery.concurrency", Whole(1, 10_000)),
    _key("delivery.concurrency_per_webhook", Whole(1, 10_000)),
    _key("delivery.timeout", Duration("100ms", "30s"), field="timeout_s"),
    _key(
        "delivery.retry_schedule", Several(Duration("0s", "30d"), most=20), field="retry_schedule_s"
    ),
    _key("delivery.disable_after", Duration("1s", "365d"), field="disable_after_s"),
    _key("egress.allow_http", Flag()),
    _key("egress.allow_addresses", Several(Text(check_network))),
    _key("egress.ca_file", Text(check_optional_path, _render_optional_path)),
    _key("egress.published_ips", Several(Text(check_published))),
    _key("api.listen", _LISTEN),
    _key("metrics.listen", _LISTEN),
    _key("metrics.per_webhook_limit", Whole(0, 100_000)),
    _key("email.host", Text(lambda text: check_host(text) if text else "")),
    _key("email.port", Whole(1, 65_535)),
    _key("email.tls", choice("starttls", "implicit", "none")),
    _key("email.username", Text()),
    _key("email.password", Text(), secret=True),
    _key("email.sender", Text(check_mailbox)),
    _key("email.recipients", Several(Text(check_mailbox), most=100)),
    _key("retention.history", Duration("1s", "3650d"), field="history_s"),
    _key("retention.max_size", Size(1_000_000, 10**15)),
    _key("log.level", choice("debug", "info", "warning", "error")),
    _key("log.format", choice("auto", "json", "console")),
)

BY_PATH: Final = {key.path: key for key in KEYS}
SECTIONS: Final = tuple(dict.fromkeys(key.section for key in KEYS if key.section))

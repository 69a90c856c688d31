"""Every setting with its default, as immutable structs; durations in seconds, sizes in bytes."""

from pathlib import Path
from typing import Literal

import msgspec


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """The Unix socket that publishers write to (contract, section 3)."""

    socket: Path
    socket_mode: int = 0o660
    max_payload: int = 262_144
    dedup_window_s: float = 86_400.0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How deliveries are made and retried (specification, section 6)."""

    concurrency: int = 512
    concurrency_per_webhook: int = 64
    timeout_s: float = 10.0
    retry_schedule_s: tuple[float, ...] = (300.0, 1800.0)
    disable_after_s: float = 86_400.0


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoints may be reached (contract, section 5)."""

    allow_http: bool = False
    allow_addresses: tuple[str, ...] = ()
    ca_file: Path | None = None
    published_ips: tuple[str, ...] = ()


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP address to listen on."""

    host: str
    port: int


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """The REST API and the dashboard."""

    listen: Listen = Listen(host="127.0.0.1", port=8420)


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The Prometheus endpoint."""

    listen: Listen = Listen(host="127.0.0.1", port=9420)
    per_webhook_limit: int = 1000


class Email(msgspec.Struct, frozen=True, kw_only=True):
    """The mail server; without a host nothing is sent."""

    host: str = ""
    port: int = 587
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    username: str = ""
    password: str = ""
    sender: str = "prynt-relay@localhost"
    recipients: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Hide the password from logs and tracebacks."""
        return f"Email(host={self.host!r}, port={self.port}, password='***')"


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long history is kept."""

    history_s: float = 30 * 86_400.0
    max_size: int = 20_000_000_000


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, checked and with every default in place."""

    state_dir: Path
    api_version: str = "2026-01-15"
    extra_event_types: tuple[str, ...] = ()
    encryption_keys: tuple[bytes, ...] = ()
    event_source: str = "urn:prynt-relay"
    intake: Intake
    delivery: Delivery = Delivery()
    egress: Egress = Egress()
    api: Api = Api()
    metrics: Metrics = Metrics()
    email: Email = Email()
    retention: Retention = Retention()
    log: Log = Log()

    def __repr__(self) -> str:
        """Hide the encryption keys from logs and tracebacks."""
        return f"Config(state_dir={str(self.state_dir)!r}, encryption_keys='***')"

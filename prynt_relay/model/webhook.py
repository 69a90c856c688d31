"""Webhooks: where events go, and how."""

from urllib.parse import urlsplit

import msgspec

from prynt_relay.model.states import DisabledReason, Format, SignatureScheme


class BasicAuth(msgspec.Struct, frozen=True):
    """HTTP basic authentication towards the receiver."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Hide the password from logs and tracebacks."""
        return f"BasicAuth(username={self.username!r}, password='***')"


class Secrets(msgspec.Struct, frozen=True):
    """What signs: `current`, and during a rotation the one that takes over at `pending_at_ms`.

    `pending_at_ms` is wall time. Before it `current` signs alone, except in the schemes that
    carry both; from it on only `pending` does.
    """

    current: str
    pending: str | None = None
    pending_at_ms: int | None = None

    def active(self, wall_ms: int) -> tuple[str, str | None]:
        """The secret that signs at `wall_ms`, and the next one while it is still pending."""
        if self.pending is None or self.pending_at_ms is None:
            return self.current, None
        if wall_ms >= self.pending_at_ms:
            return self.pending, None
        return self.current, self.pending

    def __repr__(self) -> str:
        """Hide the secrets from logs and tracebacks."""
        return f"Secrets(***, pending_at_ms={self.pending_at_ms!r})"


class Health(msgspec.Struct, frozen=True):
    """What the 24-hour rule and the dispatcher remember of a webhook, across restarts.

    `failing_since_ms` is wall time, for people; `failing_from_ms` is the same moment on the
    schedule's clock and `excused_ms` the time since then in which the relay did not run.
    `failures` counts the failed attempts since `failing_since_ms`. `proven` is the dispatcher's
    verdict: its last attempts gave their slot back soon.
    """

    failing_since_ms: int | None = None
    failing_from_ms: int | None = None
    excused_ms: int = 0
    failures: int = 0
    warned: bool = False
    proven: bool = False


class Webhook(msgspec.Struct, frozen=True):
    """A subscription. `row` is the database's number for it; never shown outside.

    `timeout_s` and `retry_schedule_s` are None where the configuration's hold.
    `revision_row` names the stored picture of how its requests look (`transport.describe`),
    0 until the store gave it one.
    """

    row: int
    id: str
    url: str
    events: tuple[str, ...]
    secrets: Secrets
    created_at_ms: int
    updated_at_ms: int
    description: str = ""
    enabled: bool = True
    disabled_reason: DisabledReason | None = None
    disabled_at_ms: int | None = None
    auth: BasicAuth | None = None
    headers: tuple[tuple[str, str], ...] = ()
    format: Format = Format.PRYNT
    signatures: tuple[SignatureScheme, ...] = (SignatureScheme.PRYNT,)
    timeout_s: float | None = None
    retry_schedule_s: tuple[float, ...] | None = None
    filter: str | None = None
    health: Health = Health()
    revision_row: int = 0

    @property
    def host(self) -> str:
        """The host in its URL: all of it that logs, metrics and mails may show (section 5)."""
        try:
            return urlsplit(self.url).hostname or ""
        except ValueError:
            return ""

    def __repr__(self) -> str:
        """Name it without its URL, headers or secrets: each can be one."""
        return f"Webhook({self.id})"


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook to be; the store gives it its row, its id and its times."""

    url: str
    events: tuple[str, ...]
    secrets: Secrets
    description: str = ""
    enabled: bool = True
    disabled_reason: DisabledReason | None = None
    disabled_at_ms: int | None = None
    auth: BasicAuth | None = None
    headers: tuple[tuple[str, str], ...] = ()
    format: Format = Format.PRYNT
    signatures: tuple[SignatureScheme, ...] = (SignatureScheme.PRYNT,)
    timeout_s: float | None = None
    retry_schedule_s: tuple[float, ...] | None = None
    filter: str | None = None

    def __repr__(self) -> str:
        """Name nothing: its URL, headers and authentication can be secrets."""
        return "NewWebhook(***)"

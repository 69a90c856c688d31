"""Webhooks as rows: reading them, changing them, and their secrets at rest."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from prynt_relay.errors import NotFoundError, StorageError
from prynt_relay.model import ids
from prynt_relay.model.states import DisabledReason, Format, SignatureScheme
from prynt_relay.model.webhook import BasicAuth, Health, NewWebhook, Secrets, Webhook
from prynt_relay.store.secret_box import SecretBox, missing_key
from prynt_relay.store.settle import health_columns

_COLUMNS: Final = (
    "id, public_id, url, events, description, enabled, disabled_reason, disabled_at_ms, format,"
    " signatures, timeout_s, retry_schedule_s, filter, secrets, secrets_key, failing_since_ms,"
    " failing_from_ms, excused_ms, failures, warned, proven, revision, created_at_ms,"
    " updated_at_ms"
)
_REENCRYPT_ROWS: Final = 500


class _Sealed(msgspec.Struct):
    """What is encrypted of a webhook, as one JSON text."""

    current: str
    pending: str | None
    pending_at_ms: int | None
    auth: tuple[str, str] | None
    headers: list[tuple[str, str]]


class WebhookRows:
    """Webhooks to rows and back."""

    def __init__(self, box: SecretBox, random_bytes: Callable[[int], bytes]) -> None:
        self._box = box
        self._random_bytes = random_bytes

    def read_all(self, connection: sqlite3.Connection) -> list[Webhook]:
        """Every webhook that isn't deleted, oldest first."""
        return [
            self._webhook(row)
            for row in connection.execute(
                f"SELECT {_COLUMNS} FROM webhooks WHERE deleted_at_ms IS NULL ORDER BY id"  # noqa: S608
            ).fetchall()
        ]

    def read(self, connection: sqlite3.Connection, row: int) -> Webhook:
        """One webhook; raises NotFoundError if it isn't there or deleted."""
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM webhooks WHERE id = ? AND deleted_at_ms IS NULL",  # noqa: S608
            (row,),
        ).fetchone()
        if found is None:
            raise NotFoundError(f"there is no webhook in row {row}; it may have been deleted")
        return self._webhook(found)

    def add(self, connection: sqlite3.Connection, new: NewWebhook, now_ms: int) -> Webhook:
        """Insert one, under an id that no webhook had."""
        public_id = ids.new_webhook_id(self._random_bytes)
        while connection.execute(
            "SELECT 1 FROM webhooks WHERE public_id = ?", (public_id,)
        ).fetchone():
            public_id = ids.new_webhook_id(self._random_bytes)
        webhook = Webhook(
            row=0,
            id=public_id,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            **{name: getattr(new, name) for name in new.__struct_fields__},
        )
        names, values = zip(*self._columns(webhook).items(), strict=True)
        row = connection.execute(
            f"INSERT INTO webhooks ({', '.join(names)}) "  # noqa: S608 - our own names
            f"VALUES ({', '.join('?' * len(names))})",
            values,
        ).lastrowid
        return msgspec.structs.replace(webhook, row=row)

    def update(
        self, connection: sqlite3.Connection, row: int, changes: Mapping[str, Any], now_ms: int
    ) -> Webhook:
        """Replace some fields; raises NotFoundError.

        It is updated now, unless `changes` say when. Without changes it stays as it is.
        """
        webhook = self.read(connection, row)
        if changes:
            webhook = msgspec.structs.replace(webhook, **{"updated_at_ms": now_ms, **changes})
            self._write(connection, webhook)
        return webhook

    def delete(self, connection: sqlite3.Connection, row: int, now_ms: int) -> None:
        """Mark it as deleted and forget its secrets; raises NotFoundError."""
        self.read(connection, row)
        connection.execute(
            """UPDATE webhooks SET deleted_at_ms = ?, updated_at_ms = ?, enabled = 0,
                   secrets = x'', secrets_key = NULL
               WHERE id = ?""",
            (now_ms, now_ms, row),
        )

    def set_revision(self, connection: sqlite3.Connection, row: int, template: str) -> int:
        """Keep a picture of the webhook's requests; the same text again is the same revision."""
        connection.execute(
            "INSERT OR IGNORE INTO webhook_revisions (webhook, template) VALUES (?, ?)",
            (row, template),
        )
        revision: int = connection.execute(
            "SELECT id FROM webhook_revisions WHERE webhook = ? AND template = ?", (row, template)
        ).fetchone()[0]
        connection.execute("UPDATE webhooks SET revision = ? WHERE id = ?", (revision, row))
        return revision

    # --- secrets at rest ---

    def check_keys(self, connection: sqlite3.Connection) -> None:
        """Raise StorageError unless every secret's key is there."""
        for (key_id,) in connection.execute(
            "SELECT DISTINCT secrets_key FROM webhooks WHERE secrets_key IS NOT NULL"
        ).fetchall():
            if not self._box.knows(key_id):
                raise StorageError(missing_key(key_id))

    def reencrypt(self, connection: sqlite3.Connection) -> int:
        """Put some secrets under the key in force; returns how many, 0 when all are."""
        if self._box.current is None:
            return 0
        rows = connection.execute(
            f"""SELECT {_COLUMNS} FROM webhooks
                WHERE secrets_key IS NOT ? AND deleted_at_ms IS NULL LIMIT ?""",  # noqa: S608
            (self._box.current, _REENCRYPT_ROWS),
        ).fetchall()
        for row in rows:
            self._write(connection, self._webhook(row))
        return len(rows)

    # --- one row ---

    def _write(self, connection: sqlite3.Connection, webhook: Webhook) -> None:
        columns = self._columns(webhook)
        connection.execute(
            f"UPDATE webhooks SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",  # noqa: S608
            (*columns.values(), webhook.row),
        )

    def _columns(self, webhook: Webhook) -> dict[str, Any]:
        plain = msgspec.json.encode(
            _Sealed(
                current=webhook.secrets.current,
                pending=webhook.secrets.pending,
                pending_at_ms=webhook.secrets.pending_at_ms,
                auth=None
                if webhook.auth is None
                else (webhook.auth.username, webhook.auth.password),
                headers=list(webhook.headers),
            )
        )
        secrets, secrets_key = self._box.seal(plain, webhook.id)
        schedule = webhook.retry_schedule_s
        health = (
            "failing_since_ms",
            "failing_from_ms",
            "excused_ms",
            "failures",
            "warned",
            "proven",
        )
        return {
            "public_id": webhook.id,
            "url": webhook.url,
            "events": _json(webhook.events),
            "description": webhook.description,
            "enabled": webhook.enabled,
            "disabled_reason": webhook.disabled_reason,
            "disabled_at_ms": webhook.disabled_at_ms,
            "format": webhook.format,
            "signatures": _json(webhook.signatures),
            "timeout_s": webhook.timeout_s,
            "retry_schedule_s": None if schedule is None else _json(schedule),
            "filter": webhook.filter,
            "secrets": secrets,
            "secrets_key": secrets_key,
            **dict(zip(health, health_columns(webhook.health), strict=True)),
            "revision": webhook.revision_row,
            "created_at_ms": webhook.created_at_ms,
            "updated_at_ms": webhook.updated_at_ms,
        }

    def _webhook(self, columns: tuple[Any, ...]) -> Webhook:
        (
            row, public_id, url, events, description, enabled, disabled_reason, disabled_at_ms,
            form, signatures, timeout_s, schedule, filter_, secrets, secrets_key, failing_since,
            failing_from, excused_ms, failures, warned, proven, revision, created_at_ms,
            updated_at_ms,
        ) = columns  # fmt: skip
        sealed = msgspec.json.decode(self._box.open(secrets, secrets_key, public_id), type=_Sealed)
        return Webhook(
            row=row,
            id=public_id,
            url=url,
            events=msgspec.json.decode(events, type=tuple[str, ...]),
            secrets=Secrets(sealed.current, sealed.pending, sealed.pending_at_ms),
            created_at_ms=created_at_ms,
            updated_at_ms=updated_at_ms,
            description=description,
            enabled=bool(enabled),
            disabled_reason=None if disabled_reason is None else DisabledReason(disabled_reason),
            disabled_at_ms=disabled_at_ms,
            auth=None if sealed.auth is None else BasicAuth(*sealed.auth),
            headers=tuple(sealed.headers),
            format=Format(form),
            signatures=msgspec.json.decode(signatures, type=tuple[SignatureScheme, ...]),
            timeout_s=timeout_s,
            retry_schedule_s=None
            if schedule is None
            else msgspec.json.decode(schedule, type=tuple[float, ...]),
            filter=filter_,
            health=Health(
                failing_since, failing_from, excused_ms, failures, bool(warned), bool(proven)
            ),
            revision_row=revision,
        )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

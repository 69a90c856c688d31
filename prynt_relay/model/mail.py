"""E-mails on their way out."""

import msgspec


class OutboxMail(msgspec.Struct, frozen=True):
    """A mail to send at least once; `message_id` stays the same on every try."""

    message_id: str
    subject: str
    body: str


class DueMail(msgspec.Struct, frozen=True):
    """A mail of the outbox whose time has come; `tries` counts those that failed."""

    row: int
    mail: OutboxMail
    created_at_ms: int
    tries: int

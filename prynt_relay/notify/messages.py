"""What the e-mails say (contract, section 4). Pure.

A mail names the webhook by its id and its URL's host: the rest of the URL can be a secret
(section 5). Its Message-ID is computed from what it tells of, so the same news is the same mail,
however often it is written down or sent.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.mailbox import parse_mailbox
from prynt_relay.model.webhook import Health, Webhook

_WIRE: Final = SMTP.clone(cte_type="7bit")  # not every server speaks 8BITMIME
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
"""Names that need no quotes (RFC 5322, section 3.2.3)."""
_HOUR_MS: Final = 3_600_000
_MAX_TEXT: Final = 200
"""Of what people or peers wrote (descriptions, errors): enough to recognise it by."""


def warning_mail(
    webhook: Webhook, health: Health, last: AttemptResult, *, disable_at_ms: int, sender: str
) -> OutboxMail:
    """Say that a webhook keeps failing, and when (wall) it will be disabled if that goes on.

    `health` is the webhook's after the attempt `last`; `sender` is the configuration's, whose
    domain the Message-ID takes.
    """
    moment = _moment(disable_at_ms)
    body = (
        f"Every delivery to this webhook has failed since {_since(health)}.\n"
        f"If none succeeds before {moment}, the first failure after it\n"
        "disables the webhook: its events are then kept, and no longer sent.\n\n"
        f"{_facts(webhook, health, last)}\n"
        "Failed deliveries are listed, with their causes, by\n\n"
        f"    prynt webhooks deliveries {webhook.id} --state failed\n\n"
        "Once the receiver works, see that it does with\n\n"
        f"    prynt webhooks test {webhook.id}\n\n"
        "Any delivery that succeeds ends the countdown. Should the webhook have been disabled by\n"
        "then, this enables it again:\n\n"
        f"    prynt webhooks enable {webhook.id}\n"
    )
    return OutboxMail(
        message_id=_message_id("failing", webhook, health, sender),
        subject=f"Webhook {webhook.id} ({webhook.host}) keeps failing; to be disabled {moment}",
        body=body,
    )


def disabled_mail(
    webhook: Webhook, health: Health, last: AttemptResult, *, disabled_at_ms: int, sender: str
) -> OutboxMail:
    """Say that a webhook was disabled (at a wall time) because it kept failing."""
    failing_ms = disabled_at_ms - (health.failing_since_ms or disabled_at_ms)
    # What had failed too, and a day in which to read this mail.
    window_h = -(-failing_ms // _HOUR_MS) + 24
    body = (
        f"Every delivery to this webhook has failed since {_since(health)},\n"
        f"so it was disabled at {_moment(disabled_at_ms)}. Its events are kept as held\n"
        "deliveries for as long as the configured retention, and not sent.\n\n"
        f"{_facts(webhook, health, last)}\n"
        "Once the receiver works, see that it does, enable the webhook again, and send what was\n"
        "held and what had failed:\n\n"
        f"    prynt webhooks test {webhook.id}\n"
        f"    prynt webhooks enable {webhook.id}\n"
        f"    prynt webhooks retry {webhook.id} --since {window_h}h\n"
    )
    return OutboxMail(
        message_id=_message_id("disabled", webhook, health, sender),
        subject=f"Webhook {webhook.id} ({webhook.host}) was disabled: it kept failing",
        body=body,
    )


def test_mail(*, now_ms: int, unique: str, sender: str) -> OutboxMail:
    """Say that e-mail works; `unique` tells one such mail from the next."""
    return OutboxMail(
        message_id=f"<test.{unique}@{_domain(sender)}>",
        subject="Test of the e-mail settings",
        body=(
            f"This mail was sent by 'prynt-relay test-email' at {_moment(now_ms)}.\n"
            "Warnings about failing webhooks take the same way.\n"
        ),
    )


def assemble(
    mail: OutboxMail, *, created_at_ms: int, sender: str, recipients: Sequence[str]
) -> bytes:
    """Return the message as it goes over the wire (RFC 5322): plain text, 7-bit clean.

    Raises ValueError where `sender` or one of `recipients` is no mailbox.
    """
    message = EmailMessage(policy=_WIRE)
    message["Subject"] = f"[prynt-relay] {_line(mail.subject)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(created_at_ms / 1000, UTC))
    message["Message-ID"] = mail.message_id
    # RFC 3834: keeps vacation notices from answering.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    # The library parses the names that it is given, and loses or decodes some while it folds them.
    people = (("From", [sender]), ("To", recipients))
    head = "".join(
        f"{field}: " + ",\r\n ".join(map(_mailbox, mailboxes)) + "\r\n"
        for field, mailboxes in people
    )
    return head.encode("ascii") + message.as_bytes()


def address_of(text: str) -> str:
    """The bare address in `Name <address>`, for the envelope; raises ValueError without one."""
    return parse_mailbox(text).address


def _mailbox(text: str) -> str:
    """A mailbox as a header has it: any name arrives as it was written."""
    name, address = parse_mailbox(text)
    name = _line(name)
    if not name:
        return address
    if not name.isascii() or "=?" in name:  # RFC 2047; what looks encoded must not be decoded
        words = Header(name, "utf-8", header_name="From").encode(linesep="\r\n")
        return f"{words}\r\n <{address}>"
    if not _ATOMS.fullmatch(name):
        name = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return f"{name} <{address}>"


def _facts(webhook: Webhook, health: Health, last: AttemptResult) -> str:
    rows = [
        ("Webhook", webhook.id),
        ("Host", webhook.host),
        ("Description", _line(webhook.description) or "(none)"),
        ("Failing since", _since(health)),
        ("Failures", f"{health.failures:,}"),
        ("Last error", _reason(last)),
    ]
    return "".join(f"    {name + ':':<15}{value}\n" for name, value in rows)


def _reason(last: AttemptResult) -> str:
    status = f" {last.status}" if last.status is not None else ""
    error = f": {_line(last.error)}" if last.error else ""
    return f"{last.outcome.label}{status}{error}"


def _line(text: str) -> str:
    """`text` in one line of printable characters, cut: it goes into headers and terminals."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    flat = " ".join(flat.split())
    return flat if len(flat) <= _MAX_TEXT else flat[: _MAX_TEXT - 1] + "…"


def _since(health: Health) -> str:
    return _moment(health.failing_since_ms) if health.failing_since_ms is not None else "just now"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _message_id(kind: str, webhook: Webhook, health: Health, sender: str) -> str:
    return f"<{kind}.{webhook.id}.{health.failing_since_ms or 0}@{_domain(sender)}>"


def _domain(sender: str) -> str:
    try:
        return address_of(sender).rpartition("@")[2]
    except ValueError:
        return "localhost"

import email
import email.policy
from collections.abc import Callable
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.config.kinds import Unfit, check_mailbox
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.states import Outcome
from prynt_relay.model.webhook import Health, Secrets, Webhook
from prynt_relay.notify import messages

NOON_MS = 1_790_000_000_000  # 2026-09-21 14:13:20 UTC
SENDER = "Relay <relay@ops.example.com>"


def webhook(**changes: object) -> Webhook:
    fields: dict[str, object] = {
        "row": 1,
        "id": "wh_3kR8mNqT7xP2v",
        "url": "https://user-part.example.com/services/T00/SECRET?token=HIDDEN",
        "events": ("*",),
        "secrets": Secrets("whsec_verysecret"),
        "created_at_ms": 0,
        "updated_at_ms": 0,
        "description": "Production alerts",
    }
    return Webhook(**(fields | changes))  # type: ignore[arg-type]  # known fields


HEALTH = Health(failing_since_ms=NOON_MS, failing_from_ms=NOON_MS, failures=1234)
LAST = AttemptResult(
    outcome=Outcome.HTTP_ERROR,
    started_at_ms=NOON_MS,
    duration_ms=12,
    slot_s=0.1,
    signature=b"",
    status=503,
    error="the receiver answered 503",
)


def parse(mail: OutboxMail, sender: str = SENDER, to: tuple[str, ...] = ("a@b.c",)) -> EmailMessage:
    raw = messages.assemble(mail, created_at_ms=NOON_MS, sender=sender, recipients=to)
    raw.decode("ascii")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def warning(hook: Webhook | None = None, last: AttemptResult = LAST) -> OutboxMail:
    return messages.warning_mail(
        hook or webhook(), HEALTH, last, disable_at_ms=NOON_MS + 43_200_000, sender=SENDER
    )


def disabled(hook: Webhook | None = None, last: AttemptResult = LAST) -> OutboxMail:
    return messages.disabled_mail(
        hook or webhook(), HEALTH, last, disabled_at_ms=NOON_MS + 86_400_000, sender=SENDER
    )


@pytest.mark.parametrize("make", [warning, disabled])
def test_each_mail_tells_what_an_operator_needs(make: Callable[[], OutboxMail]) -> None:
    """Webhook, host, description, since when, how many failures, last error, how to enable it."""
    mail = make()
    for fact in (
        "wh_3kR8mNqT7xP2v",
        "user-part.example.com",
        "Production alerts",
        "2026-09-21 14:13 UTC",
        "1,234",
        "http_error 503: the receiver answered 503",
        "prynt webhooks enable wh_3kR8mNqT7xP2v",
    ):
        assert fact in mail.body
    for secret in ("SECRET", "HIDDEN", "services", "whsec_"):
        assert secret not in mail.body + mail.subject + mail.message_id
    assert max(map(len, mail.body.splitlines())) <= 100


def test_the_warning_names_the_moment_of_disabling() -> None:
    """Subject and body say when the webhook will be disabled."""
    mail = warning()
    assert "2026-09-22 02:13 UTC" in mail.subject
    assert "2026-09-22 02:13 UTC" in mail.body


def test_the_mail_about_disabling_names_a_window_that_covers_the_failures() -> None:
    """The retry that it proposes reaches back to the first failure, with a day to spare."""
    assert "prynt webhooks retry wh_3kR8mNqT7xP2v --since 48h" in disabled().body


def test_the_message_id_is_the_same_for_the_same_news_only() -> None:
    """A repeat of the same news has the same Message-ID; other news have others."""
    assert warning().message_id == warning().message_id
    assert warning().message_id != disabled().message_id
    other = messages.warning_mail(
        webhook(),
        Health(failing_since_ms=NOON_MS + 1),
        LAST,
        disable_at_ms=NOON_MS,
        sender=SENDER,
    )
    assert other.message_id != warning().message_id
    assert warning().message_id.endswith("@ops.example.com>")
    assert warning().message_id == parse(warning())["Message-ID"]


def test_the_message_on_the_wire_is_plain_and_complete() -> None:
    """Headers and text arrive as they were meant; automatic answers are asked not to come."""
    message = parse(warning(), to=("Ops <ops@example.com>", "b@example.com"))
    assert message["From"].addresses[0].addr_spec == "relay@ops.example.com"
    assert [one.addr_spec for one in message["To"].addresses] == [
        "ops@example.com",
        "b@example.com",
    ]
    assert message["Subject"].startswith("[prynt-relay] Webhook wh_3kR8mNqT7xP2v")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime.timestamp() == NOON_MS // 1000
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == warning().body


def test_text_from_outside_can_add_no_header_and_no_line() -> None:
    """Line breaks and control characters in a description or an error become blanks."""
    evil = "x\r\nBcc: victim@example.com\r\n\r\nbody\x1b[31m\u2028\x00"
    last = AttemptResult(
        outcome=Outcome.CONNECTION_ERROR,
        started_at_ms=0,
        duration_ms=0,
        slot_s=0,
        signature=b"",
        error=evil,
    )
    mail = warning(webhook(description=evil), last)
    message = parse(OutboxMail(mail.message_id, mail.subject + "\r\nBcc: v@example.com", mail.body))
    assert message["Bcc"] is None
    assert set(message.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
    }
    text = message.get_content()
    assert "\nBcc" not in text
    assert "\x1b" not in text
    assert "x Bcc: victim@example.com body [31m" in text


def test_text_beyond_ascii_survives_a_server_of_seven_bits() -> None:
    """Descriptions in any script arrive whole, and long ones are cut."""
    message = parse(warning(webhook(description="Zürich 東京 🛑")), sender="Wächter <a@b.example>")
    assert "Zürich 東京 🛑" in message.get_content()
    assert message["From"].addresses[0].display_name == "Wächter"
    message = parse(warning(webhook(description="ü" * 5000)))
    assert "ü" * 199 + "…" in message.get_content()
    assert "ü" * 200 not in message.get_content()


def received_names(sender: str, *to: str) -> list[tuple[str, str]]:
    """(name, address) of From and To, read by older code of the library than wrote them."""
    raw = messages.assemble(warning(), created_at_ms=0, sender=sender, recipients=to)
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    message = email.message_from_bytes(raw)
    assert message.keys()[:3] == ["From", "To", "Subject"]
    lines = [str(message[name]).replace("\r\n", "") for name in ("From", "To")]
    return [
        (str(make_header(decode_header(name))), address) for name, address in getaddresses(lines)
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Ops [prod]", "Ops [prod]"),
        ('"Ops"', "Ops"),
        (r'"Ops \"prod\""', 'Ops "prod"'),
        ('5" team', '5" team'),
        ("Ops (24/7", "Ops (24/7"),
        ("[prod]", "[prod]"),
        ("Ops :)", "Ops :)"),
        ("Ops\\Relay", "Ops\\Relay"),
        ("J. Smith", "J. Smith"),
        ("Équipe [prod] (東京)", "Équipe [prod] (東京)"),
        ("A\xa0.B", "A .B"),
        ("\xa0M. Dupont ", "M. Dupont"),
        ("=?utf-8?q?a=0D=0ABcc: b?=", "=?utf-8?q?a=0D=0ABcc: b?="),
        (" ", ""),
        ("", ""),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_a_name_arrives_as_it_was_written(written: str, read: str) -> None:
    """Whatever the name before an address has in it, the address behind it is the one used."""
    text = f"{written}<ops@example.com>"
    assert check_mailbox(text) == text
    assert messages.address_of(text) == "ops@example.com"
    assert received_names(text, text, "b@c.d") == [
        *((read, "ops@example.com"), (read, "ops@example.com"), ("", "b@c.d"))
    ]


@given(
    st.text("a \"\\().:[]=?'é日😀-_*%&\xa0\u200b", max_size=60) | st.text(max_size=30),
    st.sampled_from(("ops@example.com", "o'x{y}@b-c.d", "a..b@c.d", ".a@b..c", "a@[IPv6:::1]")),
)
def test_any_name_that_the_configuration_takes_can_be_written_to(name: str, address: str) -> None:
    """No name that is accepted spoils the message, the envelope or the next recipient."""
    text = f"{name}<{address}>"
    try:
        check_mailbox(text)
    except Unfit:
        return
    assert messages.address_of(text) == address
    mail = messages.test_mail(now_ms=0, unique="x", sender=text)
    raw = messages.assemble(mail, created_at_ms=0, sender=text, recipients=(text, "b@c.d"))
    head = raw.partition(b"Subject:")[0]
    assert email.message_from_bytes(raw).keys()[:3] == ["From", "To", "Subject"]
    assert head.count(address.encode()) == 2
    assert head.endswith(b",\r\n b@c.d\r\n")
    if address == "ops@example.com":  # the library can't read all of the others back
        assert [one for _, one in received_names(text, text)] == [address, address]


def test_a_mail_without_a_known_beginning_is_still_a_mail() -> None:
    """A health without its first failure doesn't stop the news."""
    mail = messages.disabled_mail(
        webhook(description=""), Health(), LAST, disabled_at_ms=NOON_MS, sender="nobody"
    )
    assert "just now" in mail.body
    assert "(none)" in mail.body
    assert "--since 24h" in mail.body
    assert mail.message_id.endswith("@localhost>")

import asyncio
import re
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog.testing
import trustme

from prynt_relay.config.settings import Email
from prynt_relay.errors import StorageUnavailableError
from prynt_relay.model.mail import DueMail, OutboxMail
from prynt_relay.notify import sender as sender_module
from prynt_relay.notify import smtp
from prynt_relay.notify.sender import MAX_TRIES, OutboxSender, retry_delay_s
from prynt_relay.notify.smtp import MailRefusedError, MailServer, MailServerError, send_test
from prynt_relay.store import outbox
from prynt_relay.telemetry.metrics import Metrics
from tests.clock import FakeClock
from tests.integration.mail_servers import MailBox, Received

SCHEMA = Path(sender_module.__file__).parent.parent / "store/migrations/0001_initial.sql"


class SqliteOutbox:
    """The store's outbox on a real database, with a signal for every row that is done with."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript(SCHEMA.read_text())
        self.full = False
        self.reads = 0
        self.written: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    def add(self, *mails: OutboxMail) -> None:
        outbox.add(self.connection, mails, self.clock.schedule_ms())

    async def due_mails(self, now_ms: int, limit: int) -> list[DueMail]:
        self.reads += 1
        return outbox.due(self.connection, now_ms, limit)

    async def next_mail_ms(self) -> int | None:
        return outbox.next_try_ms(self.connection)

    async def mail_sent(self, row: int) -> None:
        self._check()
        outbox.sent(self.connection, row, self.clock.wall_ms())
        self.written.put_nowait(("sent", row))

    async def mail_failed(self, row: int, error: str, next_try_ms: int | None) -> None:
        self._check()
        outbox.failed(self.connection, row, error, next_try_ms)
        self.written.put_nowait(("failed", row))

    def _check(self) -> None:
        if self.full:
            self.written.put_nowait(("refused", 0))
            raise StorageUnavailableError("the disk is full")

    def row(self, row: int) -> tuple[int | None, int, int | None, str | None]:
        found: tuple[int | None, int, int | None, str | None] = self.connection.execute(
            "SELECT next_try_ms, tries, sent_at_ms, last_error FROM outbox WHERE id = ?", (row,)
        ).fetchone()
        return found


def mail(n: int) -> OutboxMail:
    return OutboxMail(f"<{n}@relay.test>", f"Subject {n}", f"Body {n}\n")


def settings(port: int, **changes: object) -> Email:
    fields: dict[str, object] = {
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "sender": "Relay <relay@ops.example.com>",
        "recipients": ("Ops <ops@example.com>", "boss@example.com"),
    }
    return Email(**(fields | changes))  # type: ignore[arg-type]  # known fields


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def box_db(clock: FakeClock) -> Iterator[SqliteOutbox]:
    box = SqliteOutbox(clock)
    yield box
    box.connection.close()


class Running:
    """A sender at work, and its counters."""

    def __init__(self, box: SqliteOutbox, clock: FakeClock, email: Email, ca: Path | None) -> None:
        self.metrics = Metrics()
        self.sender = OutboxSender(box, clock, email, counter=self.metrics, ca_file=ca)
        self.task = asyncio.create_task(self.sender.run())

    def counted(self) -> dict[str, int]:
        emails = self.metrics.snapshot({}).emails
        return {name: count for name, count in emails.items() if count}

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Starter:
    """Starts senders, and stops them after the test."""

    def __init__(self, box: SqliteOutbox, clock: FakeClock) -> None:
        self.box, self.clock = box, clock
        self.running: list[Running] = []

    def __call__(self, email: Email, ca: Path | None = None) -> Running:
        running = Running(self.box, self.clock, email, ca)
        self.running.append(running)
        return running


@pytest.fixture
async def start(box_db: SqliteOutbox, clock: FakeClock) -> AsyncIterator[Starter]:
    starter = Starter(box_db, clock)
    yield starter
    for running in starter.running:
        await running.stop()


async def written(box: SqliteOutbox) -> tuple[str, int]:
    return await asyncio.wait_for(box.written.get(), 10)


async def received(box: MailBox) -> Received:
    return await asyncio.wait_for(box.received.get(), 10)


async def free_port() -> int:
    async with MailBox() as box:
        return box.port


async def test_mails_go_out_over_one_connection_and_are_marked(
    box_db: SqliteOutbox, start: Starter, clock: FakeClock
) -> None:
    """What waits is sent in order, to all recipients, and marked after the server's answer."""
    async with MailBox() as box:
        box_db.add(mail(1), mail(2), mail(3))
        running = start(settings(box.port))
        for n in (1, 2, 3):
            assert await written(box_db) == ("sent", n)
            got = await received(box)
            assert got.message["Message-ID"] == f"<{n}@relay.test>"
            assert got.message.get_content() == f"Body {n}\r\n"
            assert got.sender == "relay@ops.example.com"
            assert got.recipients == ["ops@example.com", "boss@example.com"]
        assert box.connections == 1
        assert box_db.row(1) == (None, 0, clock.wall_ms(), None)
        assert running.counted() == {"sent": 3}


async def test_a_new_mail_wakes_the_sender(box_db: SqliteOutbox, start: Starter) -> None:
    """It sleeps on an empty outbox and sends at once when told of something new."""
    async with MailBox() as box:
        running = start(settings(box.port))
        await asyncio.sleep(0)
        assert box_db.written.empty()
        box_db.add(mail(1))
        running.sender.wake()
        assert await written(box_db) == ("sent", 1)
        assert (await received(box)).message["Subject"] == "[prynt-relay] Subject 1"


async def test_a_server_that_is_down_at_first_gets_the_mail_later_once(
    box_db: SqliteOutbox, start: Starter, clock: FakeClock
) -> None:
    """Tries are made with growing pauses until the server is back; then it has the mail once."""
    port = await free_port()
    box_db.add(mail(1))
    running = start(settings(port))
    waited = []
    for tries in range(1, 12):
        assert await written(box_db) == ("failed", 1)
        next_ms, counted, sent_at, error = box_db.row(1)
        assert (counted, sent_at) == (tries, None)
        assert error is not None
        assert "127.0.0.1 port" in error
        assert next_ms is not None
        waited.append((next_ms - clock.schedule_ms()) / 1000)
        if tries < 11:
            await clock.advance(waited[-1])
    assert waited == [10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 3600, 3600]
    async with MailBox(port=port) as box:
        await clock.advance(3599)
        assert box.connections == 0
        await clock.advance(1)
        assert await written(box_db) == ("sent", 1)
        got = await received(box)
        assert got.message["Message-ID"] == "<1@relay.test>"
        await clock.advance(7200)
        assert box.received.empty()
    assert running.counted() == {"failed": 11, "sent": 1}


async def test_a_mail_is_given_up_after_three_days_with_an_error(
    box_db: SqliteOutbox, start: Starter, clock: FakeClock
) -> None:
    """The last try marks the row as given up and says so; the loop goes on."""
    total_s = sum(retry_delay_s(n) for n in range(1, MAX_TRIES))
    assert 2.9 * 86_400 < total_s < 3.1 * 86_400
    box_db.add(mail(1))
    box_db.connection.execute("UPDATE outbox SET tries = ?", (MAX_TRIES - 1,))
    with structlog.testing.capture_logs() as lines:
        running = start(settings(await free_port()))
        assert await written(box_db) == ("failed", 1)
    next_ms, tries, sent_at, error = box_db.row(1)
    assert (next_ms, tries, sent_at) == (None, MAX_TRIES, None)
    assert error is not None
    assert running.counted() == {"given_up": 1}
    [line] = [line for line in lines if line["action"] == "email_given_up"]
    assert line["log_level"] == "error"
    assert line["message_id"] == "<1@relay.test>"
    assert not running.task.done()


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"host": ""}, "email.host is not set"),
        ({"recipients": ()}, "email.recipients names nobody"),
    ],
)
async def test_without_a_server_or_recipients_a_warning_is_logged_instead(
    box_db: SqliteOutbox, start: Starter, lacking: dict[str, object], words: str
) -> None:
    """The news are in the log, with what is missing; the row is done with, never tried again."""
    box_db.add(mail(1), mail(2))
    with structlog.testing.capture_logs() as lines:
        running = start(settings(25, **lacking))
        assert [await written(box_db), await written(box_db)] == [("failed", 1), ("failed", 2)]
    assert box_db.row(1)[0] is None
    assert [line["subject"] for line in lines] == ["Subject 1", "Subject 2"]
    assert lines[0]["event"] == f"an e-mail would have been sent, but {words}"
    assert {(line["action"], line["log_level"]) for line in lines} == {
        ("email_not_configured", "warning")
    }
    assert running.counted() == {"not_configured": 2}


async def test_a_refused_recipient_is_tried_again_without_bothering_the_others(
    box_db: SqliteOutbox, start: Starter, clock: FakeClock
) -> None:
    """Who has the mail doesn't get it again; who was refused gets it once the server agrees."""
    async with MailBox(refuse={"boss@example.com": "451 greylisted"}) as box:
        box_db.add(mail(1))
        running = start(settings(box.port))
        assert await written(box_db) == ("failed", 1)
        assert (await received(box)).recipients == ["ops@example.com"]
        error = box_db.row(1)[3]
        assert error is not None
        assert "boss@example.com: 451 greylisted" in error
        await clock.advance(10)
        assert await written(box_db) == ("failed", 1)
        assert box.received.empty()
        box.refuse.clear()
        await clock.advance(30)
        assert await written(box_db) == ("sent", 1)
        got = await received(box)
        assert got.recipients == ["boss@example.com"]
        assert "ops@example.com" in got.message["To"]
    assert running.counted() == {"failed": 2, "sent": 1}


async def test_a_mail_that_is_refused_does_not_hold_up_the_next(
    box_db: SqliteOutbox, start: Starter, clock: FakeClock
) -> None:
    """A refusal concerns one mail; the same connection serves those behind it."""
    async with MailBox(data_answer="554 looks like spam") as box:
        box_db.add(mail(1), mail(2))
        start(settings(box.port))
        assert [await written(box_db), await written(box_db)] == [("failed", 1), ("failed", 2)]
        assert box.connections == 1
        error = box_db.row(2)[3]
        assert error is not None
        assert "554 looks like spam" in error
        box.data_answer = "250 fine"
        await clock.advance(10)
        assert {await written(box_db), await written(box_db)} == {("sent", 1), ("sent", 2)}


async def test_a_full_disk_sends_nothing_twice(
    box_db: SqliteOutbox, start: Starter, clock: FakeClock
) -> None:
    """What the server took but the disk did not is remembered, and recorded when space returns."""
    async with MailBox() as box:
        box_db.add(mail(1))
        box_db.full = True
        running = start(settings(box.port))
        for _ in range(3):
            assert await written(box_db) == ("refused", 0)
            await box.left.get()  # the conversation is over, so the loop sleeps
            await clock.advance(5)
        box_db.full = False
        assert await written(box_db) == ("refused", 0)
        await box.left.get()
        await clock.advance(5)
        assert await written(box_db) == ("sent", 1)
        await received(box)
        assert box.received.empty()
        assert running.counted() == {"sent": 1}


async def test_other_settings_hold_from_the_next_mail_on(
    box_db: SqliteOutbox, start: Starter
) -> None:
    """Reconfigure moves the sender to another server without a restart."""
    async with MailBox() as first, MailBox() as second:
        running = start(settings(first.port))
        box_db.add(mail(1))
        running.sender.wake()
        assert await written(box_db) == ("sent", 1)
        running.sender.reconfigure(settings(second.port, recipients=("new@example.com",)))
        box_db.add(mail(2))
        running.sender.wake()
        assert await written(box_db) == ("sent", 2)
        assert (await received(second)).recipients == ["new@example.com"]
        assert first.received.qsize() == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_mails_go_out_encrypted_and_with_a_login(
    mode: str, box_db: SqliteOutbox, start: Starter, server_tls: ssl.SSLContext, ca_file: Path
) -> None:
    """Both ways of TLS work, with the extra trust anchors, and the login is made inside them."""
    login = ("relay", "pässword with blanks")
    box = MailBox(tls=server_tls, implicit=mode == "implicit", login=login)
    async with box:
        box_db.add(mail(1))
        email = settings(box.port, tls=mode, username=login[0], password=login[1])
        start(email, ca_file)
        assert await written(box_db) == ("sent", 1)
        got = await received(box)
        assert got.tls
        assert got.authenticated


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_certificate_that_does_not_verify_gets_no_mail(
    mode: str, server_tls: ssl.SSLContext
) -> None:
    """Without the trust anchor nothing is sent, neither the mail nor the password."""
    async with MailBox(tls=server_tls, implicit=mode == "implicit", login=("u", "p")) as box:
        email = settings(box.port, tls=mode, username="u", password="p")
        with pytest.raises(MailServerError, match="certificate verify failed"):
            await send_test(email, now_ms=0, unique="x")
        assert box.received.empty()


async def test_a_server_without_starttls_gets_no_mail() -> None:
    """Encryption that was asked for is never done without."""
    async with MailBox() as box:
        with pytest.raises(MailServerError, match="STARTTLS"):
            await send_test(settings(box.port, tls="starttls"), now_ms=0, unique="x")
        assert box.received.empty()


@pytest.mark.parametrize("half", [{"username": "relay"}, {"password": "secret"}])
async def test_half_a_login_is_none(half: dict[str, object]) -> None:
    """A server that asks for no login takes the mail; one that does says so."""
    async with MailBox() as box:
        await send_test(settings(box.port, **half), now_ms=0, unique="x")
        got = await received(box)
        assert not got.authenticated
    async with MailBox(login=("relay", "secret")) as box:
        with pytest.raises(MailServerError, match="530"):
            await send_test(settings(box.port, **half), now_ms=0, unique="x")


async def test_a_wrong_password_is_reported_without_it() -> None:
    """The error has the server's answer, never the password."""
    async with MailBox(login=("relay", "right")) as box:
        email = settings(box.port, username="relay", password="wrong-secret")
        with pytest.raises(MailServerError) as caught:
            await send_test(email, now_ms=0, unique="x")
        assert "535" in str(caught.value)
        assert "wrong-secret" not in str(caught.value)
        assert "d3Jvbmct" not in str(caught.value)


async def test_a_server_that_hangs_ends_in_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing costs one timeout, not the sender."""
    monkeypatch.setattr(smtp, "TIMEOUT_S", 0.1)
    async with MailBox(hang=True) as box:
        with pytest.raises(MailServerError, match=r"[Tt]imed out"):
            await send_test(settings(box.port), now_ms=0, unique="x")


async def test_a_test_mail_returns_the_servers_answer() -> None:
    """send_test tells what the server said, also of those whom it refused."""
    async with MailBox(refuse={"boss@example.com": "550 no such user"}) as box:
        answer = await send_test(settings(box.port), now_ms=1_790_000_000_000, unique="abc")
        assert answer.text == "Message accepted as 4711"
        assert answer.refused == {"boss@example.com": "550 no such user"}
        got = await received(box)
        assert got.message["Message-ID"] == "<test.abc@ops.example.com>"
        assert "test-email" in got.message.get_content()
        box.refuse["ops@example.com"] = "550 gone"
        with pytest.raises(MailServerError, match=r"ops@example\.com: 550 gone"):
            await send_test(settings(box.port), now_ms=0, unique="x")


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"host": ""}, "email.host is not set"),
        ({"recipients": ()}, "email.recipients names nobody"),
        ({"host": "", "recipients": ()}, "host is not set, and email.recipients names nobody"),
    ],
)
async def test_a_test_mail_needs_a_server_and_somebody_to_write_to(
    changes: dict[str, object], lacks: str
) -> None:
    """Half of the settings is an error that names what is missing."""
    with pytest.raises(MailServerError, match=re.escape(lacks) + "$"):
        await send_test(settings(25, **changes), now_ms=0, unique="x")


async def test_a_mail_that_can_not_be_put_together_is_refused_like_any_other() -> None:
    """Its failure is its own: the connection takes the next one."""
    async with MailBox() as box, MailServer(settings(box.port)) as server:
        broken = OutboxMail("<broken@relay.test>", "Subject", "a lone surrogate: \ud800\n")
        with pytest.raises(MailRefusedError, match=r"can't be put together: .*surrogates"):
            await server.send(broken, created_at_ms=0, recipients=["ops@example.com"])
        await server.send(mail(1), created_at_ms=0, recipients=["ops@example.com"])
        assert (await received(box)).message["Subject"] == "[prynt-relay] Subject 1"


async def test_the_envelope_has_the_address_behind_any_name() -> None:
    """What a name has in it changes nothing about whom the server is told."""
    async with MailBox() as box:
        named = settings(
            box.port,
            sender="Relay [prod] <relay@example.com>",
            recipients=("Ops [prod] <ops@example.com>", '5" team <team@example.com>'),
        )
        await send_test(named, now_ms=0, unique="x")
        got = await received(box)
        assert got.sender == "relay@example.com"
        assert got.recipients == ["ops@example.com", "team@example.com"]

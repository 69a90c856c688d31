"""One conversation with the mail server."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import aiosmtplib
import msgspec

from prynt_relay.config.settings import Email
from prynt_relay.errors import RelayError
from prynt_relay.model.mail import OutboxMail
from prynt_relay.notify.messages import address_of, assemble, test_mail

TIMEOUT_S: Final = 30.0
"""For each step of the conversation: connecting, each command and its answer."""

MAIL_TIMEOUT_S: Final = 120.0
"""For all steps of one mail, and for all of connecting: a server may answer, but endlessly."""

_MAX_ANSWER: Final = 300


class MailServerError(RelayError):
    """The mail server could not be reached, or refused what it was asked."""


class MailRefusedError(MailServerError):
    """One mail was refused, or can't be put together; the connection is good for the next."""


class Answer(msgspec.Struct, frozen=True):
    """What the server said: to the message itself, and of each recipient that it refused."""

    text: str
    refused: Mapping[str, str]


class MailServer:
    """A connection to the configured server, for the mails of one batch.

    Use as `async with`; raises MailServerError where the server can't be used.
    """

    def __init__(self, email: Email, *, ca_file: Path | None = None) -> None:
        self._email = email
        self._ca_file = ca_file
        self._client: aiosmtplib.SMTP | None = None

    async def __aenter__(self) -> Self:
        email = self._email
        # Half a login is none: an empty password is refused, and often enough locks the account.
        login = bool(email.username and email.password)
        client = aiosmtplib.SMTP(
            hostname=email.host,
            port=email.port,
            username=email.username if login else None,
            password=email.password if login else None,
            # The default would ask the DNS for our own name.
            local_hostname=_own_name(),
            use_tls=email.tls == "implicit",
            start_tls=email.tls == "starttls",
            timeout=TIMEOUT_S,
        )
        try:
            if email.tls != "none":
                # Reading the system's trust anchors takes milliseconds that are the loop's.
                client.tls_context = await asyncio.to_thread(_trust, self._ca_file)
            async with asyncio.timeout(MAIL_TIMEOUT_S):
                await client.connect()
        except (OSError, aiosmtplib.SMTPException, ValueError) as error:
            client.close()
            raise MailServerError(
                f"mail server {email.host} port {email.port}: {_reason(error)}"
            ) from error
        self._client = client
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if kind is None:
            # The mails were answered for already; a goodbye that fails changes nothing.
            with contextlib.suppress(OSError, aiosmtplib.SMTPException):
                await client.quit()
        client.close()

    async def send(
        self, mail: OutboxMail, *, created_at_ms: int, recipients: Sequence[str]
    ) -> Answer:
        """Hand one mail over, to those of the recipients that are asked for.

        The header names all recipients that are configured. Raises MailServerError where the
        server took it for nobody: MailRefusedError where it said so and goes on, or where the mail
        can't be put together.
        """
        if self._client is None:
            raise MailServerError("not connected; use the server in 'async with'")
        email = self._email
        try:
            message = assemble(
                mail, created_at_ms=created_at_ms, sender=email.sender, recipients=email.recipients
            )
            sender = address_of(email.sender)
            by_address = {address_of(recipient): recipient for recipient in recipients}
        except Exception as error:  # whatever it is, it concerns this mail alone
            raise MailRefusedError(f"the mail can't be put together: {_reason(error)}") from error
        try:
            async with asyncio.timeout(MAIL_TIMEOUT_S):
                refused, text = await self._client.sendmail(sender, list(by_address), message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            reasons = "; ".join(f"{one.recipient}: {_reason(one)}" for one in error.recipients)
            raise MailRefusedError(
                f"mail server {email.host} refused every recipient: {reasons}"
            ) from error
        except aiosmtplib.SMTPResponseException as error:
            raise MailRefusedError(f"mail server {email.host}: {_reason(error)}") from error
        except (OSError, aiosmtplib.SMTPException, ValueError) as error:
            raise MailServerError(f"mail server {email.host}: {_reason(error)}") from error
        return Answer(
            text=_shown(text),
            refused={
                by_address[address]: f"{answer.code} {_shown(answer.message)}"
                for address, answer in refused.items()
            },
        )


def missing(email: Email) -> str:
    """Say which settings are missing without which nothing is sent; nothing: all are there."""
    lacks = [] if email.host else ["email.host is not set"]
    if not email.recipients:
        lacks.append("email.recipients names nobody")
    return ", and ".join(lacks)


async def send_test(
    email: Email, *, now_ms: int, unique: str, ca_file: Path | None = None
) -> Answer:
    """Send a mail that says that e-mail works to all recipients, and return the answer.

    Raises MailServerError, also where the settings name no server or nobody to write to.
    """
    if lacks := missing(email):
        raise MailServerError(f"no e-mail can be sent: {lacks}")
    async with MailServer(email, ca_file=ca_file) as server:
        return await server.send(
            test_mail(now_ms=now_ms, unique=unique, sender=email.sender),
            created_at_ms=now_ms,
            recipients=email.recipients,
        )


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _own_name() -> str:
    name = socket.gethostname()
    return name if name.isascii() and name else "localhost"


def _reason(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {_shown(error.message)}"
    text = _shown(str(error))
    if not text or text.endswith(":"):
        # Some errors of the connection have no words of their own.
        text = f"{text} {type(error.__cause__ or error).__name__}".lstrip()
    return text


def _shown(text: str) -> str:
    """A server's words in one printable line, cut."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return flat[:_MAX_ANSWER]

"""A real SMTP server for tests, on the loop of the test.

async with MailBox() as box:
...                              # send to 127.0.0.1, box.port
mail = await box.received.get()
assert mail["Subject"] == "..."
"""

import asyncio
import email
import email.policy
import ssl
import warnings
from dataclasses import dataclass, field
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Received:
    """A mail as it came, with its envelope."""

    sender: str
    recipients: list[str]
    raw: bytes
    tls: bool
    authenticated: bool

    @property
    def message(self) -> EmailMessage:
        message = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message


class _Conversation(SMTP):
    left: asyncio.Queue[None]

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.left.put_nowait(None)


@dataclass
class MailBox:
    """The server and its settings.

    `received` has every mail that it took, `left` something for every connection that ended.
    """

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    login: tuple[str, str] | None = None
    port: int = 0
    data_answer: str = "250 Message accepted as 4711"
    refuse: dict[str, str] = field(default_factory=dict)
    received: asyncio.Queue[Received] = field(default_factory=asyncio.Queue)
    left: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    connections: int = 0
    hang: bool = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, "127.0.0.1", self.port, ssl=self.tls if self.implicit else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._open: list[SMTP] = []
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for protocol in self._open:
            if isinstance(protocol.transport, asyncio.WriteTransport):
                protocol.transport.abort()
        await self._server.wait_closed()

    def _protocol(self) -> asyncio.Protocol:
        self.connections += 1
        if self.hang:
            return asyncio.Protocol()
        with warnings.catch_warnings():
            # It warns of what some tests are about: a login without its own STARTTLS.
            warnings.simplefilter("ignore")
            protocol = _Conversation(
                self,
                hostname="mail.test",
                tls_context=None if self.implicit else self.tls,
                require_starttls=self.tls is not None and not self.implicit,
                auth_required=self.login is not None,
                auth_require_tls=self.tls is not None and not self.implicit,
                authenticator=self._authenticate if self.login else None,
                loop=asyncio.get_running_loop(),
            )
        protocol.left = self.left
        self._open.append(protocol)
        return protocol

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self.login, handled=False)

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.data_answer.startswith("2"):
            transport, content = server.transport, envelope.content
            assert transport is not None
            assert isinstance(content, bytes)
            self.received.put_nowait(
                Received(
                    envelope.mail_from or "",
                    list(envelope.rcpt_tos),
                    content,
                    tls=transport.get_extra_info("ssl_object") is not None,
                    authenticated=session.authenticated is True,
                )
            )
        return self.data_answer

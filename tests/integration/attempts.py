"""What tests of the transport share: a webhook, an event, a sender that trusts the tests' CA."""

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prynt_relay.clock import Clock, SystemClock
from prynt_relay.config.settings import Egress
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.model.webhook import Secrets, Webhook
from prynt_relay.transport.resolver import Lookup
from prynt_relay.transport.sender import Sender
from tests.integration.receivers import shared_authority

SECRET = "whsec_q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ"

EVENT = StoredEvent(
    row=7,
    event_id="evt_9fJ3kL7mNpR2x",
    event_type="verdict.block",
    api_version="2026-01-15",
    event_source="urn:prynt-relay",
    created_at_ms=1_771_069_522_341,
    received_at_ms=1_771_069_522_400,
    idempotency_key="idk_a7f2c9e1b3d4",
    data=b'{"verdict":"block","score":1.0}',
)


def webhook(url: str, **changes: Any) -> Webhook:
    """A webhook with a timeout that no healthy loopback receiver needs."""
    settings: dict[str, Any] = {"timeout_s": 5.0, **changes}
    return Webhook(
        row=1,
        id="wh_3kR8mNqT7xP2v",
        url=url,
        events=("*",),
        secrets=Secrets(SECRET),
        created_at_ms=1,
        updated_at_ms=1,
        **settings,
    )


async def loopback(host: str) -> Sequence[str]:
    """Resolve every name to 127.0.0.1."""
    del host
    return ["127.0.0.1"]


def resolves_to(*addresses: str) -> Lookup:
    """Resolve every name to these addresses."""
    for address in addresses:
        ipaddress.ip_address(address)

    async def lookup(host: str) -> Sequence[str]:
        del host
        return addresses

    return lookup


def sender(
    *,
    lookup: Lookup | None = loopback,
    allow: tuple[str, ...] = ("127.0.0.0/8",),
    allow_http: bool = True,
    ca_file: Path | None = None,
    timeout_s: float = 10.0,
    clock: Clock | None = None,
) -> Sender:
    """A sender that may connect to the loopback and trusts the tests' authority."""
    egress = Egress(
        allow_http=allow_http,
        allow_addresses=allow,
        ca_file=ca_file or shared_authority().ca_file,
    )
    return Sender(egress, timeout_s=timeout_s, clock=clock or SystemClock(), lookup=lookup)


async def attempt(url: str, **settings: Any) -> AttemptResult:
    """Make one attempt with a sender of its own; `webhook_…` settings go to the webhook."""
    prefix = "webhook_"
    of_webhook = {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}
    others = {k: v for k, v in settings.items() if not k.startswith(prefix)}
    async with sender(**others) as one:
        return await one.send(webhook(url, **of_webhook), EVENT, Format.PRYNT)


def free_port() -> int:
    """A port of the loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


def says(error: str | None, *words: str) -> None:
    """The error is for people: it says what happened, and never the URL (whose path is /hook)."""
    assert error is not None
    assert "hook" not in error
    for word in words:
        assert word in error

"""Addresses that are not public are refused when they are connected to."""

import pytest

from prynt_relay.model.states import Outcome
from tests.integration.attempts import attempt, free_port, resolves_to, says
from tests.integration.receivers import HOST, Receiver


@pytest.mark.parametrize(
    ("addresses", "word"),
    [
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["10.1.2.3"], "private"),
        (["169.254.169.254"], "link-local"),
        (["64:ff9b::7f00:1"], "127.0.0.1"),
        (["64:ff9b:1::7f00:1"], "NAT64"),
        (["::ffff:127.0.0.1"], "127.0.0.1"),
        (["2002:7f00:1::"], "127.0.0.1"),
        (["8.8.8.8", "10.1.2.3"], "10.1.2.3"),
        (["10.1.2.3", "8.8.8.8"], "10.1.2.3"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
async def test_an_address_that_is_not_public_is_blocked(addresses: list[str], word: str) -> None:
    """A name any of whose addresses isn't public is refused, before anything is sent."""
    result = await attempt(
        f"https://{HOST}/hook", lookup=resolves_to(*addresses), allow=(), webhook_timeout_s=2.0
    )
    assert result.outcome is Outcome.BLOCKED_ADDRESS
    says(result.error, HOST, word, "not public")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"])
async def test_an_address_literal_that_is_not_public_is_blocked(host: str) -> None:
    """A literal passes no resolver; the guard at the socket refuses it."""
    result = await attempt(f"https://{host}:{free_port()}/hook", allow=())
    assert result.outcome is Outcome.BLOCKED_ADDRESS
    says(result.error, f"{host.strip('[]')[:5]}", " is not public (")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
async def test_other_spellings_of_an_address_reach_nothing(host: str) -> None:
    """Spellings that the system's resolver would take for 127.0.0.1 don't get there."""
    result = await attempt(f"https://{host}:{free_port()}/hook", allow=(), lookup=None)
    assert result.outcome in {
        Outcome.BLOCKED_ADDRESS, Outcome.DNS_ERROR, Outcome.CONNECTION_ERROR
    }  # fmt: skip


async def test_an_allowed_network_is_admitted() -> None:
    """`egress.allow_addresses` admits its networks, as literals too."""
    async with Receiver() as receiver:
        by_name = await attempt(receiver.url, allow=("127.0.0.1/32",))
        literal = await attempt(
            receiver.url_for("/hook", host="127.0.0.1"), allow=("127.0.0.1/32",)
        )
    assert by_name.outcome is literal.outcome is Outcome.SUCCESS


async def test_http_that_is_not_allowed_any_more_is_blocked() -> None:
    """A webhook from when `egress.allow_http` was on sends nothing in clear."""
    async with Receiver(tls=False) as receiver:
        allowed = await attempt(receiver.url)
        refused = await attempt(receiver.url, allow_http=False)
        assert len(receiver.requests) == 1
    assert allowed.outcome is Outcome.SUCCESS
    assert refused.outcome is Outcome.BLOCKED_ADDRESS
    says(refused.error, "egress.allow_http", "https")

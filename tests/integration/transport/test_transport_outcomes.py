"""Every way in which an attempt can fail, provoked by a real server."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

import pytest

from prynt_relay.model.states import Outcome
from prynt_relay.transport.resolver import DnsError
from tests.integration import misbehaving as bad
from tests.integration.attempts import attempt, free_port, resolves_to, says
from tests.integration.misbehaving import Misbehaving
from tests.integration.receivers import HOST, Receiver, Reply, shared_authority


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410, 429, 500, 503, 304, 600])
async def test_every_status_but_2xx_is_an_http_error(status: int) -> None:
    """A status outside 2xx fails the attempt, redirects included, and is recorded."""
    headers = (("Location", "https://receiver.test/elsewhere"), ("Retry-After", "120"))
    body = b"" if status == 304 else b"no"
    async with Receiver(respond=Reply(status, body, headers)) as receiver:
        result = await attempt(receiver.url)
        assert len(receiver.requests) == 1
    assert result.outcome is Outcome.HTTP_ERROR
    assert result.status == status
    assert result.response_body == body
    assert result.response_headers is not None
    assert b"Retry-After: 120" in result.response_headers
    says(result.error, HOST, str(status))


async def test_switching_protocols_is_an_http_error() -> None:
    """101 is a final answer that is no success."""
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    async with Misbehaving(bad.answers(answer)) as server:
        result = await attempt(server.url)
    assert (result.outcome, result.status) == (Outcome.HTTP_ERROR, 101)


async def test_headers_that_never_come_time_out() -> None:
    """A receiver that takes the request and says nothing is given up at the deadline."""
    async with Misbehaving(bad.never_answers) as server:
        result = await attempt(server.url, webhook_timeout_s=0.3)
        await asyncio.wait_for(server.ended.wait(), 2)
    assert result.outcome is Outcome.TIMEOUT
    assert 295 <= result.duration_ms < 1000
    assert result.slot_s >= 0.295
    says(result.error, "no response headers within 0.3 s")


async def test_headers_one_byte_at_a_time_time_out() -> None:
    """Progress doesn't extend the deadline."""
    async with Misbehaving(bad.drips(bad.OK, every_s=0.05)) as server:
        result = await attempt(server.url, webhook_timeout_s=0.4)
    assert result.outcome is Outcome.TIMEOUT
    assert result.duration_ms < 1200


async def test_an_unanswered_tls_handshake_times_out() -> None:
    """The deadline covers TLS: a server that accepts and never shakes hands is given up."""
    async with Misbehaving(bad.never_answers, tls=False) as server:
        url = server.url.replace("http:", "https:")
        result = await attempt(url, webhook_timeout_s=0.3)
        await asyncio.wait_for(server.ended.wait(), 2)
    assert result.outcome is Outcome.TIMEOUT
    says(result.error, f"no connection to {HOST} within 0.3 s")


async def test_an_unanswered_lookup_times_out() -> None:
    """The deadline covers the lookup of the name."""

    async def never(host: str) -> list[str]:
        await asyncio.Event().wait()
        return [host]

    result = await attempt("https://receiver.test/hook", lookup=never, webhook_timeout_s=0.2)
    assert result.outcome is Outcome.TIMEOUT
    says(result.error, HOST, "not resolved within 0.2 s")


async def test_the_configurations_timeout_holds_where_the_webhook_has_none() -> None:
    """A webhook without a timeout of its own gets the configuration's."""
    async with Misbehaving(bad.never_answers) as server:
        result = await attempt(server.url, timeout_s=0.25, webhook_timeout_s=None)
    assert result.outcome is Outcome.TIMEOUT
    assert 245 <= result.duration_ms < 1000


async def test_a_closed_port_is_connection_refused() -> None:
    """Nobody listens."""
    result = await attempt(f"https://{HOST}:{free_port()}/hook")
    assert result.outcome is Outcome.CONNECTION_REFUSED
    says(result.error, HOST, "refuses")


async def test_several_addresses_that_all_refuse_are_connection_refused() -> None:
    """A name with several addresses counts as refused when each of them refuses."""
    lookup = resolves_to("127.0.0.1", "127.0.0.2", "127.0.0.3")
    result = await attempt(f"https://{HOST}:{free_port()}/hook", lookup=lookup)
    assert result.outcome is Outcome.CONNECTION_REFUSED


async def test_the_next_address_serves_where_the_first_refuses() -> None:
    """A name with several addresses is reached as long as one of them answers."""
    async with Receiver(bind="127.0.0.2") as receiver:
        result = await attempt(receiver.url, lookup=resolves_to("127.0.0.1", "127.0.0.2"))
    assert result.outcome is Outcome.SUCCESS


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize(
    "behaviour",
    [bad.resets, bad.closes_at_once, bad.closes_after_reading],
    ids=["resets", "closes at once", "closes after reading"],
)
async def test_a_connection_that_ends_without_a_response_is_a_connection_error(
    behaviour: bad.Behaviour, tls: bool
) -> None:
    """Reset and closed before a response are connection errors, tried once on a new connection."""
    async with Misbehaving(behaviour, tls=tls) as server:
        result = await attempt(server.url)
        assert server.connections == 1
    assert result.outcome is Outcome.CONNECTION_ERROR
    says(result.error, HOST, "before it answered")


async def _reads_then_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    await bad.close(writer)


async def _half_closes_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await bad.until_closed(reader)


async def _half_closes_then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write_eof()
    await bad.until_closed(reader)


async def _says_three_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"\x16\x03\x01")
    await bad.close(writer)


async def _closes_by_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"\x15\x03\x03\x00\x02\x01\x00")  # the alert close_notify
    await bad.close(writer)


async def _resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    bad.reset(writer)


@pytest.mark.parametrize(
    "behaviour",
    [
        _reads_then_closes,
        _half_closes_first,
        _half_closes_then,
        _says_three_bytes,
        _closes_by_tls,
        _resets_at_once,
    ],
)
async def test_closing_in_the_middle_of_the_handshake_is_a_connection_error(
    behaviour: bad.Behaviour,
) -> None:
    """A server that closes or resets before TLS is up is said to have done so just then."""
    async with Misbehaving(behaviour, tls=False) as server:
        result = await attempt(server.url.replace("http:", "https:"))
        assert server.connections == 1
    assert result.outcome is Outcome.CONNECTION_ERROR
    says(result.error, f"{HOST} ", " the connection during the TLS handshake")


async def test_the_next_address_serves_where_the_handshake_with_the_first_breaks() -> None:
    """A broken handshake is no reason to leave a name's other addresses untried."""
    async with Receiver(bind="127.0.0.2") as receiver:
        first = await asyncio.start_server(_reads_then_closes, "127.0.0.1", receiver.port)
        async with first:
            result = await attempt(receiver.url, lookup=resolves_to("127.0.0.1", "127.0.0.2"))
    assert result.outcome is Outcome.SUCCESS


async def test_a_half_close_without_an_answer_is_a_connection_error() -> None:
    """A server that ends its side can't answer any more."""
    async with Misbehaving(bad.half_closes, tls=False) as server:
        result = await attempt(server.url)
    assert result.outcome is Outcome.CONNECTION_ERROR


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d\x00\x04\x00\x10\x00\x00" * 3,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46" * 3,
    ],
    ids=[
        "garbage", "ssh", "status", "length", "two lengths", "no colon", "http2 settings",
        "http2 preface", "http2 in words", "tls alert",
    ],
)  # fmt: skip
async def test_what_is_not_http_is_a_connection_error(answer: bytes) -> None:
    """A malformed response is a connection error."""
    async with Misbehaving(bad.answers(answer, then_close=True)) as server:
        result = await attempt(server.url)
    assert result.outcome is Outcome.CONNECTION_ERROR
    assert result.status is None
    says(result.error, HOST)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (bad.floods(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 1000 + b"\r\n"), "headers"),
        (bad.floods(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65_536), "header line"),
        (bad.floods(b"HTTP/1.1 200 ", b"y" * 65_536), "header line"),
        (bad.floods(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100), "interim"),
        (bad.floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "interim"),
        (bad.floods(b"HTTP/1.1 103 Early\r\n", b"X: " + b"y" * 1000 + b"\r\n"), "headers"),
    ],
    ids=["headers", "header line", "reason", "103", "100", "interim headers"],
)
async def test_a_flood_before_the_final_headers_is_cut_off(
    behaviour: bad.Behaviour, words: str
) -> None:
    """Endless headers, lines and interim responses end in a connection error, long before 5 s."""
    async with Misbehaving(behaviour) as server:
        result = await attempt(server.url)
        await asyncio.wait_for(server.ended.wait(), 2)
    assert result.outcome is Outcome.CONNECTION_ERROR
    assert result.duration_ms < 2500
    says(result.error, HOST, words)


@pytest.mark.parametrize(
    "headers",
    [b"".join(b"X-%d: y\r\n" % i for i in range(10_000)), b"X: " + b"y" * 1_000_000 + b"\r\n"],
    ids=["10,000 headers", "a header line of 1 MB"],
)
async def test_a_bounded_but_huge_head_is_refused(headers: bytes) -> None:
    """10,000 headers, or one of a megabyte, are not taken in."""
    async with Misbehaving(bad.answers(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")) as server:
        result = await attempt(server.url)
    assert result.outcome is Outcome.CONNECTION_ERROR


async def test_a_name_that_does_not_exist_is_a_dns_error() -> None:
    """NXDOMAIN, from the system's own resolution."""
    result = await attempt("https://nobody.invalid/hook", lookup=None)
    assert result.outcome is Outcome.DNS_ERROR
    says(result.error, "nobody.invalid")


async def test_a_lookup_that_fails_is_a_dns_error() -> None:
    """What the resolver says is passed on."""

    async def fails(host: str) -> list[str]:
        raise DnsError(f"{len(host)} servers failed")

    result = await attempt("https://receiver.test/hook", lookup=fails)
    assert result.outcome is Outcome.DNS_ERROR
    says(result.error, HOST, "servers failed")


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (bad.expired_certificate, "expired"),
        (bad.self_signed_certificate, "self-signed"),
        (bad.other_names_certificate, "not valid for"),
        (bad.unknown_authoritys_certificate, "unable to get local issuer"),
    ],
    ids=["expired", "self-signed", "other name", "unknown authority"],
)
async def test_a_certificate_that_does_not_verify_is_a_tls_error(
    context: Callable[[], ssl.SSLContext], words: str
) -> None:
    """Expired, self-signed, another name's, from an unknown authority: never sent to."""
    async with Receiver(ssl_context=context()) as receiver:
        result = await attempt(receiver.url)
        assert receiver.requests == []
    assert result.outcome is Outcome.TLS_ERROR
    says(result.error, HOST, "certificate", words)


async def test_a_huge_chain_of_certificates_is_a_tls_error() -> None:
    """OpenSSL takes in 100 KB of certificates and not more."""
    async with Receiver(ssl_context=bad.huge_chain()) as receiver:
        result = await attempt(receiver.url)
    assert result.outcome is Outcome.TLS_ERROR


@pytest.mark.parametrize(
    "greeting",
    [b"220 smtp.receiver.test\r\n", b"\x16\x03\x01\xff\xff", bytes(range(256))],
    ids=["smtp", "broken record", "garbage"],
)
async def test_what_is_not_tls_is_a_tls_error(greeting: bytes) -> None:
    """A port that answers the handshake with something else."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(greeting * 200)
        await bad.until_closed(reader)

    async with Misbehaving(behave, tls=False) as server:
        result = await attempt(server.url.replace("http:", "https:"))
    assert result.outcome is Outcome.TLS_ERROR
    says(result.error, "TLS")


async def test_plain_http_on_a_tls_port_is_a_tls_error() -> None:
    """An HTTP server answers the handshake with 400, as nginx does."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await bad.close(writer)

    async with Misbehaving(behave, tls=False) as server:
        result = await attempt(server.url.replace("http:", "https:"))
    assert result.outcome is Outcome.TLS_ERROR
    says(result.error, "doesn't speak TLS")


async def test_a_client_certificate_that_is_asked_for_is_a_tls_error() -> None:
    """TLS 1.3 refuses a client without a certificate only after the client's handshake."""
    context = shared_authority().server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    shared_authority().ca.configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def refuse() -> None:
            # asyncio's servers close without the alert; this one sends it.
            connection, _ = server.accept()
            connection.settimeout(2)
            with connection.dup() as kept:
                with contextlib.suppress(OSError), connection:
                    context.wrap_socket(connection, server_side=True)
                while kept.recv(65_536):  # closing on unread data would reset the connection
                    pass

        refusal = asyncio.create_task(asyncio.to_thread(refuse))
        result = await attempt(f"https://{HOST}:{port}/hook")
        await refusal
    assert result.outcome is Outcome.TLS_ERROR
    says(result.error, "client certificate")


async def test_a_fault_of_our_own_is_a_result_too(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong, the dispatcher gets a result; the message, perhaps a secret, is lost."""

    async def broken(host: str) -> list[str]:
        raise RuntimeError(f"https://{host}/hook")

    result = await attempt("https://receiver.test/hook", lookup=broken)
    assert result.outcome is Outcome.CONNECTION_ERROR
    says(result.error, "the relay failed", "RuntimeError")


async def test_cancelling_an_attempt_is_passed_on_and_drops_the_connection() -> None:
    """An attempt that is cancelled ends as cancelled, and the receiver sees the end."""
    async with Misbehaving(bad.never_answers) as server:
        task = asyncio.create_task(attempt(server.url))
        await asyncio.wait_for(server.begun.wait(), 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.ended.wait(), 2)

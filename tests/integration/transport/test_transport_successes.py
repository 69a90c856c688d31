"""What counts as a success, what arrives, what is kept of the answer."""

import asyncio
import base64
import hashlib
import hmac
import zlib

import msgspec
import pytest

from prynt_relay.model.states import Format, Outcome, SignatureScheme
from prynt_relay.model.webhook import BasicAuth
from prynt_relay.transport.describe import describe
from prynt_relay.transport.sender import SUCCESS_BODY_GRACE_S
from prynt_relay.version import __version__
from tests.clock import FakeClock
from tests.integration import misbehaving as bad
from tests.integration.attempts import EVENT, SECRET, attempt, sender, webhook
from tests.integration.misbehaving import Misbehaving
from tests.integration.receivers import HOST, Receiver, Reply


def head(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode() + b"\r\n\r\n"


async def test_the_request_is_section_4_to_the_byte() -> None:
    """Method, target, headers with their spelling, and body, with a signature that verifies."""
    clock = FakeClock(1_771_069_600_999)
    async with Receiver(path="/hook?token=a%2Fb&x=%7E") as receiver, sender(clock=clock) as one:
        result = await one.send(webhook(receiver.url), EVENT, Format.PRYNT)
        [request] = receiver.requests
    assert result.outcome is Outcome.SUCCESS
    assert (request.method, request.version) == ("POST", "HTTP/1.1")
    assert request.target == "/hook?token=a%2Fb&x=%7E"
    body = (
        b'{"webhookId":"wh_3kR8mNqT7xP2v","eventId":"evt_9fJ3kL7mNpR2x",'
        b'"eventType":"verdict.block","apiVersion":"2026-01-15",'
        b'"createdAt":"2026-02-14T11:45:22.341Z","idempotencyKey":"idk_a7f2c9e1b3d4",'
        b'"data":{"verdict":"block","score":1.0}}'
    )
    assert request.body == body
    signature = hmac.new(SECRET.encode(), b"1771069600." + body, hashlib.sha256).hexdigest()
    assert request.headers == (
        ("Host", f"{HOST}:{receiver.port}"),
        ("Content-Type", "application/json"),
        ("User-Agent", f"prynt-relay/{__version__}"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("X-Prynt-Event", "verdict.block"),
        ("X-Prynt-Delivery", "evt_9fJ3kL7mNpR2x"),
        ("X-Prynt-Timestamp", "1771069600"),
        ("X-Prynt-Signature", f"sha256={signature}"),
        ("Content-Length", str(len(body))),
    )
    assert result.started_at_ms == 1_771_069_600_999


async def test_authentication_and_own_headers_are_sent_and_never_replace_ours() -> None:
    """Basic authentication and custom headers go along; names that are ours are left out."""
    auth = BasicAuth("us", "pässword")
    own = (
        ("X-Tenant", "acme\xe9"),
        ("Content-Length", "1"),
        ("x-prynt-signature", "forged"),
        ("HOST", "elsewhere.test"),
        ("Authorization", "Bearer x"),
    )
    async with Receiver() as receiver:
        await attempt(receiver.url, webhook_auth=auth, webhook_headers=own)
        [request] = receiver.requests
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))
    assert request.header("X-Tenant") == "acme\xe9"
    assert request.header("Host") == f"{HOST}:{receiver.port}"
    assert request.header("X-Prynt-Signature") != "forged"
    credentials = base64.b64encode("us:pässword".encode()).decode()
    assert request.header("Authorization") == f"Basic {credentials}"


async def test_an_own_authorization_header_stands_where_there_is_no_basic_auth() -> None:
    """A bearer token is a custom header like any other."""
    async with Receiver() as receiver:
        await attempt(receiver.url, webhook_headers=(("Authorization", "Bearer x"),))
        [request] = receiver.requests
    assert request.header("Authorization") == "Bearer x"


async def test_every_request_tells_its_time_whatever_signs_it() -> None:
    """X-Prynt-Timestamp goes along with other signatures too, once."""
    schemes = (SignatureScheme.FINGERPRINT, SignatureScheme.STANDARD)
    async with Receiver() as receiver:
        await attempt(receiver.url, webhook_signatures=schemes)
        await attempt(receiver.url, webhook_signatures=(*schemes, SignatureScheme.PRYNT))
        for request in receiver.requests:
            names = [name for name, _ in request.headers]
            assert names.count("X-Prynt-Timestamp") == 1
            assert names.count("FPJS-Event-Signature") == names.count("webhook-id") == 1
            assert request.header("X-Prynt-Delivery") == EVENT.event_id


async def test_the_log_shows_the_request_as_it_was_sent_with_secrets_masked() -> None:
    """`describe` gives the headers of the wire again, but for the values that are secret."""
    settings = {
        "auth": BasicAuth("us", "password"),
        "headers": (("X-Tenant", "acme"),),
        "signatures": (SignatureScheme.STANDARD, SignatureScheme.PRYNT),
    }
    async with Receiver() as receiver, sender() as one:
        hook = webhook(receiver.url, **settings)
        result = await one.send(hook, EVENT, Format.PRYNT)
        template = one.template(hook)
        [request] = receiver.requests
    for secret in ("password", "acme", SECRET, base64.b64encode(b"us:password").decode()):
        assert secret not in template
    picture = describe(template, EVENT, result.started_at_ms, result.signature, request.body)
    masked = {"Authorization": "***", "X-Tenant": "***"}
    assert list(picture.headers.items()) == [
        (name, masked.get(name, value)) for name, value in request.headers
    ]
    assert picture.url == receiver.url
    assert picture.body == request.body


@pytest.mark.parametrize(
    "answer",
    [
        head("HTTP/1.1 204 No Content"),
        head("HTTP/1.1 200 OK\nContent-Length: 0"),
        head("HTTP/1.1 200\nContent-Length: 0"),
        head("HTTP/1.0 200 OK") + b"hello",
        head("HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 5") + b"hello",
        head("HTTP/1.1 200 OK\nConnection: close") + b"hello",
        head("HTTP/1.1 202 Accepted\nTransfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        head("HTTP/1.1 103 Early Hints\nLink: </x>") + head("HTTP/1.1 200 OK\nContent-Length: 0"),
        head("HTTP/1.1 100 Continue") + head("HTTP/1.1 299 Mine\nContent-Length: 0"),
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
    ids=[
        "204", "empty", "no reason", "1.0", "1.0 kept alive", "close", "chunked", "103", "100",
        "bare line feeds",
    ],
)  # fmt: skip
async def test_each_form_of_a_2xx_is_a_success(answer: bytes) -> None:
    """Any status from 200 to 299 in any valid framing is a success."""
    async with Misbehaving(bad.answers(answer, then_close=b"hello" in answer)) as server:
        result = await attempt(server.url)
    assert result.outcome is Outcome.SUCCESS
    assert result.status is not None
    assert 200 <= result.status < 300
    assert result.error is None
    assert result.response_body == (b"hello" if b"hello" in answer else b"")
    assert not result.truncated


@pytest.mark.parametrize("pieces", [1, 2], ids=["together", "apart"])
@pytest.mark.parametrize(
    "answer",
    [
        (head("HTTP/1.1 200 OK\nContent-Length: 2"), b"longer than announced"),
        (head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked"), b"not a chunk\r\n"),
        (head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked"), b"ffffffffffffffffff\r\nx"),
        (head("HTTP/1.1 200 OK\nContent-Length: 100"), b"shorter"),
        (head("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 9"), b"not gzip!"),
    ],
    ids=["too long", "no chunk", "absurd chunk", "too short", "not gzip"],
)
async def test_a_broken_body_does_not_undo_a_2xx(answer: tuple[bytes, bytes], pieces: int) -> None:
    """The headers decide, also where a body that breaks its framing comes in the same packet."""
    parts = answer if pieces == 2 else (b"".join(answer),)
    async with Misbehaving(bad.answers(*parts, then_close=True)) as server:
        result = await attempt(server.url)
    assert (result.outcome, result.status) == (Outcome.SUCCESS, 200)


@pytest.mark.parametrize(
    "behaviour",
    [
        bad.floods(head("HTTP/1.1 200 OK"), b"x" * 65_536),
        bad.floods(head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked"), b"1\r\nx\r\n" * 10_000),
        bad.floods(head("HTTP/1.1 200 OK\nContent-Length: 99999999999"), b"x" * 65_536),
        bad.drips(head("HTTP/1.1 200 OK\nContent-Length: 1000") + b"x" * 1000, every_s=0.001),
    ],
    ids=["endless", "endless chunks", "absurd length", "dripping"],
)
async def test_a_2xx_whose_body_does_not_end_is_a_success_soon(behaviour: bad.Behaviour) -> None:
    """An endless or dripping body is given up after a short grace, within bounds."""

    async def quick_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await behaviour(reader, writer)

    async with Misbehaving(quick_head) as server:
        result = await attempt(server.url)
        await asyncio.wait_for(server.ended.wait(), 2)
    assert result.outcome is Outcome.SUCCESS
    assert result.truncated
    assert result.cut_off
    assert result.response_body is not None
    assert set(result.response_body) == {ord("x")}
    assert len(result.response_body) <= 1024
    assert result.slot_s < result.duration_ms / 1000 + SUCCESS_BODY_GRACE_S + 0.4


@pytest.mark.parametrize("length", [4, 2000])
async def test_a_body_one_long_round_trip_behind_its_headers_is_kept(length: int) -> None:
    """What a receiver on the other side of the world says is in the log, and isn't cut off.

    Also where it is longer than what is kept of it: it came to its end, so it is no drip.
    """

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        writer.write(head(f"HTTP/1.1 202 Accepted\nContent-Length: {length}"))
        await asyncio.sleep(0.15)  # the misbehaviour itself: slowness
        writer.write(b"x" * length)
        await bad.until_closed(reader)

    async with Misbehaving(behave) as server:
        result = await attempt(server.url)
    assert result.outcome is Outcome.SUCCESS
    assert result.response_body == b"x" * min(length, 1024)
    assert (result.truncated, result.cut_off) == (length > 1024, False)
    assert result.slot_s >= result.duration_ms / 1000 + 0.1


async def test_a_slow_error_body_is_waited_for_but_never_past_the_deadline() -> None:
    """What an error says is worth a wait, within the attempt's own time."""
    answer = head("HTTP/1.1 500 Oops\nContent-Length: 1000")

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bad.read_request(reader)
        writer.write(answer + b"first")
        await bad.until_closed(reader)

    async with Misbehaving(behave) as server:
        result = await attempt(server.url, webhook_timeout_s=0.4)
    assert result.outcome is Outcome.HTTP_ERROR
    assert result.response_body == b"first"
    assert result.truncated
    assert 0.35 < result.slot_s < 1.0
    assert result.duration_ms < 300


@pytest.mark.parametrize(
    ("status", "length", "kept"),
    [
        (200, 1024, 1024), (200, 1025, 1024), (201, 200_000, 1024),
        (500, 16_384, 16_384), (500, 16_385, 16_384), (404, 300_000, 16_384),
    ],
)  # fmt: skip
async def test_bodies_are_kept_up_to_their_bound(status: int, length: int, kept: int) -> None:
    """1 KiB of a 2xx, 16 KiB of anything else; `truncated` tells."""
    body = bytes(i % 251 for i in range(length))
    async with Receiver(respond=Reply(status, body)) as receiver:
        result = await attempt(receiver.url)
    assert result.status == status
    assert result.response_body == body[:kept]
    assert result.truncated is (length > kept)


async def test_a_compressed_bomb_is_kept_as_it_came() -> None:
    """Nothing is decompressed: 10 MB of zeros stay the 10 KB that came."""
    bomb = zlib.compress(b"\0" * 10_000_000)
    reply = Reply(500, bomb, (("Content-Encoding", "deflate"),))
    async with Receiver(respond=reply) as receiver:
        result = await attempt(receiver.url)
    assert result.response_body == bomb[:16_384]


async def test_response_headers_are_kept_up_to_their_bound() -> None:
    """Headers are kept as lines; whole lines beyond 16 KiB are left out."""
    headers = tuple((f"X-{i}", "y" * 1000) for i in range(20))
    async with Receiver(respond=Reply(200, b"", headers)) as receiver:
        result = await attempt(receiver.url)
        receiver.respond = Reply(200, b"", (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")))
        cookies = await attempt(receiver.url)
    assert result.response_headers is not None
    lines = result.response_headers.split(b"\r\n")
    assert len(lines) == 16
    assert lines[3] == b"X-3: " + b"y" * 1000
    assert result.truncated
    assert cookies.response_headers == b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0"


async def test_no_cookie_is_ever_sent_back() -> None:
    """What a receiver sets is not kept."""
    reply = Reply(200, b"", (("Set-Cookie", "session=1; Path=/"),))
    async with Receiver(respond=reply) as receiver, sender() as one:
        for _ in range(2):
            await one.send(webhook(receiver.url), EVENT, Format.PRYNT)
    assert [request.header("Cookie") for request in receiver.requests] == [None, None]


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries go straight to the receiver."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with Receiver() as receiver:
        assert (await attempt(receiver.url)).outcome is Outcome.SUCCESS


async def test_a_large_body_arrives_whole() -> None:
    """256 KB and more than the socket's buffers go out in one piece."""
    data = b'{"x":"' + b"y" * 3_000_000 + b'"}'
    async with Receiver() as receiver, sender() as one:
        event = msgspec.structs.replace(EVENT, data=data)
        result = await one.send(webhook(receiver.url), event, Format.PRYNT)
        [request] = receiver.requests
    assert result.outcome is Outcome.SUCCESS
    assert request.body.endswith(data + b"}")


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
async def test_an_answer_before_the_request_was_read_still_gets_the_request(tls: bool) -> None:
    """A receiver that says 200 first and reads then gets the whole body."""
    data = b'{"x":"' + b"y" * 8_000_000 + b'"}'
    got = bytearray()
    complete = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bad.OK)
        await writer.drain()
        while not got.endswith(b"}}") and (chunk := await reader.read(65_536)):
            got.extend(chunk)
        complete.set()

    async with Misbehaving(behave, tls=tls) as server, sender() as one:
        event = msgspec.structs.replace(EVENT, data=data)
        result = await one.send(webhook(server.url), event, Format.PRYNT)
        await asyncio.wait_for(complete.wait(), 5)
    assert result.outcome is Outcome.SUCCESS
    assert got.endswith(data + b"}")


async def test_an_answer_without_reading_ends_with_the_deadline() -> None:
    """A receiver that answers 200 and never reads the rest costs no more than the timeout."""
    data = b'{"x":"' + b"y" * 8_000_000 + b'"}'
    async with Misbehaving(bad.answers_before_reading, tls=False) as server, sender() as one:
        event = msgspec.structs.replace(EVENT, data=data)
        result = await one.send(webhook(server.url, timeout_s=0.5), event, Format.PRYNT)
    assert result.outcome is Outcome.SUCCESS
    assert result.slot_s < 1.5


async def test_a_half_close_after_the_answer_is_a_success() -> None:
    """A server may end its side once it has answered."""
    async with Misbehaving(bad.answers_then_half_closes, tls=False) as server:
        result = await attempt(server.url)
        await asyncio.wait_for(server.ended.wait(), 3)
    assert result.outcome is Outcome.SUCCESS


async def test_an_international_name_goes_out_in_ascii() -> None:
    """Names are sent as DNS knows them."""
    async with Receiver(tls=False) as receiver:
        result = await attempt(receiver.url_for("/hook/ü", host="bücher.test"))
        [request] = receiver.requests
    assert result.outcome is Outcome.SUCCESS
    assert request.header("Host") == f"xn--bcher-kva.test:{receiver.port}"
    assert request.target == "/hook/%C3%BC"

"""Forms of the dashboard: how large one may be, how long it may take, how it may be written."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from prynt_relay.api import bodies, server
from prynt_relay.dashboard.forms import MAX_FIELDS, MAX_FORM
from prynt_relay.dashboard.guard import COOKIE
from tests.integration.dashboard_client import Browser, browsing
from tests.integration.receivers import Receiver
from tests.integration.relays import subscribe

FORM = "application/x-www-form-urlencoded"
PATHS = ("/sign-in", "/webhooks/new", "/check/filter", "/webhooks/{}/rotate", "/webhooks/{}/retry")


@contextlib.asynccontextmanager
async def _browsing(folder: Path) -> AsyncIterator[tuple[Browser, list[str]]]:
    """A signed-in browser, and the paths of forms with one webhook in them."""
    async with Receiver() as receiver, browsing(folder) as browser:
        webhook, _ = await subscribe(browser.relay, receiver)
        yield browser, [each.format(webhook.id) for each in PATHS]


async def _begin(
    browser: Browser, path: str, length: str, kind: str = FORM
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the head of a form, with the session's cookie and token."""
    cookies = {each.key: each.value for each in browser.session.cookie_jar}
    reader, writer = await asyncio.open_connection(*browser.relay.api.address)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{length}\r\n"
        f"Cookie: {COOKIE}={cookies[COOKIE]}\r\nX-CSRF-Token: {browser.csrf}\r\n\r\n"
    )
    writer.write(head.encode())
    return reader, writer


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.transport.abort()
    return int(line.split()[1])


async def test_a_form_without_a_length_is_bounded_as_well(tmp_path: Path) -> None:
    """A chunked form that never ends is 413 as soon as it is too large, signed in or not."""
    async with _browsing(tmp_path) as (browser, paths):
        for path in paths:
            reader, writer = await _begin(browser, path, "Transfer-Encoding: chunked")
            body = b"next=" + b"%41" * (MAX_FORM // 3)
            writer.write(b"%x\r\n%b\r\n" % (len(body), body))
            assert await _status(reader, writer) == 413, path


async def test_a_form_that_says_it_is_too_large_is_not_waited_for(tmp_path: Path) -> None:
    """A declared length above the bound is 413 before anything came."""
    async with _browsing(tmp_path) as (browser, paths):
        for path in paths:
            connection = await _begin(browser, path, f"Content-Length: {MAX_FORM + 1}")
            assert await _status(*connection) == 413, path


async def test_a_form_as_large_as_may_be_is_read(tmp_path: Path) -> None:
    """The bound itself is within it, in one piece or in chunks."""
    async with _browsing(tmp_path) as (browser, _):
        text = b"url=https://other.test/&more="
        body = text + b"x" * (MAX_FORM - len(text))
        reader, writer = await _begin(browser, "/check/url", f"Content-Length: {MAX_FORM}")
        writer.write(body)
        assert await _status(reader, writer) == 200
        reader, writer = await _begin(browser, "/check/url", "Transfer-Encoding: chunked")
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert await _status(reader, writer) == 200


async def test_a_form_that_does_not_come_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form that stands still is 408 after the time that the API's bodies have."""
    async with _browsing(tmp_path) as (browser, paths):
        monkeypatch.setattr(bodies, "BODY_S", 0.05)
        monkeypatch.setattr(server, "LINGER_S", 0.1)
        for path in paths:
            reader, writer = await _begin(browser, path, "Content-Length: 1000")
            writer.write(b"next=")
            assert await _status(reader, writer) == 408, path


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (f"{FORM}; charset=nonsense", b"a=b", 415),
        (f"{FORM}; charset=punycode", b"a=b", 415),
        (f"{FORM}; charset*=utf-8''nonsense", b"a=b", 415),
        (f"{FORM}\r\nContent-Encoding: gzip", b"a=b", 415),
        (FORM, b"a=\xff", 400),
        (FORM, b"&".join([b"a=b"] * (MAX_FIELDS + 1)), 413),
    ],
    ids=["unknown", "not-a-form's", "extended", "packed", "not-utf-8", "too-many-fields"],
)
async def test_a_form_that_cannot_be_read_is_refused(
    tmp_path: Path, kind: str, body: bytes, status: int
) -> None:
    """What no browser would send is refused as the sender's mistake, not logged as one of ours."""
    async with _browsing(tmp_path) as (browser, paths):
        with structlog.testing.capture_logs() as lines:
            for path in paths:
                connection = await _begin(browser, path, f"Content-Length: {len(body)}", kind)
                connection[1].write(body)
                assert await _status(*connection) == status, path
        assert [each for each in lines if each["log_level"] == "error"] == []


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "us-ascii"])
async def test_a_form_may_say_that_it_is_utf_8(tmp_path: Path, charset: str) -> None:
    """The charset that forms have may be named."""
    async with browsing(tmp_path) as browser:
        body = b"url=https://other.test/"
        reader, writer = await _begin(
            browser, "/check/url", f"Content-Length: {len(body)}", f"{FORM}; charset={charset}"
        )
        writer.write(body)
        assert await _status(reader, writer) == 200

"""/etc/hosts is read line by line, as getaddrinfo does."""

import asyncio
from pathlib import Path

import pytest

from prynt_relay.transport import hosts
from prynt_relay.transport.hosts import HostsFile, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", {}),
        (b"10.0.0.1 a.test", {b"a.test": ("10.0.0.1",)}),
        (b"10.0.0.1\ta.test\t b\r\n", {b"a.test": ("10.0.0.1",), b"b": ("10.0.0.1",)}),
        (b" \t10.0.0.1 a.test\n", {b"a.test": ("10.0.0.1",)}),
        (b"10.0.0.1 a.test#b.test\n# 10.0.0.2 c.test\n", {b"a.test": ("10.0.0.1",)}),
        (b"10.0.0.1 A.Test\n2001:DB8::A a.tesT\n", {b"a.test": ("10.0.0.1", "2001:db8::a")}),
        (b"10.0.0.1 a a\n10.0.0.1 a\n", {b"a": ("10.0.0.1",)}),
        (b"::FFFF:10.0.0.1 a\n", {b"a": ("::ffff:10.0.0.1",)}),
        (b"10.0.0.1\n#\n\n::1 #a\n", {}),
        (b"127.1 a\n010.0.0.1 a\n10.0.0.256 a\nfe80::1%lo a\n[::1] a\na b\n", {}),
        (b"\xff\xfe a\n10.0.0.1\0 a\n10.0.0.2 \xff\n", {b"\xff": ("10.0.0.2",)}),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_every_line_that_names_a_host_gives_it_an_address(
    text: bytes, found: dict[bytes, tuple[str, ...]]
) -> None:
    """Blanks, comments, several names, any case, both families; a malformed line says nothing."""
    assert parse(text) == found


async def test_a_huge_file_is_read_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins before the bound and ends beyond it counts as beyond."""
    file = tmp_path / "hosts"
    first = b"10.0.0.1 first.test\n"
    file.write_bytes(first + b"10.0.0.2 second.test\n")
    for bound, second in ((len(first) + 5, ()), (1000, ("10.0.0.2",))):
        monkeypatch.setattr(hosts, "HOSTS_MAX", bound)
        read = HostsFile(file)
        assert await read.addresses("first.test") == ("10.0.0.1",)
        assert await read.addresses("second.test") == second


async def test_a_file_that_can_not_be_read_names_nobody(tmp_path: Path) -> None:
    """Missing, or a folder: the name servers are asked, as the system would."""
    for path in (tmp_path / "none", tmp_path):
        assert await HostsFile(path).addresses("a.test") == ()


async def test_a_file_that_stays_the_same_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up costs one look at the file's date, not the file."""
    file = tmp_path / "hosts"
    file.write_text("10.0.0.1 a.test\n")
    times: list[bytes] = []

    def counted(text: bytes) -> dict[bytes, tuple[str, ...]]:
        times.append(text)
        return parse(text)

    monkeypatch.setattr(hosts, "parse", counted)
    read = HostsFile(file)
    for _ in range(3):
        assert await read.addresses("A.test") == ("10.0.0.1",)
    assert len(times) == 1


async def test_many_names_at_once_read_a_changed_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file takes a second to read: that is for all who ask meanwhile."""
    file = tmp_path / "hosts"
    file.write_bytes(b"10.0.0.1 a.test\n10.0.0.2 b.test\n")
    reads: list[Path] = []
    read = hosts._read

    def noted(path: Path) -> object:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(hosts, "_read", noted)
    known = HostsFile(file)
    found = await asyncio.gather(*map(known.addresses, ("a.test", "b.test", "c.test")))
    assert found == [("10.0.0.1",), ("10.0.0.2",), ()]
    assert len(reads) == 1

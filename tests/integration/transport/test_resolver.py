"""Name resolution: guarded, shared, cached, bounded, and never stalled by a dead name."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from prynt_relay.transport import resolver as module
from prynt_relay.transport.addresses import AddressPolicy
from prynt_relay.transport.hosts import HostsFile
from prynt_relay.transport.resolver import (
    CACHE_S,
    BlockedAddressError,
    DnsError,
    DnsLookup,
    Resolver,
)
from tests.clock import FakeClock
from tests.integration.attempts import attempt, resolves_to
from tests.integration.receivers import Receiver
from tests.integration.transport.name_server import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    SILENT,
    NameServer,
)
from tests.programs import program, unavailable

PUBLIC = "8.8.8.8"


class Answers:
    """A lookup in the test's hands."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.addresses: list[str] = [PUBLIC]

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await self.gate.wait()
        return list(self.addresses)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    zone: dict[str, list[str] | int | str] = {
        "good.test": [PUBLIC, "2606:4700::1111"],
        "v4.test": [PUBLIC],
        "empty.test": [],
        "fails.test": SERVFAIL,
        "refused.test": REFUSED,
        "none.test": NXDOMAIN,
        "mixed.test": [PUBLIC, "10.0.0.1"],
        "mapped.test": [PUBLIC, "::ffff:127.0.0.1"],
        "nat64.test": ["64:ff9b::7f00:1"],
        **{f"dead{i}.test": SILENT for i in range(100)},
    }
    async with NameServer(zone) as running:
        yield running


async def test_all_addresses_of_both_families_are_found(server: NameServer) -> None:
    """A real name server's A and AAAA records, whatever this machine can reach."""
    lookup = DnsLookup([server.address])
    assert sorted(await lookup("good.test")) == ["2606:4700::1111", PUBLIC]
    assert await lookup("V4.Test") == [PUBLIC]
    await lookup.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.test", "no such name"),
        ("empty.test", "no address"),
        ("fails.test", "SERVFAIL"),
        ("refused.test", "refused"),
        (f"{'x' * 64}.test", "not a valid name"),
    ],
)
async def test_each_failure_says_what_it_was(server: NameServer, name: str, words: str) -> None:
    """What the name server answers is told apart."""
    lookup = DnsLookup([server.address])
    with pytest.raises(DnsError, match=words):
        await lookup(name)
    await lookup.close()


async def test_no_name_server_at_all_is_a_dns_error() -> None:
    """A name server's port on which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lookup = DnsLookup([f"127.0.0.1:{port}"])
    with pytest.raises(DnsError, match="name server"):
        await lookup("good.test")
    await lookup.close()


async def test_dead_names_do_not_hold_up_others(server: NameServer) -> None:
    """While a hundred names get no answer, another is resolved at once."""
    lookup = DnsLookup([server.address])
    guarded = Resolver(AddressPolicy(), lookup)
    dead = [asyncio.create_task(guarded.resolve(f"dead{i}.test")) for i in range(100)]
    async with asyncio.timeout(2):
        while len(server.queries) < 100:  # noqa: ASYNC110 - until all of them were asked for
            await asyncio.sleep(0.005)
    async with asyncio.timeout(1):
        found = await guarded.resolve("v4.test", 443)
    assert [result["host"] for result in found] == [PUBLIC]
    assert not any(task.done() for task in dead)
    await guarded.close()
    await asyncio.gather(*dead, return_exceptions=True)
    await lookup.close()


async def test_a_lookup_without_an_answer_ends_in_a_dns_error(server: NameServer) -> None:
    """A silent name server costs a bounded time."""
    lookup = DnsLookup([server.address])
    guarded = Resolver(AddressPolicy(), lookup, timeout_s=0.2)
    with pytest.raises(DnsError, match="no name server answered in time"):
        await guarded.resolve("dead1.test")
    await lookup.close()


@pytest.mark.parametrize("name", ["mixed.test", "mapped.test", "nat64.test"])
async def test_a_name_with_any_address_that_is_not_public_is_refused(
    server: NameServer, name: str
) -> None:
    """One bad address spoils the name, wherever it stands in the answer."""
    lookup = DnsLookup([server.address])
    guarded = Resolver(AddressPolicy(), lookup)
    with pytest.raises(BlockedAddressError, match=name):
        await guarded.resolve(name)
    await guarded.close()
    await lookup.close()


async def test_a_name_that_turns_private_is_refused_from_then_on(server: NameServer) -> None:
    """Rebinding: each answer is checked, and what was checked is what is connected to."""
    clock = FakeClock()
    lookup = DnsLookup([server.address])
    guarded = Resolver(AddressPolicy(), lookup, monotonic=clock.monotonic)
    assert await guarded.resolve("v4.test")
    server.zone["v4.test"] = ["127.0.0.1"]
    await clock.advance(3600)
    async with asyncio.timeout(5):
        while True:  # c-ares may keep the first answer for its TTL of a second
            await clock.advance(CACHE_S + 1)
            try:
                await guarded.resolve("v4.test")
            except BlockedAddressError:
                break
            await asyncio.sleep(0.05)
    await lookup.close()


async def test_the_hosts_file_counts_as_it_does_for_getaddrinfo() -> None:
    """Each name of /etc/hosts has the addresses that getaddrinfo gives it."""
    lookup = DnsLookup()
    names: set[str] = set()
    for line in Path("/etc/hosts").read_text(encoding="utf-8").splitlines():
        names.update(line.partition("#")[0].split()[1:])
    checked = 0
    for name in sorted(names)[:5]:
        try:
            infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except socket.gaierror:
            continue
        expected = {info[4][0] for info in infos}
        assert set(await lookup(name)) == expected
        checked += 1
    assert "127.0.0.1" in await lookup("localhost")
    assert checked or not names
    await lookup.close()


async def test_a_name_in_the_hosts_file_has_its_own_addresses_alone(
    server: NameServer, tmp_path: Path
) -> None:
    """Entries that share an address stay apart, and what isn't there is asked of the servers."""
    file = tmp_path / "hosts"
    file.write_text(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.0.1 recv.example.test\n"
        "10.0.0.9 other.example.test\n10.0.0.9 recv2.example.test\n127.0.0.1 recv2.example.test\n"
    )
    lookup = DnsLookup([server.address], hosts=HostsFile(file))
    assert await lookup("recv.example.test") == ("127.0.0.1",)
    assert await lookup("RECV.example.TEST") == ("127.0.0.1",)
    assert await lookup("other.example.test") == ("10.0.0.9",)
    assert await lookup("recv2.example.test") == ("10.0.0.9", "127.0.0.1")
    assert await lookup("localhost") == ("127.0.0.1", "::1")
    assert await lookup("v4.test") == [PUBLIC]
    await lookup.close()


async def test_a_hosts_file_that_changes_counts_from_the_next_lookup_on(
    server: NameServer, tmp_path: Path
) -> None:
    """Written anew, replaced, removed: each is seen, as by getaddrinfo."""
    file, other = tmp_path / "hosts", tmp_path / "other"
    lookup = DnsLookup([server.address], hosts=HostsFile(file))
    assert await lookup("v4.test") == [PUBLIC]
    file.write_text("10.0.0.1 v4.test\n")
    assert await lookup("v4.test") == ("10.0.0.1",)
    other.write_text("10.0.0.2 v4.test\n")
    other.replace(file)
    assert await lookup("v4.test") == ("10.0.0.2",)
    file.unlink()
    assert await lookup("v4.test") == [PUBLIC]
    await lookup.close()


async def test_an_address_of_the_hosts_file_is_guarded_like_any_other(
    server: NameServer, tmp_path: Path
) -> None:
    """One line with an address that isn't allowed blocks the name."""
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 recv.example.test\n10.0.0.1 recv.example.test\n")
    lookup = DnsLookup([server.address], hosts=HostsFile(file))
    resolver = Resolver(AddressPolicy(["127.0.0.0/8"]), lookup)
    with pytest.raises(BlockedAddressError, match=r"10\.0\.0\.1"):
        await resolver.resolve("recv.example.test")
    await resolver.close()
    await lookup.close()


_ASK_BOTH = """
import asyncio, socket, sys
from prynt_relay.transport.resolver import DnsLookup

async def main():
    lookup = DnsLookup()
    for name in sys.argv[1:]:
        ours = await lookup(name)
        theirs = {info[4][0] for info in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)}
        assert set(ours) == theirs, (name, ours, theirs)
    await lookup.close()

asyncio.run(main())
"""

_HOSTS = """\
127.0.0.1\tlocalhost
::1 localhost ip6-localhost # 10.0.0.3 recv.example.test
127.0.0.1 recv.example.test   Upper.Example.Test
10.0.0.9 third.example.test
  192.0.2.7\tthird.example.test#x
2001:DB8::1 third.example.test
127.1 third.example.test
010.0.0.1 third.example.test
10.0.0.1x third.example.test
fe80::1%lo third.example.test
::ffff:10.1.2.3 mapped.example.test
"""


async def test_the_system_reads_the_same_out_of_its_hosts_file(tmp_path: Path) -> None:
    """With a hosts file of our own in place of the system's, getaddrinfo and we agree."""
    if os.geteuid() != 0:
        unavailable("only root can mount a hosts file for one program")
    unshare = program("unshare", "util-linux")
    (tmp_path / "hosts").write_text(_HOSTS)
    names = "recv", "upper", "third", "mapped"
    process = await asyncio.create_subprocess_exec(
        unshare, "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"',
        str(tmp_path / "hosts"), sys.executable, "-c", _ASK_BOTH,
        "localhost", *(f"{name}.example.test" for name in names),
        stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()


async def test_names_below_localhost_are_the_loopback() -> None:
    """RFC 6761; a black-box test can use receiver.localhost without touching /etc/hosts."""
    async with Receiver(host="receiver.localhost") as receiver:
        result = await attempt(receiver.url, lookup=None, allow=("127.0.0.0/8", "::1/128"))
    assert result.status == 200


async def test_one_lookup_serves_all_who_wait_for_it() -> None:
    """Attempts at once to one name share a lookup, however the name is spelled."""
    answers = Answers()
    guarded = Resolver(AddressPolicy(), answers)
    names = ["a.test", "A.test", "a.test.", "a.TEST"]
    waiting = [asyncio.create_task(guarded.resolve(name, 443)) for name in names]
    await asyncio.sleep(0)
    assert guarded.is_pending("a.test")
    answers.gate.set()
    results = await asyncio.gather(*waiting)
    assert answers.asked == ["a.test"]
    assert [result[0]["host"] for result in results] == [PUBLIC] * 4
    assert [result[0]["hostname"] for result in results] == names
    assert not guarded.is_pending("a.test")


async def test_an_answer_serves_for_a_short_while() -> None:
    """Within CACHE_S nothing is asked again; after it, everything."""
    clock = FakeClock()
    answers = Answers()
    answers.gate.set()
    guarded = Resolver(AddressPolicy(), answers, monotonic=clock.monotonic)
    await guarded.resolve("a.test", 443)
    await clock.advance(CACHE_S - 0.1)
    [result] = await guarded.resolve("a.test", 8443)
    assert result["port"] == 8443
    assert len(answers.asked) == 1
    await clock.advance(0.2)
    answers.addresses = ["10.0.0.1"]
    with pytest.raises(BlockedAddressError):
        await guarded.resolve("a.test", 443)
    assert len(answers.asked) == 2


async def test_failures_are_not_cached() -> None:
    """A name that has just been set up is found at the next attempt."""
    asked = 0

    async def lookup(host: str) -> Sequence[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise DnsError("no such name")
        return [PUBLIC] if asked == 3 else []

    guarded = Resolver(AddressPolicy(), lookup)
    with pytest.raises(DnsError, match="no such name"):
        await guarded.resolve("a.test")
    with pytest.raises(DnsError, match="no address"):
        await guarded.resolve("a.test")
    assert await guarded.resolve("a.test")


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bound the oldest name is forgotten."""
    monkeypatch.setattr(module, "CACHE_SIZE", 3)
    answers = Answers()
    answers.gate.set()
    guarded = Resolver(AddressPolicy(), answers)
    for name in ("a.test", "b.test", "c.test", "d.test", "d.test", "b.test", "a.test"):
        await guarded.resolve(name)
    assert answers.asked == ["a.test", "b.test", "c.test", "d.test", "a.test"]


async def test_a_lookup_outlives_those_who_stopped_waiting() -> None:
    """A slow answer still serves the next attempt."""
    answers = Answers()
    guarded = Resolver(AddressPolicy(), answers)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await guarded.resolve("slow.test")
    answers.gate.set()
    assert await guarded.resolve("slow.test")
    assert answers.asked == ["slow.test"]


async def test_lookups_that_nobody_waits_for_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest is given up; one that is waited for never is."""
    monkeypatch.setattr(module, "ORPHANS_MAX", 5)
    answers = Answers()
    guarded = Resolver(AddressPolicy(), answers)
    kept = asyncio.create_task(guarded.resolve("kept.test"))
    for i in range(20):
        task = asyncio.create_task(guarded.resolve(f"host{i}.test"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0)
    assert [guarded.is_pending(f"host{i}.test") for i in range(20)] == [False] * 15 + [True] * 5
    answers.gate.set()
    assert await kept
    await guarded.close()


async def test_a_blocked_name_is_found_blocked_again_from_the_cache() -> None:
    """The guard is asked each time, whatever the cache holds."""
    guarded = Resolver(AddressPolicy(["10.0.0.0/8"]), resolves_to("10.0.0.1", "192.168.0.1"))
    for _ in range(2):
        with pytest.raises(BlockedAddressError, match=r"192\.168\.0\.1"):
            await guarded.resolve("a.test")

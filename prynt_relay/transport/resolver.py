"""Names to addresses, for the connector: guarded, shared, bounded.

Lookups through getaddrinfo would share a few threads and can't be cancelled, so that a few names
whose servers never answer would hold up all others. c-ares asks for all names at once, and goes by
/etc/nsswitch.conf and /etc/resolv.conf. Names in /etc/hosts don't get that far: we look there
first, as nsswitch's usual "files dns" would, and `hosts` says why not by c-ares. Search domains
aren't tried: an endpoint's name is complete.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import aiodns
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult

from prynt_relay.transport.addresses import AddressPolicy
from prynt_relay.transport.hosts import HostsFile

LOOKUP_TIMEOUT_S: Final = 8.0
"""How long a lookup may take: less than the default delivery timeout, to name the true cause."""

CACHE_S: Final = 5.0
"""How long an answer serves later connections; c-ares keeps answers too, as long as they allow."""

CACHE_SIZE: Final = 4096
"""Names in the cache; beyond it the oldest answer goes and is asked for again when needed."""

ORPHANS_MAX: Final = 1024
"""Lookups that nobody waits for any more; beyond it the oldest is given up.

They go on because a slow answer still serves the next attempt.
"""

_FIRST_TIMEOUT_S: Final = 1.0
_TRIES: Final = 4  # c-ares doubles the timeout each time, starting lower where servers are fast


class DnsError(OSError):
    """A name could not be resolved; the message is for people."""


class BlockedAddressError(OSError):
    """An address that may not be connected to; the message is for people."""


class Lookup(Protocol):
    """A way to look up names."""

    def __call__(self, host: str, /) -> Awaitable[Sequence[str]]:
        """Return all addresses of `host`; raise `DnsError` where there are none."""
        ...


_REASONS: Final = {
    aiodns.error.ARES_ENOTFOUND: "no such name",
    aiodns.error.ARES_ENODATA: "the name has no address",
    aiodns.error.ARES_ESERVFAIL: "the name server failed (SERVFAIL)",
    aiodns.error.ARES_EREFUSED: "the name server refused to answer",
    aiodns.error.ARES_ETIMEOUT: "no name server answered in time",
    aiodns.error.ARES_ECONNREFUSED: "no name server could be reached",
    aiodns.error.ARES_EBADNAME: "not a valid name",
}


class DnsLookup:
    """The system's own way: /etc/hosts, then its name servers (or `nameservers`, `ip:port`)."""

    def __init__(
        self, nameservers: Sequence[str] | None = None, *, hosts: HostsFile | None = None
    ) -> None:
        """`hosts` replaces /etc/hosts, for tests."""
        self._hosts = hosts or HostsFile()
        self._resolver = aiodns.DNSResolver(
            nameservers,
            timeout=_FIRST_TIMEOUT_S,
            tries=_TRIES,
            flags=pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS,
        )

    async def __call__(self, host: str) -> Sequence[str]:
        """Return all addresses of `host`, IPv6 and IPv4; raise `DnsError` where there are none."""
        if known := await self._hosts.addresses(host):
            return known
        try:
            answer = await self._resolver.getaddrinfo(host, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            code, text = error.args
            raise DnsError(_REASONS.get(code, str(text).lower())) from error
        return [node.addr[0].decode() for node in answer.nodes]

    async def close(self) -> None:
        """Give up what is still being looked up."""
        await self._resolver.close()


class _Pending:
    """A lookup under way and how many wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[tuple[str, ...]]) -> None:
        self.task = task
        self.waiters = 0


class Resolver(AbstractResolver):
    """What the connectors ask for addresses; see the module's docstring.

    A name any of whose addresses is refused by the policy is refused as a whole: a connector would
    quietly go on to the next address.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        lookup: Lookup | None = None,
        *,
        monotonic: Callable[[], float] | None = None,
        timeout_s: float = LOOKUP_TIMEOUT_S,
    ) -> None:
        """Guard by `policy`; `lookup` replaces the system's way, for tests."""
        self._policy = policy
        self._own_lookup: DnsLookup | None = None
        if lookup is None:
            lookup = self._own_lookup = DnsLookup()
        self._lookup = lookup
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._timeout_s = timeout_s
        self._cache: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        # One lookup per name at a time; both are bounded by the attempts in flight and ORPHANS_MAX.
        self._pending: dict[str, _Pending] = {}
        self._orphans: OrderedDict[str, _Pending] = OrderedDict()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return where to connect to for `host`.

        Raises `DnsError` where the name has no address, `BlockedAddressError` where one of its
        addresses is not allowed.
        """
        del family  # all families count for the guard
        addresses = await self.addresses(host)
        for address in addresses:
            if (kind := self._policy.refusal(address)) is not None:
                raise BlockedAddressError(blocked_text(host, address, kind))
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return all addresses of `host`, unguarded; raise `DnsError` where there are none."""
        name = _normal(host)
        cached = self._cache.get(name)
        if cached is not None and cached[0] > self._monotonic():
            return cached[1]
        pending = self._pending.get(name)
        if pending is None:
            pending = self._start(name)
        else:
            self._orphans.pop(name, None)
        pending.waiters += 1
        try:
            # Shielded: one attempt's end must not end the lookup for the others.
            return await asyncio.shield(pending.task)
        finally:
            pending.waiters -= 1
            if not pending.waiters and not pending.task.done():
                self._orphan(name, pending)

    def is_pending(self, host: str) -> bool:
        """Whether a lookup of `host` is under way."""
        return _normal(host) in self._pending

    async def close(self) -> None:
        """Give up all lookups."""
        tasks = [pending.task for pending in self._pending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._own_lookup is not None:
            await self._own_lookup.close()

    def _start(self, name: str) -> _Pending:
        task = asyncio.get_running_loop().create_task(self._look_up(name))
        pending = self._pending[name] = _Pending(task)

        def finished(task: asyncio.Task[tuple[str, ...]]) -> None:
            self._orphans.pop(name, None)
            if self._pending.get(name) is pending:
                del self._pending[name]
            if not task.cancelled():
                task.exception()  # seen, also when nobody waits any more

        task.add_done_callback(finished)
        return pending

    def _orphan(self, name: str, pending: _Pending) -> None:
        self._orphans[name] = pending
        if len(self._orphans) > ORPHANS_MAX:
            oldest, given_up = self._orphans.popitem(last=False)
            del self._pending[oldest]
            given_up.task.cancel()

    async def _look_up(self, name: str) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = tuple(await self._lookup(name))
        except TimeoutError:
            raise DnsError("no name server answered in time") from None
        if not found:
            raise DnsError("the name has no address")
        self._cache[name] = (self._monotonic() + CACHE_S, found)
        self._cache.move_to_end(name)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return found


def _normal(host: str) -> str:
    return host.lower().removesuffix(".")


def blocked_text(host: str, address: str, kind: str) -> str:
    """Say for people why an address is refused."""
    what = f"{host} is {address}, which is" if host != address else f"{address} is"
    return f"{what} not public ({kind}); egress.allow_addresses can allow it"

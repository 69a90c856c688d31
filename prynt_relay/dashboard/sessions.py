"""Who is signed in, and how often somebody may try to.

A session is a random token in a cookie and a record in memory: it ends with the daemon, with the
API key that opened it, after a while unused, and after a while anyway.
"""

import base64
import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final, Protocol

import msgspec

from prynt_relay.clock import Clock

IDLE_S: Final = 8 * 3600.0
"""A session that nobody used for so long is over."""

LIFETIME_S: Final = 7 * 86_400.0
"""A session is over after this long, however much it is used."""

MAX_SESSIONS: Final = 200
"""One more ends the one that was unused for longest."""

MAX_KEPT_SECRETS: Final = 5
SECRET_S: Final = 600.0
"""How long a new signing secret waits to be shown."""

ATTEMPTS: Final = 10
ATTEMPTS_WINDOW_S: Final = 60.0
"""From one address so many wrong keys are looked at in this time, then none for a while."""

MAX_ADDRESSES: Final = 1_000
"""Addresses whose wrong keys are remembered; beyond, the one longest silent is forgotten."""


class Keys(Protocol):
    """The API key's check."""

    def valid(self, token: str) -> bool:
        """Whether `token` is the key that is valid now."""
        ...

    def digest(self) -> bytes | None:
        """What changes with the key."""
        ...


class NewSecret(msgspec.Struct, frozen=True):
    """A signing secret that waits to be shown once; `active_from_ms` is None for a new webhook."""

    secret: str
    active_from_ms: int | None
    kept_at: float


class Session(msgspec.Struct):
    """One browser that was given the key. Times are on the monotonic clock."""

    csrf: str
    key_digest: bytes
    opened: float
    used: float
    new_secrets: dict[str, NewSecret]
    """By webhook id, at most `MAX_KEPT_SECRETS`."""


class Sessions:
    """All sessions, by the hash of their token: memory that leaks opens no session."""

    def __init__(self, keys: Keys, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._keys = keys
        self._clock = clock
        self._random_bytes = random_bytes
        # In the order of their last use.
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        """How many there are, ended ones that nobody asked for since included."""
        return len(self._sessions)

    def random_token(self) -> str:
        """Return 32 random bytes as text."""
        return base64.urlsafe_b64encode(self._random_bytes(32)).rstrip(b"=").decode()

    def open(self, key: str) -> str | None:
        """Return the token of a new session, or None where `key` isn't the API key."""
        digest = self._keys.digest()
        if digest is None or not self._keys.valid(key):
            return None
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        token, now = self.random_token(), self._clock.monotonic()
        self._sessions[_hash(token)] = Session(self.random_token(), digest, now, now, {})
        return token

    def find(self, token: str | None, *, use: bool = True) -> Session | None:
        """Return the session behind a token; `use` counts as its being used."""
        if not token:
            return None
        name, now = _hash(token), self._clock.monotonic()
        session = self._sessions.get(name)
        if session is None:
            return None
        digest = self._keys.digest()
        ended = now - session.used > IDLE_S or now - session.opened > LIFETIME_S
        if ended or digest is None or not hmac.compare_digest(session.key_digest, digest):
            del self._sessions[name]
            return None
        if use:
            session.used = now
            self._sessions.move_to_end(name)
        return session

    def close(self, token: str | None) -> None:
        """End a session."""
        if token:
            self._sessions.pop(_hash(token), None)

    def keep_secret(
        self, session: Session, webhook_id: str, secret: str, active_from_ms: int | None
    ) -> None:
        """Keep a new signing secret until its page is opened."""
        kept = session.new_secrets
        kept.pop(webhook_id, None)
        while len(kept) >= MAX_KEPT_SECRETS:
            del kept[next(iter(kept))]
        kept[webhook_id] = NewSecret(secret, active_from_ms, self._clock.monotonic())

    def take_secret(self, session: Session, webhook_id: str) -> NewSecret | None:
        """Return what was kept for a webhook, and forget it."""
        found = session.new_secrets.pop(webhook_id, None)
        if found is None or self._clock.monotonic() - found.kept_at > SECRET_S:
            return None
        return found


class SignInLimit:
    """Counts wrong keys by the address that they came from."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return for how long an address must wait before its next try; 0: it may try."""
        times = self._failures.get(_network(address))
        if times is None or len(times) < ATTEMPTS:
            return 0.0
        return max(0.0, times[0] + ATTEMPTS_WINDOW_S - self._clock.monotonic())

    def failed(self, address: str) -> None:
        """Count a wrong key."""
        name = _network(address)
        times = self._failures.setdefault(name, deque(maxlen=ATTEMPTS))
        times.append(self._clock.monotonic())
        self._failures.move_to_end(name)
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _network(address: str) -> str:
    """Return what counts as one origin: an IPv4 address, or the /64 that one site has of IPv6."""
    try:
        found = ip_address(address.split("%", 1)[0])
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)

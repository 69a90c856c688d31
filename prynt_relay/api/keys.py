"""The API key: one file holds it in clear, everything else only its hash.

`<state_dir>/api-key` (mode 0600) holds the key; where that file exists its content is the one
valid key, so replacing it by a rename is the whole rotation, also under a running daemon, and
needs no write to the daemon's database. `<state_dir>/api-key.hash` holds the SHA-256 of it in hex:
it lets an operator keep the key elsewhere and delete `api-key`, and the daemon goes on accepting
it. A plain hash is enough, since a key has 192 random bits.
"""

import contextlib
import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prynt_relay.errors import RelayError
from prynt_relay.model import ids

KEY_FILE: Final = "api-key"
HASH_FILE: Final = "api-key.hash"

_MAX_FILE: Final = 4096
# An operator may put a key of his own into the file; one that can be guessed is refused.
_KEY: Final = re.compile(rb"[\x21-\x7e]{24,512}\Z")
_HASH: Final = re.compile(rb"[0-9a-f]{64}\Z")
# File times tick coarsely: two writes within one tick look alike. A file younger than this is
# read again rather than believed unchanged.
_SETTLED_NS: Final = 2_000_000_000


def ensure_key(state_dir: Path, random_bytes: Callable[[int], bytes]) -> bool:
    """See to it that there is a key, and that its hash is on disk; True if one was made.

    Raises RelayError where a file is there and holds no usable key, or can't be read or written:
    starting with an API that nobody can use, or that anybody can, helps no one.
    """
    key_file, hash_file = state_dir / KEY_FILE, state_dir / HASH_FILE
    try:
        digest = _clear_digest(key_file)
        if digest is None:
            if _stored_digest(hash_file) is not None:
                return False
            rotate(state_dir, random_bytes)
            return True
        if _read(hash_file) != digest.hex().encode():
            _replace(hash_file, digest.hex())
    except OSError as error:
        raise _unusable(error, state_dir) from error
    return False


def rotate(state_dir: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Make a new key the only valid one, at once, and return it.

    Safe beside a running daemon, which notices with the next request (`KeyCheck`). A crash half
    way leaves the old key or the new one valid, never both and never one that was given up.
    Raises RelayError where the folder is missing or may not be written to.
    """
    if not state_dir.is_dir():
        raise RelayError(
            f"there is no state folder {state_dir}: check state_dir, or start the daemon once"
        )
    key = ids.new_api_key(random_bytes)
    try:
        # First, so that no crash can leave the old hash behind to become valid again.
        (state_dir / HASH_FILE).unlink(missing_ok=True)
        _replace(state_dir / KEY_FILE, key)
        _replace(state_dir / HASH_FILE, _digest(key.encode()).hex())
    except OSError as error:
        raise _unusable(error, state_dir) from error
    return key


class KeyCheck:
    """Tells whether a token is the key that is valid now.

    Costs one `stat` (which needs no file descriptor) and one hash a request; the file is read
    again only when it changed.
    """

    def __init__(self, state_dir: Path) -> None:
        self._key_file = state_dir / KEY_FILE
        self._hash_file = state_dir / HASH_FILE
        self._stamp: tuple[int, ...] | None = None
        self._known: bytes | None = None

    def valid(self, token: str) -> bool:
        """Whether `token` is the key; False for every token while none can be read."""
        known = self.digest()
        given = _digest(token.encode(errors="surrogatepass"))
        return known is not None and hmac.compare_digest(given, known)

    def digest(self) -> bytes | None:
        """Return the valid key's SHA-256, or None; a session bound to it ends with the key."""
        stamp = _stamp(self._key_file)
        read, path = _clear_digest, self._key_file
        if stamp is None:
            stamp = _stamp(self._hash_file)
            read, path = _stored_digest, self._hash_file
        if stamp is None or stamp != self._stamp:
            # Forgotten first: what can't be read now must not leave an old key valid.
            self._known = self._stamp = None
            with contextlib.suppress(OSError, RelayError):
                self._known = read(path)
                if stamp is not None and abs(time.time_ns() - stamp[1]) > _SETTLED_NS:
                    self._stamp = stamp
        return self._known


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what changes with the file's content, its change time second; None: no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_dev)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _clear_digest(path: Path) -> bytes | None:
    text = _read(path)
    if text is None:
        return None
    if not _KEY.match(text):
        raise RelayError(
            f"{path} holds no usable API key (24 to 512 printable characters without blanks): "
            "delete the file, or run 'prynt-relay rotate-api-key'"
        )
    return _digest(text)


def _stored_digest(path: Path) -> bytes | None:
    text = _read(path)
    if text is None:
        return None
    if not _HASH.match(text):
        raise RelayError(
            f"{path} holds no SHA-256 in hex: delete the file, or run 'prynt-relay rotate-api-key'"
        )
    return bytes.fromhex(text.decode())


def _read(path: Path) -> bytes | None:
    """Return the file's text without surrounding blanks, or None where there is no such file."""
    try:
        # Non-blocking, so that a FIFO in its place can't stop the event loop.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _MAX_FILE).strip()
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Put `text` in place as one durable step, readable by the folder's owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600), "w") as file:
            if os.geteuid() == 0:
                # root rotates for a daemon that runs as the folder's owner and must read it.
                owner = os.fstat(folder)
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        os.fsync(folder)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(folder)


def _unusable(error: OSError, state_dir: Path) -> RelayError:
    return RelayError(
        f"the API key in {state_dir} can't be read or written: {error.strerror} "
        f"({error.filename or state_dir}); run this as the user that the daemon runs as"
    )

"""Secrets at rest: AES-GCM under keys that the configuration gives."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from prynt_relay.errors import StorageError

_NONCE_BYTES: Final = 12


def key_id(key: bytes) -> str:
    """A name for a key that tells nothing about it."""
    return hashlib.sha256(b"prynt-relay key id\0" + key).hexdigest()[:16]


class SecretBox:
    """Encrypts with the first key, decrypts with any; without keys everything stays in clear."""

    def __init__(self, keys: Sequence[bytes], random_bytes: Callable[[int], bytes]) -> None:
        """Take keys of 32 bytes, the one in force first."""
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self._random_bytes = random_bytes
        self.current: str | None = key_id(keys[0]) if keys else None
        """The id of the key that encrypts, None without one."""

    def seal(self, plain: bytes, bound_to: str) -> tuple[bytes, str | None]:
        """Encrypt for one row; returns the text and its key's id (None: kept in clear).

        What is sealed for one row can't be opened as another's.
        """
        if self.current is None:
            return plain, None
        nonce = self._random_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self.current]
        return nonce + cipher.encrypt(nonce, plain, bound_to.encode()), self.current

    def open(self, sealed: bytes, key_id: str | None, bound_to: str) -> bytes:
        """Decrypt what `seal` made.

        Raises StorageError where the key is gone or the text isn't what was sealed.
        """
        if key_id is None:
            return sealed
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise StorageError(missing_key(key_id))
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, text, bound_to.encode())
        except (InvalidTag, ValueError):  # ValueError: too short to be sealed text
            raise StorageError(
                f"a secret of {bound_to} can't be decrypted: the row was changed outside of "
                "prynt-relay; restore the database from a backup"
            ) from None

    def knows(self, key_id: str) -> bool:
        """Whether what was sealed under this key can be opened."""
        return key_id in self._ciphers


def missing_key(key_id: str) -> str:
    """What to tell an operator whose configuration lacks a key."""
    return (
        f"the database holds secrets encrypted under key {key_id}, which encryption_keys doesn't "
        "list; add that key again (behind the new one, if it was replaced)"
    )

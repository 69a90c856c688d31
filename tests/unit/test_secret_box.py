import os

import pytest

from prynt_relay.errors import StorageError
from prynt_relay.store.secret_box import SecretBox, key_id

OLD, NEW = b"o" * 32, b"n" * 32


def test_sealed_text_opens_with_its_key_alone() -> None:
    """What is sealed opens again, is different each time and shows nothing of the plain text."""
    box = SecretBox((NEW,), os.urandom)
    one, name = box.seal(b"whsec_secret", "wh_1")
    two, _ = box.seal(b"whsec_secret", "wh_1")
    assert one != two
    assert b"whsec" not in one
    assert name == key_id(NEW) == box.current
    assert box.open(one, name, "wh_1") == b"whsec_secret"


def test_the_first_key_seals_and_all_open() -> None:
    """With a new key in front, text under the old one still opens."""
    sealed, name = SecretBox((OLD,), os.urandom).seal(b"x", "wh_1")
    box = SecretBox((NEW, OLD), os.urandom)
    assert box.open(sealed, name, "wh_1") == b"x"
    assert box.seal(b"x", "wh_1")[1] == key_id(NEW)


def test_without_keys_everything_stays_in_clear() -> None:
    """A box without keys passes text through and says so."""
    box = SecretBox((), os.urandom)
    assert box.seal(b"x", "wh_1") == (b"x", None)
    assert box.open(b"x", None, "wh_1") == b"x"
    assert box.current is None


def test_a_key_that_is_gone_is_named() -> None:
    """Text under an unknown key is refused with the key's id and what to do."""
    sealed, name = SecretBox((OLD,), os.urandom).seal(b"x", "wh_1")
    with pytest.raises(StorageError, match=f"under key {name}.*encryption_keys"):
        SecretBox((NEW,), os.urandom).open(sealed, name, "wh_1")


@pytest.mark.parametrize("bound_to", ["wh_2", ""])
def test_text_belongs_to_its_row(bound_to: str) -> None:
    """Text that was sealed for one row doesn't open as another's."""
    box = SecretBox((NEW,), os.urandom)
    sealed, name = box.seal(b"x", "wh_1")
    with pytest.raises(StorageError, match="can't be decrypted"):
        box.open(sealed, name, bound_to)


def test_a_changed_or_cut_text_is_refused() -> None:
    """Every single changed byte, and every cut, is noticed."""
    box = SecretBox((NEW,), os.urandom)
    sealed, name = box.seal(b"secret", "wh_1")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        for text in (bytes(changed), sealed[:position]):
            with pytest.raises(StorageError):
                box.open(text, name, "wh_1")

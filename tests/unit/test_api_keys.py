import os
import stat
from pathlib import Path

import pytest

from prynt_relay.api import keys
from prynt_relay.errors import RelayError


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check believe a file's stamp from the first moment on."""
    monkeypatch.setattr(keys, "_SETTLED_NS", -1)


def test_the_first_start_makes_a_private_key_and_the_next_keeps_it(tmp_path: Path) -> None:
    """ensure_key writes `api-key` with mode 0600 once, and leaves it alone after that."""
    assert keys.ensure_key(tmp_path, os.urandom) is True
    file = tmp_path / "api-key"
    key = file.read_text().strip()
    assert key.startswith("sk_live_")
    assert len(key) == len("sk_live_") + 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys.ensure_key(tmp_path, os.urandom) is False
    assert file.read_text().strip() == key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api-key", "api-key.hash"]


def test_only_the_key_is_valid(tmp_path: Path) -> None:
    """KeyCheck accepts the key and nothing near it."""
    keys.ensure_key(tmp_path, os.urandom)
    key = (tmp_path / "api-key").read_text().strip()
    check = keys.KeyCheck(tmp_path)
    assert check.valid(key)
    for wrong in ("", key[:-1], key + "x", key.upper(), "sk_live_", "\ud800", "é", key + "\n"):
        assert not check.valid(wrong)


@pytest.mark.usefixtures("cached")
def test_a_rotation_is_noticed_at_once_by_a_check_that_runs(tmp_path: Path) -> None:
    """After rotate the old key is refused and the new one accepted, with no restart."""
    keys.ensure_key(tmp_path, os.urandom)
    old = (tmp_path / "api-key").read_text().strip()
    check = keys.KeyCheck(tmp_path)
    assert check.valid(old)
    before = check.digest()
    for _ in range(20):
        new = keys.rotate(tmp_path)
        assert check.valid(new)
        assert not check.valid(old)
        assert (tmp_path / "api-key").read_text().strip() == new
        old = new
    assert check.digest() != before


def test_an_edit_in_place_within_one_clock_tick_is_noticed(tmp_path: Path) -> None:
    """A young file is read again even if its stamp is the same."""
    file = tmp_path / "api-key"
    check = keys.KeyCheck(tmp_path)
    for letter in "abcdefgh":
        file.write_text(letter * 40)
        assert check.valid(letter * 40)


def test_the_hash_alone_is_enough(tmp_path: Path) -> None:
    """An operator may move the key elsewhere: it stays valid, also after a restart."""
    keys.ensure_key(tmp_path, os.urandom)
    file = tmp_path / "api-key"
    key = file.read_text().strip()
    check = keys.KeyCheck(tmp_path)
    assert check.valid(key)
    file.unlink()
    assert check.valid(key)
    assert keys.ensure_key(tmp_path, os.urandom) is False
    assert not file.exists()
    assert keys.KeyCheck(tmp_path).valid(key)
    new = keys.rotate(tmp_path)
    assert check.valid(new)
    assert not check.valid(key)


def test_the_hash_file_holds_no_key(tmp_path: Path) -> None:
    """Only `api-key` has the key in clear."""
    keys.ensure_key(tmp_path, os.urandom)
    key = (tmp_path / "api-key").read_text().strip()
    stored = (tmp_path / "api-key.hash").read_text()
    assert key not in stored
    assert key[8:] not in stored
    assert stat.S_IMODE((tmp_path / "api-key.hash").stat().st_mode) == 0o600


def test_a_key_that_the_operator_wrote_is_taken_over(tmp_path: Path) -> None:
    """What stands in `api-key` at the start is the key, and the hash follows it."""
    keys.ensure_key(tmp_path, os.urandom)
    own = "sk_live_" + "o" * 32
    (tmp_path / "api-key").write_text(f"  {own}\n")
    assert keys.ensure_key(tmp_path, os.urandom) is False
    (tmp_path / "api-key").unlink()
    assert keys.KeyCheck(tmp_path).valid(own)


def test_a_damaged_hash_is_written_again_from_the_key(tmp_path: Path) -> None:
    """The clear key is the truth where both files are there."""
    keys.ensure_key(tmp_path, os.urandom)
    key = (tmp_path / "api-key").read_text().strip()
    (tmp_path / "api-key.hash").write_text("junk")
    assert keys.ensure_key(tmp_path, os.urandom) is False
    (tmp_path / "api-key").unlink()
    assert keys.KeyCheck(tmp_path).valid(key)


@pytest.mark.parametrize("content", ["", "short", "has a blank " * 4, "é" * 30, "x" * 600])
def test_an_unusable_key_file_stops_the_start_and_admits_nobody(
    tmp_path: Path, content: str
) -> None:
    """A guessable or broken key is an error that names the file, and no token passes."""
    (tmp_path / "api-key").write_text(content)
    with pytest.raises(RelayError, match="api-key holds no usable API key"):
        keys.ensure_key(tmp_path, os.urandom)
    check = keys.KeyCheck(tmp_path)
    assert check.digest() is None
    assert not check.valid(content)
    assert not check.valid("")


def test_a_broken_hash_admits_nobody(tmp_path: Path) -> None:
    """Without a key file a hash that is none is an error, not an open door."""
    (tmp_path / "api-key.hash").write_text("0" * 63)
    with pytest.raises(RelayError, match="no SHA-256"):
        keys.ensure_key(tmp_path, os.urandom)
    assert keys.KeyCheck(tmp_path).digest() is None


def test_a_fifo_in_its_place_neither_blocks_nor_admits(tmp_path: Path) -> None:
    """Reading never waits."""
    os.mkfifo(tmp_path / "api-key")
    assert not keys.KeyCheck(tmp_path).valid("")


def test_without_files_nothing_is_valid_until_there_are(tmp_path: Path) -> None:
    """A check made before the key works as soon as the key is there."""
    check = keys.KeyCheck(tmp_path)
    assert not check.valid("")
    key = keys.rotate(tmp_path)
    assert check.valid(key)


@pytest.mark.parametrize("crash_before", [".api-key", ".api-key.hash"])
@pytest.mark.parametrize("has_clear", [True, False])
def test_a_crash_in_a_rotation_never_revives_a_key_that_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_before: str, has_clear: bool
) -> None:
    """Whichever step is the last, at most one key is valid, and a second rotation mends it."""
    old = keys.rotate(tmp_path)
    if not has_clear:
        (tmp_path / "api-key").unlink()
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.rsplit(".", 2)[0] == crash_before:
            raise OSError(5, "Input/output error", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(RelayError, match="Input/output error"):
        keys.rotate(tmp_path)
    monkeypatch.setattr(Path, "rename", real)

    check = keys.KeyCheck(tmp_path)
    file = tmp_path / "api-key"
    now = file.read_text().strip() if file.exists() else ""
    assert check.valid(old) == (now == old)
    assert check.valid(now) == bool(now)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    new = keys.rotate(tmp_path)
    assert check.valid(new)
    assert not check.valid(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_rotates_for_the_daemons_user(tmp_path: Path) -> None:
    """The new file belongs to the folder's owner, or the daemon could not read it."""
    os.chown(tmp_path, 12345, 12346)
    keys.rotate(tmp_path)
    for name in ("api-key", "api-key.hash"):
        found = (tmp_path / name).stat()
        assert (found.st_uid, found.st_gid) == (12345, 12346)


def test_a_missing_state_folder_is_named(tmp_path: Path) -> None:
    """Rotate in a folder that isn't there says which, and makes nothing."""
    with pytest.raises(RelayError, match="there is no state folder"):
        keys.rotate(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []

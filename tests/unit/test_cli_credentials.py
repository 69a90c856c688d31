"""Where `prynt` finds its API key (contract, section 7)."""

from pathlib import Path

import pytest

from prynt_relay.cli.prynt.credentials import find_api_key, key_files
from prynt_relay.cli.prynt.failures import CommandError


def home(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path), **more}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_option_comes_before_the_environment_and_the_environment_before_files(
    tmp_path: Path,
) -> None:
    """--api-key, $PRYNT_API_KEY, $PRYNT_API_KEY_FILE, then the files in the contract's order."""
    named = write(tmp_path / "named", "sk_live_named\n")
    own = write(tmp_path / ".config/prynt/api-key", "sk_live_own\n")
    state = write(tmp_path / ".local/state/prynt-relay/api-key", "sk_live_state\n")
    environ = home(tmp_path, PRYNT_API_KEY="sk_live_env", PRYNT_API_KEY_FILE=str(named))
    assert find_api_key("sk_live_option", environ).value == "sk_live_option"
    assert find_api_key(None, environ).value == "sk_live_env"
    del environ["PRYNT_API_KEY"]
    assert find_api_key(None, environ).value == "sk_live_named"
    del environ["PRYNT_API_KEY_FILE"]
    assert find_api_key(None, environ) == ("sk_live_own", str(own))
    own.unlink()
    assert find_api_key(None, environ) == ("sk_live_state", str(state))


def test_the_state_folder_is_the_daemon_s_default(tmp_path: Path) -> None:
    """$STATE_DIRECTORY, else $XDG_STATE_HOME, else ~/.local/state; then the system's."""

    def second(**environ: str) -> Path:
        files = key_files(home(tmp_path, **environ))
        assert files[0] == tmp_path / ".config/prynt/api-key"
        assert files[2] == Path("/var/lib/prynt-relay/api-key")
        return files[1]

    assert second(STATE_DIRECTORY="/run/a:/run/b", XDG_STATE_HOME="/xdg") == Path("/run/a/api-key")
    assert second(XDG_STATE_HOME="/xdg") == Path("/xdg/prynt-relay/api-key")
    assert second() == tmp_path / ".local/state/prynt-relay/api-key"


def test_a_file_that_may_not_be_read_is_passed_over(tmp_path: Path) -> None:
    """A folder, or a file without the right to read it, leaves the turn to the next."""
    (tmp_path / ".config/prynt/api-key").mkdir(parents=True)
    write(tmp_path / ".local/state/prynt-relay/api-key", "sk_live_state\n")
    assert find_api_key(None, home(tmp_path)).value == "sk_live_state"


def test_no_key_names_every_place_that_was_tried(tmp_path: Path) -> None:
    """The message says which files were tried, why each failed, and what to give."""
    (tmp_path / ".config/prynt/api-key").mkdir(parents=True)
    environ = home(tmp_path, STATE_DIRECTORY=str(tmp_path / "state"))
    with pytest.raises(CommandError) as caught:
        find_api_key(None, environ)
    message = caught.value.message
    assert f"{tmp_path}/.config/prynt/api-key (is a directory)" in message
    assert f"{tmp_path}/state/api-key (no such file or directory)" in message
    assert "/var/lib/prynt-relay/api-key" in message
    assert "--api-key, $PRYNT_API_KEY or $PRYNT_API_KEY_FILE" in message


def test_a_named_file_must_be_readable(tmp_path: Path) -> None:
    """$PRYNT_API_KEY_FILE is meant: no other file takes its place."""
    write(tmp_path / ".config/prynt/api-key", "sk_live_own\n")
    environ = home(tmp_path, PRYNT_API_KEY_FILE=str(tmp_path / "missing"))
    with pytest.raises(CommandError, match=r"PRYNT_API_KEY_FILE.*missing.*No such file"):
        find_api_key(None, environ)


@pytest.mark.parametrize("text", ["", " \n", "two words", "sk\nInjected: header", "schlüssel"])
def test_what_can_be_no_header_is_no_key(text: str, tmp_path: Path) -> None:
    """A key that isn't one line of printable ASCII is refused, and not repeated."""
    write(tmp_path / ".config/prynt/api-key", text)
    with pytest.raises(CommandError) as caught:
        find_api_key(None, home(tmp_path))
    assert "holds no API key" in caught.value.message
    assert not text.strip() or text.strip() not in caught.value.message


def test_a_key_is_not_in_its_repr() -> None:
    """Tracebacks and logs show where a key came from, never the key."""
    assert "sk_live_x" not in repr(find_api_key("sk_live_x", {}))

"""Where the API key comes from (contract, section 7)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prynt_relay.cli.prynt.failures import CommandError

_MAX_KEY_FILE: Final = 4096
_HOW: Final = "give --api-key, $PRYNT_API_KEY or $PRYNT_API_KEY_FILE"


class NoApiKeyError(CommandError):
    """No key was given and none lies in the usual files."""


class ApiKey(NamedTuple):
    """A key and, for messages, where it was found."""

    value: str
    source: str

    def __repr__(self) -> str:
        """Hide the key from tracebacks."""
        return f"ApiKey(source={self.source!r})"


def _checked(text: str, source: str) -> ApiKey:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CommandError(f"{source} holds no API key (one line of printable ASCII); {_HOW}")
    return ApiKey(key, source)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_KEY_FILE).decode("utf-8", "replace")


def key_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that are tried, in order, when no key is given."""
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    state_home = Path(environ.get("XDG_STATE_HOME") or home / ".local/state")
    # systemd may name several state folders; the daemon uses the first as well.
    state_folder = environ.get("STATE_DIRECTORY", "").split(":")[0] or state_home / "prynt-relay"
    return [
        home / ".config/prynt/api-key",
        Path(state_folder) / "api-key",
        Path("/var/lib/prynt-relay/api-key"),
    ]


def find_api_key(given: str | None, environ: Mapping[str, str]) -> ApiKey:
    """Return the key from the option, the environment or the first file that can be read.

    Raises CommandError naming every place that was tried where there is none.
    """
    if given is not None:
        return _checked(given, "--api-key")
    if environ.get("PRYNT_API_KEY"):
        return _checked(environ["PRYNT_API_KEY"], "$PRYNT_API_KEY")
    named = environ.get("PRYNT_API_KEY_FILE")
    if named:
        try:
            return _checked(_read(Path(named)), f"$PRYNT_API_KEY_FILE ({named})")
        except OSError as error:
            raise CommandError(
                f"$PRYNT_API_KEY_FILE: {named}: {error.strerror}; name a file that can be read"
            ) from error
    tried = []
    for path in dict.fromkeys(key_files(environ)):
        try:
            return _checked(_read(path), str(path))
        except OSError as error:
            tried.append(f"{path} ({(error.strerror or 'unreadable').lower()})")
    raise NoApiKeyError(f"no API key found; tried {', '.join(tried)}; {_HOW}")

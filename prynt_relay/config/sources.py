"""Where settings come from: the file, the credentials, the environment.

The environment goes before the credentials, those before the file, that before the defaults:
what is given for one start goes before what the unit gives to all, and a secret that systemd
hands over before one that was left in a file.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from prynt_relay.config.keys import BY_PATH, ENVIRONMENT_PREFIX, KEYS, SECTIONS, Key
from prynt_relay.config.kinds import Unfit, toml_string

CONFIG_VARIABLE: Final = "PRYNT_RELAY_CONFIG"
SYSTEM_FILE: Final = Path("/etc/prynt-relay/config.toml")
CREDENTIALS: Final = {"email_password": "email.password", "encryption_keys": "encryption_keys"}
"""Files in `$CREDENTIALS_DIRECTORY`, and the keys that they set."""

_MAX_FILE: Final = 1_000_000


class Given(msgspec.Struct, frozen=True):
    """A key's value as a source has it, TOML's types, and the source's name for people."""

    value: object
    origin: str


class Sources:
    """Collects what is given, the later source over the earlier, and what is wrong with it.

    `problems` are lines `SOURCE: section.key: why`.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.given: dict[str, Given] = {}
        self.problems: list[str] = []

    def read_file(self, file: Path) -> None:
        """Take the keys of a TOML file."""
        text = self._text_of(file, "")
        if text is None:
            return
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            self.problems.append(f"{file}: is no TOML: {error}")
            return
        for name, value in document.items():
            if name in SECTIONS:
                self._read_section(file, name, value)
            elif "." in name:
                self.problems.append(f"{file}: {_printable(name)}: write this without quotes")
            else:
                self._take(str(file), name, value)

    def read_credentials(self) -> None:
        """Take the secrets that systemd hands over (systemd.exec(5), LoadCredential=)."""
        folder = self.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            return
        for name, path in CREDENTIALS.items():
            file = Path(folder) / name
            text = self._text_of(file, f"{path}: ", optional=True)
            if text is None:
                continue
            lines = text.rstrip("\r\n") if path == "email.password" else _lines(text)
            self.given[path] = Given(lines, str(file))

    def read_environment(self) -> None:
        """Take the variables that are named after keys; complain of those that nearly are."""
        variables = {key.variable: key for key in KEYS}
        for name, text in sorted(self.environ.items()):
            if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
                continue
            key = variables.get(name)
            if key is None:
                self._unknown_variable(name, list(variables))
                continue
            try:
                self.given[key.path] = Given(key.kind.from_text(text), f"${name}")
            except Unfit as error:
                self.refuse(f"${name}", key, error)

    def refuse(self, origin: str, key: Key, error: Unfit) -> None:
        """Note a value that doesn't fit; a secret isn't shown."""
        culprit = "" if key.secret else f", not {shown(error.value)}"
        self.problems.append(f"{origin}: {key.path}: {error.place}must be {error.rule}{culprit}")

    def _read_section(self, file: Path, section: str, value: object) -> None:
        if not isinstance(value, dict):
            self.problems.append(f"{file}: {section}: must be a section: [{section}]")
            return
        for name, one in value.items():
            self._take(str(file), f"{section}.{name}", one)

    def _take(self, origin: str, path: str, value: object) -> None:
        if path in BY_PATH:
            self.given[path] = Given(value, origin)
            return
        what = "section" if isinstance(value, dict) and "." not in path else "key"
        self.problems.append(f"{origin}: {_printable(path)}: unknown {what}{_hint(path, what)}")

    def _unknown_variable(self, name: str, variables: list[str]) -> None:
        # Variables of others may begin like ours (Kubernetes makes PRYNT_RELAY_SERVICE_HOST of
        # a service's name), so only what looks like a key's is a mistake.
        flat = {variable.replace("__", "_"): variable for variable in variables}
        # With a section's underscores in it, a long common beginning says nothing any more.
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
        cutoff = 0.95 if "__" in name else 0.85
        near = [BY_PATH[one].variable for one in _near(path)] if "." in path else []
        near = near or [
            flat[one]
            for one in difflib.get_close_matches(name.replace("__", "_"), flat, 1, cutoff=cutoff)
        ]
        if near or "__" in name:
            hint = f"; did you mean {near[0]}?" if near else ""
            self.problems.append(f"${_printable(name)}: names no key of the configuration{hint}")

    def _text_of(self, file: Path, key: str, *, optional: bool = False) -> str | None:
        try:
            with file.open("rb") as stream:
                raw = stream.read(_MAX_FILE + 1)
            if len(raw) > _MAX_FILE:
                self.problems.append(f"{file}: {key}is larger than {_MAX_FILE} bytes")
                return None
            return raw.decode()
        except OSError as error:
            if not (optional and isinstance(error, FileNotFoundError)):
                self.problems.append(f"{file}: {key}can't be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.problems.append(f"{file}: {key}is no UTF-8 text, at byte {error.start}")
        return None


def default_file(environ: Mapping[str, str]) -> Path | None:
    """The file to use where the command line names none (contract, section 1)."""
    named = environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    try:
        return SYSTEM_FILE if SYSTEM_FILE.exists() else None
    except OSError:
        return SYSTEM_FILE  # it may be there: reading it will say why it can't be used


def shown(value: object) -> str:
    """A value from a file as a person recognises it: as TOML has it, cut."""
    if isinstance(value, str):
        text = toml_string(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "an array"
    else:
        text = str(value)
    return _printable(text)


def _printable(text: str) -> str:
    flat = "".join(char if char.isprintable() else "�" for char in text)
    return flat if len(flat) <= 80 else flat[:79] + "…"


def _lines(text: str) -> list[str]:
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _hint(path: str, what: str) -> str:
    if what == "section":
        near = difflib.get_close_matches(path, SECTIONS, 1)
        return f"; did you mean [{near[0]}]?" if near else f"; there are {', '.join(SECTIONS)}"
    near = _near(path)
    return f"; did you mean {near[0]}?" if near else ""


def _near(path: str) -> list[str]:
    """Return the paths of keys that are probably meant, by their names without the section's.

    Elsewhere than in the section that was named, a name must be nearly the same.
    """
    section, _, name = path.rpartition(".")
    here = {key.name: key.path for key in KEYS if key.section == section}
    anywhere = {key.name: key.path for key in reversed(KEYS)}
    return [here[one] for one in difflib.get_close_matches(name, here, 1, cutoff=0.75)] or [
        anywhere[one] for one in difflib.get_close_matches(name, anywhere, 1, cutoff=0.85)
    ]

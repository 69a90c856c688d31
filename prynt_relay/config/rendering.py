"""The effective settings, as TOML with secrets hidden."""

from collections.abc import Iterator

from prynt_relay.config.checks import values_of
from prynt_relay.config.keys import KEYS, SECTIONS, Key
from prynt_relay.config.loader import Loaded
from prynt_relay.config.settings import Config

HIDDEN = "***"


def render(loaded: Loaded) -> str:
    """Write every key with its effective value; what isn't a default says where it came from."""
    lines = [f"# {loaded.file}" if loaded.file else "# No configuration file: built-in defaults."]
    for section in ("", *SECTIONS):
        if section:
            lines += ["", f"[{section}]"]
        lines += _section(loaded, section)
    return "\n".join(lines) + "\n"


def value_of(config: Config, key: Key) -> str:
    """One key's effective value as TOML; a secret only says whether it is there."""
    value = getattr(values_of(config, key.section), key.field)
    if key.secret and value:
        if isinstance(value, tuple):
            return "[" + ", ".join(f'"{HIDDEN}"' for _ in value) + "]"
        return f'"{HIDDEN}"'
    return key.kind.render(value)


def _section(loaded: Loaded, section: str) -> Iterator[str]:
    for key in KEYS:
        if key.section == section:
            line = f"{key.name} = {value_of(loaded.config, key)}"
            origin = loaded.origins.get(key.path)
            yield f"{line}  # {origin}" if origin else line

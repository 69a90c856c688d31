"""The files that operators put in place, wherever this installation keeps them.

A wheel holds them inside the package. A checkout, which an editable installation runs from, keeps
units and the example configuration at its top, where people look for them.
"""

import re
from pathlib import Path
from typing import Final

from prynt_relay.errors import InvalidFieldError, RelayError

DEFAULT_PREFIX: Final = Path("/opt/prynt-relay")
"""What the units name; `current` in it leads to the installed version's virtual environment."""

_PACKAGE: Final = Path(__file__).parents[1]
_CHECKOUT: Final = _PACKAGE.parent

# name: (inside the package, in a checkout)
_PLACES: Final[dict[str, tuple[str, str]]] = {
    "alerts": ("ops/alerts.yml", "prynt_relay/ops/alerts.yml"),
    "scrape": ("ops/scrape.yml", "prynt_relay/ops/scrape.yml"),
    "unit": ("ops/systemd/prynt-relay.service", "systemd/prynt-relay.service"),
    "socket": ("ops/systemd/prynt-relay.socket", "systemd/prynt-relay.socket"),
    "backoff": ("ops/systemd/prynt-relay-backoff.conf", "systemd/prynt-relay-backoff.conf"),
    "sysusers": ("ops/systemd/prynt-relay.sysusers", "systemd/prynt-relay.sysusers"),
    "tmpfiles": ("ops/systemd/prynt-relay.tmpfiles", "systemd/prynt-relay.tmpfiles"),
    "config": ("config/config.example.toml", "config.example.toml"),
}
NAMES: Final = tuple(_PLACES)

# What neither systemd's units nor a shell would read in another way.
_PLAIN_PATH: Final = re.compile(r"(/[A-Za-z0-9._+-]+)+")


def text(name: str, prefix: Path = DEFAULT_PREFIX) -> str:
    """Return the file called `name` (one of `NAMES`); units name the programs under `prefix`.

    Raises RelayError where the installation lacks the file.
    """
    inside, outside = _PLACES[name]
    places = (_PACKAGE / inside, _CHECKOUT / outside)
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8").replace(f"{DEFAULT_PREFIX}/", f"{prefix}/")
    looked = " and ".join(str(place) for place in places)
    raise RelayError(
        f"this installation lacks its {name} file (looked at {looked}); install the wheel again"
    )


def checked_prefix(prefix: Path) -> Path:
    """Return `prefix` where a unit can name it as it is.

    Raises InvalidFieldError for a relative path and for characters that systemd reads specially.
    """
    if not _PLAIN_PATH.fullmatch(str(prefix)) or ".." in prefix.parts:
        raise InvalidFieldError(
            "--prefix", f"{str(prefix)!r} must be an absolute path of letters, digits and ._+-"
        )
    return prefix

"""The files that operators put in place, wherever this installation keeps them.

A wheel holds them inside the package. A checkout, which an editable installation runs from, keeps
units and the example configuration at its top, where people look for them.
"""

from pathlib import Path
from typing import Final

from prynt_relay.errors import RelayError

DEFAULT_PREFIX: Final = Path("/opt/prynt-relay")
"""What the units name; `current` in it leads to the installed version's virtual environment."""

_PACKAGE: Final = Path(__file__).parents[1]
_CHECKOUT: Final = _PACKAGE.parent

_PLACES: Final[dict[str, tuple[Path, ...]]] = {
    "alerts": (_PACKAGE / "ops" / "alerts.yml",),
    "scrape": (_PACKAGE / "ops" / "scrape.yml",),
    "unit": (
        _PACKAGE / "ops" / "systemd" / "prynt-relay.service",
        _CHECKOUT / "systemd" / "prynt-relay.service",
    ),
    "socket": (
        _PACKAGE / "ops" / "systemd" / "prynt-relay.socket",
        _CHECKOUT / "systemd" / "prynt-relay.socket",
    ),
    "sysusers": (
        _PACKAGE / "ops" / "systemd" / "prynt-relay.sysusers",
        _CHECKOUT / "systemd" / "prynt-relay.sysusers",
    ),
    "tmpfiles": (
        _PACKAGE / "ops" / "systemd" / "prynt-relay.tmpfiles",
        _CHECKOUT / "systemd" / "prynt-relay.tmpfiles",
    ),
    "config": (
        _PACKAGE / "config" / "config.example.toml",
        _CHECKOUT / "config.example.toml",
    ),
}
NAMES: Final = tuple(_PLACES)


def text(name: str, prefix: Path = DEFAULT_PREFIX) -> str:
    """Return the file called `name` (one of `NAMES`); units name the programs under `prefix`.

    Raises RelayError where the installation lacks the file.
    """
    for place in _PLACES[name]:
        if place.is_file():
            return place.read_text(encoding="utf-8").replace(f"{DEFAULT_PREFIX}/", f"{prefix}/")
    looked = " and ".join(str(place) for place in _PLACES[name])
    raise RelayError(
        f"this installation lacks its {name} file (looked at {looked}); install the wheel again"
    )

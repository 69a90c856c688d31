"""From file, credentials and environment to one checked `Config`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from prynt_relay.config import checks
from prynt_relay.config.keys import BY_PATH, SECTIONS
from prynt_relay.config.kinds import Unfit, check_socket
from prynt_relay.config.settings import (
    Api,
    Config,
    Delivery,
    Egress,
    Email,
    Intake,
    Log,
    Metrics,
    Retention,
)
from prynt_relay.config.sources import Sources, default_file
from prynt_relay.errors import ConfigError
from prynt_relay.model.event import EVENT_TYPES

_STRUCTS: Mapping[str, Any] = {
    "intake": Intake,
    "delivery": Delivery,
    "egress": Egress,
    "api": Api,
    "metrics": Metrics,
    "email": Email,
    "retention": Retention,
    "log": Log,
}


class Loaded(msgspec.Struct, frozen=True):
    """The configuration, and where each key that isn't at its default came from.

    `origins` maps `section.key` to the path of a file or credential, or to `$VARIABLE`.
    `warnings` are lines `SOURCE: section.key: why` about what works, but hardly as it was meant.
    """

    config: Config
    origins: Mapping[str, str]
    file: Path | None
    warnings: tuple[str, ...] = ()


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    need_secrets: bool = True,
) -> Loaded:
    """Read, check and combine everything that sets something.

    `file` is what the command line names; without it `$PRYNT_RELAY_CONFIG`, else
    /etc/prynt-relay/config.toml where it exists. Without `need_secrets` none has to be there that
    the settings ask for: commands that use none run outside the unit, without its credentials.
    Raises ConfigError with all mistakes at once. Reads files, so it blocks.
    """
    file = file or default_file(environ)
    sources = Sources(environ)
    if file is not None:
        sources.read_file(file)
    sources.read_credentials()
    sources.read_environment()

    values: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for path, given in sources.given.items():
        key = BY_PATH[path]
        try:
            values[key.section][key.field] = key.kind.parse(given.value)
        except Unfit as error:
            sources.refuse(given.origin, key, error)
    origins = {path: given.origin for path, given in sources.given.items()}

    def complain(path: str, why: str) -> None:
        origin = origins.get(path) or (str(file) if file is not None else "defaults")
        # A key that is wrong in itself is mended first; the rest may follow from that.
        if not any(f": {path}: " in one for one in sources.problems):
            sources.problems.append(f"{origin}: {path}: {why}")

    _fill_in(values, environ, complain)
    config = _config(values)
    if config is not None:
        checks.check(config, origins, complain)
    if sources.problems or config is None:
        raise ConfigError(sources.problems)
    warnings: list[str] = []

    def warned(path: str, why: str) -> None:
        warnings.append(f"{origins[path]}: {path}: {why}")

    checks.warn(config, warned, need_secrets=need_secrets)
    return Loaded(config, origins, file, tuple(warnings))


def default_state_dir(environ: Mapping[str, str]) -> Path | None:
    """The state folder where none is configured (contract, section 2), None: no home folder."""
    if environ.get("STATE_DIRECTORY"):
        # systemd lists several with colons between; the first is ours.
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME", "").startswith("/"):
        return Path(environ["XDG_STATE_HOME"]) / "prynt-relay"
    home = environ.get("HOME") or _home()
    return Path(home) / ".local/state/prynt-relay" if home else None


def default_socket(environ: Mapping[str, str], state_dir: Path) -> Path:
    """The intake socket where none is configured (contract, section 2)."""
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].split(":")[0]) / "events.sock"
    return state_dir / "events.sock"


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return ""


def _fill_in(
    values: dict[str, dict[str, Any]], environ: Mapping[str, str], complain: checks.Complain
) -> None:
    """Add the defaults that depend on the surroundings or on other settings."""
    top, intake, delivery = values[""], values["intake"], values["delivery"]
    if "state_dir" not in top:
        folder = default_state_dir(environ)
        if folder is None:
            complain("state_dir", "must be set, since there is no home folder to put it in")
            return
        top["state_dir"] = folder.absolute()
    why = checks.readable_folder(top["state_dir"])
    if why:
        complain("state_dir", why)
    if "socket" not in intake:
        socket = default_socket(environ, top["state_dir"])
        try:
            intake["socket"] = check_socket(str(socket))
        except Unfit as error:
            complain("intake.socket", f"must be set to {error.rule}; its default is {socket}")
    # Who lowers the one means the other too.
    if "concurrency" in delivery and "concurrency_per_webhook" not in delivery:
        delivery["concurrency_per_webhook"] = min(
            Delivery().concurrency_per_webhook, delivery["concurrency"]
        )
    # Naming one of the eleven, or one twice, does no harm, also when a later version adds it.
    extra = dict.fromkeys(top.get("extra_event_types", ()))
    top["extra_event_types"] = tuple(name for name in extra if name not in EVENT_TYPES)


def _config(values: dict[str, dict[str, Any]]) -> Config | None:
    """Put the structs together; None where what is required could not be read."""
    if "socket" not in values["intake"]:
        return None
    sections = {name: struct(**values[name]) for name, struct in _STRUCTS.items()}
    return Config(**values[""], **sections)

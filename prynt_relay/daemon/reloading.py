"""SIGHUP: which settings change under a running daemon, and which need a restart."""

from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from prynt_relay.config import checks
from prynt_relay.config.keys import KEYS
from prynt_relay.config.settings import Config
from prynt_relay.telemetry import logs

if TYPE_CHECKING:
    from prynt_relay.daemon.relay import Relay

_log = structlog.get_logger(__name__)

RELOADABLE: Final = (
    "delivery",
    "egress.published_ips",
    "email",
    "log.level",
    "metrics.per_webhook_limit",
    "retention",
)
"""Sections and keys that a reload changes; docs/operations.md lists them."""


_PATHS: Final = {f"{key.section}.{key.field}".lstrip("."): key.path for key in KEYS}
"""What a setting is called in the configuration, by what it is called here."""


def changed_keys(before: Config, after: Config) -> list[str]:
    """The `section.key` of every setting that differs."""
    one, two = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    changed: list[str] = []
    for name, value in one.items():
        other = two[name]
        if isinstance(value, msgspec.Struct) and isinstance(other, msgspec.Struct):
            mine, theirs = msgspec.structs.asdict(value), msgspec.structs.asdict(other)
            changed += [f"{name}.{key}" for key in mine if mine[key] != theirs[key]]
        elif value != other:
            changed.append(name)
    return changed


def is_reloadable(key: str) -> bool:
    """Whether a changed key takes effect without a restart."""
    return key in RELOADABLE or key.split(".", 1)[0] in RELOADABLE


def merged(before: Config, after: Config) -> Config:
    """The running configuration with what can be reloaded taken from the new one."""
    changes: dict[str, Any] = {}
    for key in filter(is_reloadable, changed_keys(before, after)):
        section, _, name = key.partition(".")
        new = getattr(getattr(after, section), name)
        base = changes.get(section, getattr(before, section))
        changes[section] = msgspec.structs.replace(base, **{name: new})
    return msgspec.structs.replace(before, **changes)


def log_warnings(config: Config) -> None:
    """Log which settings have no effect."""

    def warned(path: str, why: str) -> None:
        _log.warning(f"{path}: {why}", action="config_warning", key=path)

    checks.warn(config, warned)


def reload(relay: "Relay", after: Config) -> None:
    """Put a new configuration into force as far as that goes, and say what that was."""
    changed = changed_keys(relay.config, after)
    relay.config = merged(relay.config, after)
    config = relay.config
    logs.set_level(config.log.level)
    relay.dispatcher.reconfigure(
        concurrency=config.delivery.concurrency,
        concurrency_per_webhook=config.delivery.concurrency_per_webhook,
        retry_schedule_s=config.delivery.retry_schedule_s,
        disable_after_s=config.delivery.disable_after_s,
    )
    relay.sender.set_timeout(config.delivery.timeout_s)
    relay.outbox.reconfigure(config.email, ca_file=config.egress.ca_file)
    relay.metrics.set_per_webhook_limit(config.metrics.per_webhook_limit)
    _log.info(
        "configuration reloaded",
        action="reloaded",
        changed=[_PATHS.get(key, key) for key in changed if is_reloadable(key)],
    )
    if any(key.startswith("email.") for key in changed):
        log_warnings(config)
    fixed = [key for key in changed if not is_reloadable(key)]
    if fixed:
        _log.warning(
            "these settings need a restart",
            action="reload_needs_restart",
            keys=[_PATHS.get(key, key) for key in fixed],
        )

"""Rules that concern more than one setting, or the world that they meet."""

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from prynt_relay.config.settings import Config, Listen
from prynt_relay.config.sources import shown

Complain = Callable[[str, str], None]
"""Takes a key's path and what is wrong with it."""

_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound
_NO_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


def check(config: Config, origins: Mapping[str, str], complain: Complain) -> None:
    """Complain of everything that doesn't go together."""
    delivery = config.delivery
    if delivery.concurrency_per_webhook > delivery.concurrency:
        complain(
            "delivery.concurrency_per_webhook",
            f"must be at most delivery.concurrency, which is {delivery.concurrency}, "
            f"not {delivery.concurrency_per_webhook}",
        )
    if len(set(config.encryption_keys)) < len(config.encryption_keys):
        complain("encryption_keys", "must be different keys, but two are the same")
    if config.egress.ca_file is not None:
        _check_ca_file(config.egress.ca_file, complain)
    if _clash(config.api.listen, config.metrics.listen):
        path = "api.listen" if "metrics.listen" not in origins else "metrics.listen"
        complain(path, f"api and metrics can't both listen on port {config.api.listen.port}")
    _check_email(config, complain)


def readable_folder(path: Path) -> str | None:
    """Why `path` can't be the state folder, as far as one can tell without making it."""
    try:
        if path.exists() and not path.is_dir():
            return f"must be a folder, but {shown(str(path))} is none"
    except OSError as error:
        return f"can't be looked at: {error.strerror}"
    return None


def _check_ca_file(path: Path, complain: Complain) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        why = error.reason or str(error)
        complain("egress.ca_file", f"{shown(str(path))} holds no certificates in PEM form ({why})")
    except OSError as error:
        complain("egress.ca_file", f"{shown(str(path))} can't be read: {error.strerror}")


def _clash(one: Listen, other: Listen) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or one.host in _ANYWHERE or other.host in _ANYWHERE


def _check_email(config: Config, complain: Complain) -> None:
    email = config.email
    login = email.username and email.password
    if login and email.tls == "none" and not _is_here(email.host):
        complain(
            "email.tls",
            'must be "starttls" or "implicit", not "none": the password would cross the network '
            "in clear",
        )


def warn(config: Config, complain: Complain, *, need_secrets: bool = True) -> None:
    """Complain of settings without an effect: half of what e-mails need. They stop nothing.

    The key that is named is the one that was given. Half a login only shows with the secrets,
    which not every command is given.
    """
    email = config.email
    if email.host and not email.recipients:
        complain("email.host", "no e-mail is sent, since email.recipients is empty")
    if need_secrets and email.username and not email.password:
        complain("email.username", "nobody logs in to the mail server: email.password is empty")
    if email.password and not email.username:
        complain("email.password", "it is not used: email.username is empty, so there is no login")


def _is_here(host: str) -> bool:
    if not host or host.rstrip(".").lower() in _NO_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def values_of(config: Config, section: str) -> Any:
    """The struct that holds a section's settings; the whole for the top."""
    return getattr(config, section) if section else config

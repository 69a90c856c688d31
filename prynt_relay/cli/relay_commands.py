"""The commands of `prynt-relay`. Each imports what it needs when it runs."""
# ruff: noqa: PLC0415 - `--help` and `--version` answer at once because nothing is imported for them

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_config_option: Callable[[Any], Any] = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration. Default: $PRYNT_RELAY_CONFIG, else /etc/prynt-relay/config.toml "
    "where it exists, else built-in defaults.",
)


@click.command("serve")
@_config_option
def serve(file: Path | None) -> int:
    """Run the daemon in the foreground until it is told to stop.

    SIGTERM and Ctrl-C let what is in flight finish; a second one ends at once. SIGHUP reads the
    configuration again.
    """
    from prynt_relay.config.loader import load

    config = load(file).config
    from prynt_relay import daemon

    return daemon.serve(config, reload=lambda: load(file).config)


@click.command("check-config")
@_config_option
@click.option(
    "--without-secrets",
    is_flag=True,
    help="Read no credentials, and miss none: for the unit's ExecReload, which can't see them.",
)
def check_config(file: Path | None, without_secrets: bool) -> None:
    """Check the configuration and print the settings in force, as TOML, secrets hidden.

    What isn't a default says where it came from. With mistakes it prints a line for each to
    stderr, FILE: section.key: why, and fails. What only has no effect is a warning there.
    """
    from prynt_relay.config.loader import load
    from prynt_relay.config.rendering import render

    # systemd sets the variable for ExecReload too, but before version 257 hides the folder from it.
    unseen = "CREDENTIALS_DIRECTORY" if without_secrets else ""
    environ = {name: value for name, value in os.environ.items() if name != unseen}
    loaded = load(file, environ, need_secrets=not without_secrets)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(render(loaded), nl=False)


@click.command("demo")
def demo() -> int:
    """Run a daemon in a temporary folder, a receiver and a stream of events until Ctrl-C."""
    from prynt_relay.daemon.demo import run

    return run()


@click.command(
    "backup", epilog="\b\nExample:\n  prynt-relay backup /var/backups/relay-$(date +%F).db"
)
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE")
@_config_option
def backup(target: Path, file: Path | None) -> None:
    """Copy the database to FILE, consistently, also while the daemon runs.

    The database is read through a connection that can't write. FILE must not exist.
    """
    from prynt_relay.config.loader import load
    from prynt_relay.store.backup import backup as copy

    state_dir = load(file, need_secrets=False).config.state_dir
    copy(state_dir / "relay.db", target)
    click.echo(f"{target}: {target.stat().st_size:,} bytes")


@click.command("rotate-api-key")
@_config_option
def rotate_api_key(file: Path | None) -> None:
    """Make a new API key and print it. The old one is refused from then on.

    A running daemon needs no restart. Run this as the daemon's user or as root.
    """
    from prynt_relay.api.keys import KEY_FILE, rotate
    from prynt_relay.config.loader import load

    state_dir = load(file, need_secrets=False).config.state_dir
    key = rotate(state_dir)
    click.echo(key)
    click.echo(f"Written to {state_dir / KEY_FILE}; the old key is refused from now on.", err=True)


@click.command("test-email")
@_config_option
def test_email(file: Path | None) -> int:
    """Send a mail to the configured recipients and print the server's answer.

    Fails unless every recipient was accepted.
    """
    import asyncio
    import time

    from prynt_relay.config.loader import load
    from prynt_relay.notify.smtp import send_test

    loaded = load(file)
    config = loaded.config
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    answer = asyncio.run(
        send_test(
            config.email,
            now_ms=time.time_ns() // 1_000_000,
            unique=os.urandom(8).hex(),
            ca_file=config.egress.ca_file,
        )
    )
    for recipient in config.email.recipients:
        click.echo(f"{recipient}: {answer.refused.get(recipient, 'accepted')}")
    click.echo(f"{config.email.host}: {answer.text}")
    return 1 if answer.refused else 0

"""`prynt-relay install`: units, user, configuration and links for the version that runs it."""

import os
from pathlib import Path

import click

from prynt_relay.errors import RelayError
from prynt_relay.ops import files, install


@click.command(
    "install",
    epilog="\b\nExamples:\n"
    "  /opt/prynt-relay/0.1.0/bin/prynt-relay install\n"
    "  prynt-relay install --prefix /srv/prynt-relay\n"
    "  prynt-relay install --root debian/prynt-relay",
)
@click.option(
    "--prefix",
    type=click.Path(path_type=Path),
    default=files.DEFAULT_PREFIX,
    show_default=True,
    help="The folder whose `current` leads to the installed version.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=Path("/"),
    help="Write below this folder and run nothing, to build an image or a package.",
)
def install_command(prefix: Path, root: Path) -> None:
    """Put this version into place as a systemd service; run it again after each upgrade.

    Makes PREFIX/current lead to the virtual environment that this command runs from, and writes
    the units, the user, the publishers' group and a configuration where there is none yet. To go
    back to an older version, run that version's install.
    """
    live = root == Path("/")
    if live and os.geteuid() != 0:
        raise click.ClickException(
            "installing takes root: run it with sudo, or with --root FOLDER to look at what it does"
        )
    try:
        environment = install.current_environment()
        if live:
            install.check_reachable(environment)
        for line in install.put_in_place(files.checked_prefix(prefix), root, environment):
            click.echo(line)
        if live:
            for line in install.apply():
                click.echo(line)
    except RelayError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or prefix}: {error.strerror}") from error
    if live:
        click.echo(
            "\nTo start it, now and at every boot:\n"
            "  systemctl enable --now prynt-relay.socket prynt-relay.service\n"
            "To have a running one become this version:\n"
            "  systemctl restart prynt-relay.service\n"
            "To let a user publish:\n"
            "  usermod --append --groups prynt USER"
        )

"""`prynt-relay print`: the operators' files, from whatever is installed."""

from pathlib import Path
from typing import Final

import click

from prynt_relay.errors import RelayError
from prynt_relay.ops import files

WHAT: Final = {
    "alerts": "alert rules for Prometheus",
    "dashboard": "a dashboard for Grafana, as JSON to import",
    "scrape": "a scrape configuration for Prometheus",
    "unit": "the systemd service",
    "socket": "the systemd socket that the service is activated by",
    "backoff": "a drop-in for the service, for systemd 254 and later",
    "sysusers": "the user and the publishers' group, for systemd-sysusers",
    "tmpfiles": "the runtime folders, for systemd-tmpfiles",
    "config": "a configuration with every key, its default and what it means",
}


@click.command(
    "print",
    epilog="\b\nWhat there is:\n"
    + "\n".join(f"  {name:10} {text}" for name, text in WHAT.items())
    + "\n\n\b\nExamples:\n"
    "  prynt-relay print alerts > /etc/prometheus/prynt-relay-alerts.yml\n"
    "  prynt-relay print unit --prefix /srv/prynt-relay",
)
@click.argument("name", type=click.Choice(list(WHAT)), metavar="WHAT")
@click.option(
    "--prefix",
    type=click.Path(path_type=Path),
    default=files.DEFAULT_PREFIX,
    show_default=True,
    help="Where prynt-relay is installed; units name its programs.",
)
def print_file(name: str, prefix: Path) -> None:
    """Print one of the files that operators put in place."""
    try:
        if name == "dashboard":
            # Imported here: it is the only one that is generated.
            from prynt_relay.ops import dashboard  # noqa: PLC0415 - keeps --help instant

            click.echo(dashboard.render(), nl=False)
        else:
            click.echo(files.text(name, files.checked_prefix(prefix)), nl=False)
    except RelayError as error:
        raise click.ClickException(str(error)) from error

"""`prynt`: the operator's command line, and how it ends."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from prynt_relay.cli.prynt.lazy_group import LazyGroup
from prynt_relay.cli.prynt.options import connection_options, examples
from prynt_relay.cli.standard_streams import open_closed_streams, output_failure
from prynt_relay.escape import safe_line
from prynt_relay.version import __version__

_CLI: Final = "prynt_relay.cli.prynt"


@click.group(
    cls=LazyGroup,
    subcommands={
        "webhooks": (f"{_CLI}.webhooks_group:webhooks", "Webhooks and their deliveries."),
        "events": (f"{_CLI}.events_group:events", "The events that the relay received."),
        "listen": (f"{_CLI}.listen_command:listen", "Receive, verify and print webhooks here."),
        "completion": (f"{_CLI}.completion_command:completion", "Set up completion in a shell."),
    },
    epilog=examples(
        "prynt webhooks create https://yourapp.com/webhooks/prynt --events verdict.block",
        "prynt webhooks deliveries wh_3kR8mNqT7xP2v --state failed --since 24h",
        "prynt webhooks inspect del_x9K2mNpR7jT3q",
        "prynt webhooks retry wh_3kR8mNqT7xP2v --since 24h",
        "prynt webhooks test --url http://localhost:3000/webhooks/prynt",
        "prynt listen --port 3000",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@connection_options
@click.version_option(__version__, package_name="prynt-relay", prog_name="prynt")
def prynt() -> None:
    """Manage prynt-relay: webhooks, deliveries and events."""


def main(args: Sequence[str] | None = None) -> int:
    """Run `prynt` and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A locale that lacks a character must not end the command half-way.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result = prynt.main(args, prog_name="prynt", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "prynt"
        _complain(f"{where}: {error.format_message().rstrip('.')} (see `{where} --help`)")
        return error.exit_code
    except click.ClickException as error:
        _complain(f"prynt: {error.format_message()}")
        return error.exit_code
    except click.Abort:
        return 130
    except OSError as error:
        if (why := output_failure(error)) is None:
            raise
        if why:
            _complain(f"prynt: {why}")
        return 1
    return result if isinstance(result, int) else 0


def _complain(text: str) -> None:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    click.echo(click.style(safe_line(text), fg="red") if colour else safe_line(text), err=True)

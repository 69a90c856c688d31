"""`prynt-relay`: the daemon's command line, and how it ends (contract, section 1)."""

import sys
from collections.abc import Sequence
from typing import Final

import click

from prynt_relay.cli.prynt.lazy_group import LazyGroup
from prynt_relay.cli.standard_streams import open_closed_streams, output_failure
from prynt_relay.errors import ConfigError, RelayError, StateFolderLockedError
from prynt_relay.version import __version__

EXIT_FAILED: Final = 1
EXIT_LOCKED: Final = 3
EXIT_INTERRUPTED: Final = 130

_COMMANDS: Final = "prynt_relay.cli.relay_commands"


@click.group(
    cls=LazyGroup,
    subcommands={
        "serve": (f"{_COMMANDS}:serve", "Run the daemon in the foreground; it logs to stderr."),
        "check-config": (f"{_COMMANDS}:check_config", "Check and print the effective settings."),
        "demo": (f"{_COMMANDS}:demo", "Watch the whole way of events, in a temporary folder."),
        "backup": (f"{_COMMANDS}:backup", "Copy the live database."),
        "rotate-api-key": (f"{_COMMANDS}:rotate_api_key", "Make a new API key, at once."),
        "test-email": (f"{_COMMANDS}:test_email", "Send a mail to the configured recipients."),
        "install": (
            "prynt_relay.cli.install_command:install_command",
            "Put this version into place as a systemd service.",
        ),
        "print": (
            "prynt_relay.cli.print_command:print_file",
            "Print alert rules, a dashboard, units and more.",
        ),
    },
    epilog="\b\nExamples:\n"
    "  prynt-relay demo\n"
    "  prynt-relay serve --config /etc/prynt-relay/config.toml\n"
    "  prynt-relay backup /var/backups/relay.db",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, package_name="prynt-relay", prog_name="prynt-relay")
def prynt_relay() -> None:
    """Deliver events from a local socket to webhooks: durable, signed, retried."""


def main(args: Sequence[str] | None = None) -> int:
    """Run `prynt-relay` and return its exit code.

    0 done, 1 failed, 2 wrong usage, 3 another daemon holds the state folder, 130 interrupted.
    """
    open_closed_streams()
    try:
        result = prynt_relay.main(args, prog_name="prynt-relay", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except (click.ClickException, RelayError) as error:
        return _failed(error)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except OSError as error:
        if (why := output_failure(error)) is None:
            raise
        if why:
            _complain(f"prynt-relay: {why}")
        return EXIT_FAILED
    return result if isinstance(result, int) else 0


def _failed(error: click.ClickException | RelayError) -> int:
    """Say what went wrong, a line for each mistake, and return the exit code."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            _complain(problem)
        return EXIT_FAILED
    if isinstance(error, RelayError):
        _complain(f"prynt-relay: {error}")
        return EXIT_LOCKED if isinstance(error, StateFolderLockedError) else EXIT_FAILED
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "prynt-relay"
        _complain(f"{where}: {error.format_message().rstrip('.')}. Try `{where} --help`.")
    else:
        _complain(f"prynt-relay: {error.format_message()}")
    return error.exit_code


def _complain(text: str) -> None:
    """Write one line of printable characters to stderr."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    click.echo(flat, err=True)

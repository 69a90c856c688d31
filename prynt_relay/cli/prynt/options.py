"""The options that many commands share; light, since `--help` loads them.

`--json`, `--api-url` and `--api-key` work before and after a subcommand; the last one wins.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # Only what was given: a subcommand's default must not undo what stood before it.
    if value:
        context.meta[f"prynt.{parameter.name}"] = value


_OPTIONS: Final = (
    click.option(
        "--json", "json", is_flag=True, expose_value=False, callback=_remember,
        help="Print JSON as the API answers it.",
    ),
    click.option(
        "--api-url", metavar="URL", expose_value=False, callback=_remember,
        help="The API's address. [$PRYNT_API_URL; default: http://127.0.0.1:8420]",
    ),
    click.option(
        "--api-key", metavar="KEY", expose_value=False, callback=_remember,
        help="The API key. [$PRYNT_API_KEY, $PRYNT_API_KEY_FILE; default: the daemon's key file]",
    ),
)  # fmt: skip


def connection_options(command: _F) -> _F:
    """Add `--json`, `--api-url` and `--api-key` to a command or a group."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def yes_option(command: _F) -> _F:
    """Add `--yes` to a command that asks."""
    return click.option("--yes", "-y", is_flag=True, help="Don't ask for confirmation.")(command)


def examples(*lines: str) -> str:
    """Return the end of a command's help, lines of examples that are kept as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)

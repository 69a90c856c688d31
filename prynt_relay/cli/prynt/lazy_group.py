"""Groups that import a subcommand's module only when it is called: `--help` stays instant."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click

from prynt_relay.escape import safe_line


class LazyGroup(click.Group):
    """A group whose subcommands are `name: (module:attribute, one line of help)`."""

    def __init__(
        self, *args: Any, subcommands: Mapping[str, tuple[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they are used."""
        return list(self.subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in self.subcommands:
            return None
        place, short_help = self.subcommands[cmd_name]
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.short_help = short_help  # for completion
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.subcommands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; a misspelt one is answered with the nearest."""
        name = args[0]
        if name in self.subcommands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, self.subcommands, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.subcommands)}."
        raise click.UsageError(f"no such command {safe_line(name)!r}; {hint}", ctx)

"""`prynt completion`."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from prynt_relay.cli.prynt.options import connection_options, examples

_SETUP: Final = {
    "bash": "echo 'eval \"$(prynt completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(prynt completion zsh)\"' >> ~/.zshrc",
    "fish": "prynt completion fish > ~/.config/fish/completions/prynt.fish",
}


@click.command(epilog=examples(*_SETUP.values()))
@click.argument("shell", type=click.Choice(list(_SETUP)), required=False, metavar="[bash|zsh|fish]")
@connection_options
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print a shell's completion script, or without SHELL how to set it up.

    Completes commands, options, event types and, where the daemon answers, webhooks.
    """
    if shell is None:
        click.echo("Set it up once, for new shells:")
        for name, line in _SETUP.items():
            click.echo(f"  {name:<5} {line}")
        return
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "prynt", "_PRYNT_COMPLETE").source())

"""What the commands that list have in common."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from prynt_relay.cli.prynt.terminal import Terminal
from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.moments import parse_moment

_F = TypeVar("_F", bound=Callable[..., Any])


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """A moment as the API takes it, and as it was typed: what it means is the daemon's to say."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text; BadParameter where it names no moment."""
        try:
            parse_moment(self.name, value, round(time.time() * 1000))
        except InvalidFieldError as error:
            raise click.BadParameter(error.reason, ctx, param) from None
        return value


WHEN: Final = Moment()


def list_options(default: int = 20) -> Callable[[_F], _F]:
    """Add `--limit`, over as many pages as it takes, and `--cursor`, to go on from an answer."""

    def decorate(command: _F) -> _F:
        command = click.option(
            "--cursor", metavar="CURSOR", help="Go on where a list with this nextCursor ended."
        )(command)
        return click.option(
            "--limit",
            type=click.IntRange(min=1),
            default=default,
            show_default=True,
            metavar="N",
            help="How many rows at most.",
        )(command)

    return decorate


def window_options(command: _F) -> _F:
    """Add `--since` and `--until`, as the API takes them."""
    for name, meaning in (("until", "before"), ("since", "from")):
        command = click.option(
            f"--{name}",
            type=WHEN,
            metavar="WHEN",
            help=f"Only what came in {meaning} then: 24h back from now, or ISO 8601.",
        )(command)
    return command


def tell_of_more(terminal: Terminal, answer: Mapping[str, Any]) -> None:
    """Say that the list goes on, where it does."""
    if answer["nextCursor"] is not None:
        terminal.notice(
            f"There is more: --limit {len(answer['data']) * 5}, or --cursor {answer['nextCursor']}"
        )

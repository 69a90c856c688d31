"""The group `prynt events`."""

from typing import Final

import click

from prynt_relay.cli.prynt.lazy_group import LazyGroup
from prynt_relay.cli.prynt.options import connection_options, examples

_HERE: Final = "prynt_relay.cli.prynt.event_commands"


@click.group(
    cls=LazyGroup,
    subcommands={
        "list": (f"{_HERE}:list_events", "List received events, the newest first."),
        "get": (f"{_HERE}:get", "Show an event, its data and its deliveries."),
        "send": (f"{_HERE}:send", "Hand the relay one event or many."),
    },
    epilog=examples(
        "prynt events list --type verdict.block --since 1h",
        "prynt events get evt_9fJ3kL7mNpR2x",
        "prynt events send verdict.block --data @event.json",
    ),
)
@connection_options
def events() -> None:
    """Look at received events, or send some."""

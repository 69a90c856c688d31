"""The group `prynt webhooks`."""

from typing import Final

import click

from prynt_relay.cli.prynt.lazy_group import LazyGroup
from prynt_relay.cli.prynt.options import connection_options, examples

_HERE: Final = "prynt_relay.cli.prynt.webhook_commands"
_FIELDS: Final = "prynt_relay.cli.prynt.webhook_edit_commands"
_LOG: Final = "prynt_relay.cli.prynt.delivery_commands"
_TEST: Final = "prynt_relay.cli.prynt.test_command"
_STREAM: Final = "prynt_relay.cli.prynt.stream_command"


@click.group(
    cls=LazyGroup,
    subcommands={
        "list": (f"{_HERE}:list_webhooks", "List the webhooks."),
        "create": (f"{_FIELDS}:create", "Create a webhook and show its signing secret."),
        "get": (f"{_HERE}:get", "Show one webhook."),
        "update": (f"{_FIELDS}:update", "Change a webhook."),
        "enable": (f"{_HERE}:enable", "Enable a webhook."),
        "disable": (f"{_HERE}:disable", "Disable a webhook; its events are held."),
        "delete": (f"{_HERE}:delete", "Delete a webhook."),
        "rotate-secret": (f"{_HERE}:rotate_secret", "Make a new signing secret."),
        "deliveries": (f"{_LOG}:deliveries", "List deliveries, the newest first."),
        "inspect": (f"{_LOG}:inspect", "Show a delivery's requests and responses."),
        "test": (
            f"{_TEST}:test",
            "Send a sample event and show the answer.",
        ),
        "retry": (f"{_LOG}:retry", "Send failed deliveries again."),
        "stream": (f"{_STREAM}:stream", "Show attempts as they happen."),
    },
    epilog=examples(
        "prynt webhooks list",
        "prynt webhooks deliveries wh_3kR8mNqT7xP2v --limit 20",
        "prynt webhooks test wh_3kR8mNqT7xP2v --event identification.complete",
    ),
)
@connection_options
def webhooks() -> None:
    """Manage webhooks and look at their deliveries."""

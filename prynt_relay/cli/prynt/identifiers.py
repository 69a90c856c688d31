"""Arguments that are ids, event types or files, with what the shell completes them to."""

from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from prynt_relay.cli.prynt.json_text import parse_json
from prynt_relay.escape import safe_line

_WORDS: Final = {
    "wh_": ("a webhook", "prynt webhooks get"),
    "del_": ("a delivery", "prynt webhooks inspect"),
    "evt_": ("an event", "prynt events get"),
}
_COMPLETION_TIMEOUT_S: Final = 1.0


class Identifier(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """An id of one kind. Another kind's is refused; whether it exists is the API's to say."""

    name = "id"

    def __init__(self, *prefixes: str) -> None:
        self.prefixes = prefixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the id; BadParameter names the command for another kind's."""
        text = str(value)
        if text.startswith(self.prefixes):
            return text
        wanted = " or ".join(f"{prefix}…" for prefix in self.prefixes)
        for prefix, (noun, command) in _WORDS.items():
            if text.startswith(prefix):
                why = f"{safe_line(text)} is {noun}, see `{command}`; wanted {wanted}"
                raise click.BadParameter(why, ctx, param)
        raise click.BadParameter(f"{safe_line(text)!r} is no id; wanted {wanted}", ctx, param)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the webhooks of a daemon that answers at once, else nothing."""
        if "wh_" not in self.prefixes or not "wh_".startswith(incomplete[:3]):
            return []
        return [item for item in _webhooks(ctx) if item.value.startswith(incomplete)]


def _webhooks(ctx: click.Context) -> list[CompletionItem]:
    # Completion must never disturb the prompt: no daemon, no key, a bad answer: no suggestions.
    from prynt_relay.cli.prynt.session import Session  # noqa: PLC0415 - heavy, and only for a TAB

    try:
        client = Session(ctx).connect(_COMPLETION_TIMEOUT_S)
        rows = client.get("/v1/webhooks", {"limit": 100}).value["data"]
        return [
            CompletionItem(safe_line(row["id"]), help=safe_line(row["url"])[:60]) for row in rows
        ]
    except (click.ClickException, LookupError, TypeError):
        return []


class EventType(click.ParamType):  # type: ignore[type-arg]  # the same
    """An event type; any name is let through, the relay may know more than the eleven."""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name as it is."""
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the specification's eleven."""
        from prynt_relay.model.event import EVENT_TYPES  # noqa: PLC0415 - only for a TAB

        return [CompletionItem(name) for name in EVENT_TYPES if name.startswith(incomplete)]


def json_object(text: str, what: str) -> dict[str, Any]:
    """Return the JSON object in `text`; click.UsageError naming `what` where there is none."""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise click.UsageError(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"{what} is not a JSON object")
    return value


WEBHOOK: Final = Identifier("wh_")
DELIVERY: Final = Identifier("del_")
EVENT: Final = Identifier("evt_")
WEBHOOK_OR_DELIVERY: Final = Identifier("wh_", "del_")
EVENT_TYPE: Final = EventType()

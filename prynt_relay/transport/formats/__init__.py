"""Body formats: one file per dialect behind one door (contract, sections 4 and 9).

To add a dialect: a file with `CONTENT_TYPE`, `accepts` and `render` as `Dialect` describes them, a
member of `Format` (its number is stored: append only), and a line in `_DIALECTS`.
"""

from collections.abc import Sequence
from typing import Final, Protocol, cast

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.transport.formats import cloudevents, fingerprint, prynt, slack


class Dialect(Protocol):
    """What a dialect's file offers."""

    CONTENT_TYPE: str
    """The value of the request's `Content-Type`."""

    @staticmethod
    def accepts(event_type: str) -> bool:
        """Whether events of this type can be told in this dialect."""
        ...

    @staticmethod
    def render(event: StoredEvent, webhook_id: str) -> bytes:
        """Return the body; never raises for an event whose `data` is a JSON object."""
        ...


_DIALECTS: Final[dict[Format, Dialect]] = {
    Format.PRYNT: cast(Dialect, prynt),
    Format.FINGERPRINT: cast(Dialect, fingerprint),
    Format.CLOUDEVENTS: cast(Dialect, cloudevents),
    Format.SLACK: cast(Dialect, slack),
}


def render(format: Format, event: StoredEvent, webhook_id: str) -> bytes:
    """Return the body of a delivery of `event` to the webhook with this id.

    The same bytes on every attempt. Never raises for an event that intake let in.
    """
    return _DIALECTS[format].render(event, webhook_id)


def content_type(format: Format) -> str:
    """Return the `Content-Type` of this format's bodies."""
    return _DIALECTS[format].CONTENT_TYPE


def accepts(format: Format, event_type: str) -> bool:
    """Whether events of this type can be sent in this format; subscribing to others is refused."""
    return _DIALECTS[format].accepts(event_type)


def summary(events: Sequence[StoredEvent]) -> bytes:
    """The body that stands for several events at once, in their order: Slack's folded burst."""
    return slack.summary(events)

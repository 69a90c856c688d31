"""Server-Sent Events (WHATWG HTML, 9.2), followed across interruptions."""

import http.client
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prynt_relay.cli.prynt.api_client import ApiClient
from prynt_relay.cli.prynt.failures import CommandError

IDLE_S: Final = 60.0
"""A stream silent for this long is dead: the daemon's heartbeats come more often."""

_MAX_LINE: Final = 4 * 1024 * 1024  # a line longer than any event: the connection is given up
_LONGEST_WAIT_S: Final = 15.0


class StreamEvent(NamedTuple):
    """One event of a stream; `id` is what a resumption names.

    One without data only says from where to resume: the standard has it change nothing else.
    """

    name: str
    data: str
    id: str | None


def parse_events(lines: Iterator[bytes]) -> Iterator[StreamEvent | None]:
    """Yield the events of a stream, and None for each heartbeat (a comment)."""
    name, data, last_id, fresh_id = "message", list[str](), None, False
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data or fresh_id:
                yield StreamEvent(name, "\n".join(data), last_id)
            name, data, fresh_id = "message", [], False
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            yield None
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id, fresh_id = value, True


def follow(
    client: ApiClient,
    path: str,
    *,
    lost: Callable[[str, float], None],
    opened: Callable[[bool, bool], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[StreamEvent]:
    """Yield a stream's events for ever, going on after the last one when the connection breaks.

    `opened(again, resumed)` is told of each connection, `lost(why, wait_s)` of each break. Raises
    CommandError where the first connection fails, or the API refuses.
    """
    last_id: str | None = None
    wait_s, connected_once = 1.0, False
    while True:
        why = "the daemon ended it"
        try:
            response = client.stream(path, last_id)
            opened(connected_once, last_id is not None)
            connected_once = True
            for event in parse_events(_lines(response)):
                wait_s = 1.0
                if event is not None:
                    last_id = event.id or last_id
                    if event.data:
                        yield event
        except (OSError, http.client.HTTPException) as error:
            if not connected_once:
                raise CommandError(str(error)) from error
            why = str(error) or type(error).__name__
        client.close()
        lost(why, wait_s)
        sleep(wait_s)
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while line := response.readline(_MAX_LINE):
        if not line.endswith(b"\n"):
            break  # cut off, or endless: what is half is not shown
        yield line

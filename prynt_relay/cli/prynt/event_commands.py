"""`prynt events list`, `get` and `send`."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from prynt_relay.cli.prynt.api_client import Answer, path_of
from prynt_relay.cli.prynt.event_view import list_events as show_list
from prynt_relay.cli.prynt.event_view import show_event
from prynt_relay.cli.prynt.failures import CommandError
from prynt_relay.cli.prynt.identifiers import EVENT, EVENT_TYPE, json_object
from prynt_relay.cli.prynt.json_text import parse_json, value_end
from prynt_relay.cli.prynt.list_options import list_options, tell_of_more, window_options
from prynt_relay.cli.prynt.options import examples
from prynt_relay.cli.prynt.session import Session, with_session, write_json
from prynt_relay.cli.prynt.terminal import Cell
from prynt_relay.model.catalogue import sample_data

_BATCH: Final = 1000  # the API's most (contract, section 6)
_BATCH_BYTES: Final = 7 * 1024 * 1024  # under the API's 8 MiB a request


@click.command(name="list", epilog=examples("prynt events list --type verdict.block --since 1h"))
@click.option(
    "--type", "--event", "event_type", type=EVENT_TYPE, metavar="TYPE", help="Only of this type."
)
@window_options
@list_options()
@with_session
def list_events(
    session: Session,
    event_type: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the events that the relay received, the newest first."""
    params = {"eventType": event_type, "since": since, "until": until}
    answer = session.client.rows(path_of("events"), params, limit, cursor)
    if session.json:
        session.print_json(answer)
    elif answer.value["data"]:
        show_list(session.terminal, answer.value["data"])
        tell_of_more(session.terminal, answer.value)
    else:
        narrowed = any(params.values())
        session.terminal.notice("No event is like that." if narrowed else "No events came in yet.")


@click.command()
@click.argument("event", type=EVENT)
@with_session
def get(session: Session, event: str) -> None:
    """Show an event with its data and where it went."""
    answer = session.client.get(path_of("events", event))
    if session.json:
        session.print_json(answer)
    else:
        show_event(session.terminal, answer.text, answer.value)


@click.command(
    epilog=examples(
        'prynt events send verdict.block --data \'{"visitorId": "pv_8kX2mNqR3jT7p"}\'',
        "prynt events send verdict.block --data @event.json --idempotency-key order-1",
        "prynt events send verdict.block --sample",
        "prynt events send --file events.jsonl      # one object a line, or an array",
    )
)
@click.argument("event_type", metavar="[TYPE]", type=EVENT_TYPE, required=False)
@click.option("--data", metavar="JSON|@FILE|-", help="The event's data, passed on byte for byte.")
@click.option("--sample", is_flag=True, help="Send a realistic made-up event of this type.")
@click.option("--file", "file_", metavar="FILE|-", help="Send many: JSON Lines or an array.")
@click.option("--event-id", metavar="ID", help="The event's own id (evt_…).")
@click.option("--idempotency-key", metavar="KEY", help="The same key again stores nothing new.")
@click.option("--created-at", metavar="MOMENT", help="When it happened, ISO 8601 in UTC.")
@with_session
def send(
    session: Session,
    event_type: str | None,
    data: str | None,
    file_: str | None,
    event_id: str | None,
    idempotency_key: str | None,
    created_at: str | None,
    *,
    sample: bool,
) -> None:
    """Hand the relay one event, or many; it delivers each to the webhooks that want it."""
    own = {"eventId": event_id, "idempotencyKey": idempotency_key, "createdAt": created_at}
    given = {name: value for name, value in own.items() if value is not None}
    if file_ is not None:
        if event_type or data or sample or given:
            raise click.UsageError("--file holds everything; leave the rest out")
        _send_file(session, file_)
        return
    if event_type is None:
        raise click.UsageError("name the event's type, or a --file of events")
    if (data is None) != sample:
        raise click.UsageError("give either --data or --sample")
    text = _data_text(data) if data is not None else json.dumps(sample_data(event_type))
    head = json.dumps({"eventType": event_type, **given})
    # The data's own text is spliced in: decoding and encoding it could change its numbers.
    raw = f'{head[:-1]}, "data": {text}}}'.encode()
    answer = session.client.send("POST", path_of("events"), raw=raw)
    _tell(session, answer)


def _data_text(option: str) -> str:
    text = option
    if option == "-" or option.startswith("@"):
        text = _read(option.removeprefix("@"))
    json_object(text, "--data")
    return text


def _read(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        raise CommandError(f"can't read {name}: {why}") from error


def _send_file(session: Session, name: str) -> None:
    text = _read(name)
    total = duplicates = 0
    texts = list(_event_texts(text, name))  # all are looked at before any is sent
    for batch in _batches(texts):
        raw = ("[" + ",".join(batch) + "]").encode()
        answer = session.client.send("POST", path_of("events"), raw=raw)
        if session.json:
            for each in answer.value:
                write_json(json.dumps(each))
            continue
        total += len(answer.value)
        duplicates += sum(1 for each in answer.value if each["duplicate"])
    if not session.json:
        text = "1 event is stored" if total == 1 else f"{total:,} events are stored"
        session.terminal.say(f"{text}, {duplicates:,} of them before" if duplicates else text)


def _event_texts(text: str, name: str) -> Iterator[str]:
    """Yield each event's own JSON text, from an array or from lines."""
    if not text.lstrip().startswith("["):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                json_object(line, f"{name}, line {number}")
                yield line
        return
    try:
        parse_json(text)
    except ValueError as error:
        raise click.UsageError(f"{name} is not JSON: {error}") from error
    at = text.index("[") + 1
    while text[at] != "]":
        if text[at] in " \t\r\n,":
            at += 1
            continue
        end = value_end(text, at)
        yield text[at:end]
        at = end


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode()) + 1
        if batch and (len(batch) >= _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    if batch:
        yield batch


def _tell(session: Session, answer: Answer) -> None:
    if session.json:
        session.print_json(answer)
        return
    value: Any = answer.value
    known = " (it was known already)" if value["duplicate"] else ""
    session.terminal.say(Cell(value["eventId"], "bold"), f" is stored{known}")
    session.terminal.notice(f"Where it goes: prynt events get {value['eventId']}")

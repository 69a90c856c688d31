"""A coverage-guided fuzzer of the intake protocol: `python -m tests.fuzz.fuzz_intake [CORPUS]`.

Needs atheris (the extra `fuzz`). It takes libFuzzer's options, such as `-max_total_time=60`. What
makes it fail is written to a file, which as an argument reproduces the failure.
"""

import asyncio
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import atheris

with atheris.instrument_imports(include=["prynt_relay.intake"]):
    from prynt_relay.intake.acceptor import Acceptor
    from prynt_relay.intake.connection import Connection
    from prynt_relay.intake.protocol import EventParser, is_array
    from prynt_relay.intake.pump import Pump

from prynt_relay.errors import RefusedEventError
from prynt_relay.intake.grammar import MAX_DATA_DEPTH, depth
from prynt_relay.model.event import EVENT_TYPES, Append, Appended, NewEvent, Target
from tests.unit.intake_judge import CODES, is_json, outcome
from tests.unit.intake_lines import BAD_LINES, GOOD_DATA, request_line

PARSER = EventParser(event_types=EVENT_TYPES, api_version="1", max_payload=2000)
LOOP = asyncio.new_event_loop()


class Surroundings:
    """A store that answers at once; also the registry, the dispatcher and the metrics."""

    def targets(self, event: NewEvent) -> tuple[Target, ...]:
        return ()

    def revised(self, event: NewEvent, targets: Iterable[Target]) -> tuple[Target, ...]:
        return tuple(targets)

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        future: asyncio.Future[list[Appended]] = LOOP.create_future()
        future.set_result([Appended("evt_9fJ3kL7mNpR2x")] * len(batch))
        return future

    async def room(self) -> None:
        """Return at once."""

    def appended(self, batch: Sequence[tuple[Append, Appended]]) -> None:
        """Drop it."""

    def events_received(self, event_type: str, n: int = 1) -> None:
        """Count nothing."""

    def event_rejected(self, code: str, n: int = 1) -> None:
        """Count nothing."""


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def set_write_buffer_limits(self, high: int) -> None:
        """Have no limits."""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Go on all the same: reading a little more is allowed."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        self.closed = True


def check_line(line: bytes) -> None:
    found = outcome(PARSER.parse, line)
    assert found == outcome(PARSER._parse_refused, line) or len(line) > PARSER.max_line
    if found == "invalid_json":
        assert not is_json(line) or depth(line) > MAX_DATA_DEPTH
    elif len(line) <= PARSER.max_line:
        assert is_json(line)
    if isinstance(found, NewEvent):
        members = json.loads(line, parse_int=str, parse_float=str)
        assert found.event_type == members["eventType"]
        assert found.data in line
        assert json.loads(found.data, parse_int=str, parse_float=str) == members["data"]


def check_body(body: bytes) -> None:
    try:
        events = PARSER.parse_many(body)
    except RefusedEventError as error:
        refused = error
    else:
        parsed: Any = json.loads(body, parse_int=str, parse_float=str)
        assert len(events) == (len(parsed) if is_array(body) else 1)
        return
    assert refused.code in CODES


async def answers(pieces: list[bytes]) -> list[dict[str, Any]]:
    around = Surroundings()
    acceptor = Acceptor(
        parser=PARSER, registry=around, store=around, dispatcher=around, metrics=around
    )
    transport = Transport()
    connection = Connection(acceptor, Pump(acceptor))
    connection.connection_made(cast(asyncio.Transport, transport))
    for piece in pieces:
        connection.data_received(piece)
    if not connection.eof_received():
        transport.close()
    for _ in range(100):  # turns of the pump
        if transport.closed:
            break
        await asyncio.sleep(0)
    assert transport.closed
    connection.connection_lost(None)
    return [json.loads(line) for line in transport.written.splitlines()]


def check_stream(stream: bytes, cuts: bytes) -> None:
    lines = [line for line in stream.split(b"\n") if line not in {b"", b"\r"}]
    places = sorted({cut % (len(stream) + 1) for cut in cuts})
    edges = [0, *places, len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]
    whole = LOOP.run_until_complete(answers([stream]))
    assert len(whole) == len(lines)
    assert LOOP.run_until_complete(answers([piece for piece in pieces if piece])) == whole


def test_one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind == b"b":
        check_body(rest)
    elif kind == b"s":
        check_stream(rest[8:], rest[:8])
    else:
        check_line(rest.replace(b"\n", b" "))


def write_corpus(folder: Path) -> None:
    lines = [line for line, _ in BAD_LINES if len(line) < 500]
    lines += [request_line(data) for data in GOOD_DATA if len(data) < 500]
    for number, line in enumerate(lines):
        (folder / f"line-{number}").write_bytes(b"l" + line)
    (folder / "body").write_bytes(b"b[" + b",".join(lines[-5:]) + b"]")
    (folder / "stream").write_bytes(b"s\x01\x09\x20\x31\x40\x41\x42\x43" + b"\n".join(lines[::7]))

    words = ["eventType", "data", "eventId", "idempotencyKey", "createdAt", "visitor.new", "null"]
    entries = [f'"\\"{word}\\""' for word in words]
    entries += ['"\\\\ud800"', '"\\\\u0022"', '"1e999"', '"\\xff"', '"\\x0a"']
    (folder / "words.dict").write_text("\n".join(entries))


def main() -> None:
    if any(Path(argument).is_file() for argument in sys.argv[1:]):
        atheris.Setup(sys.argv, test_one_input)  # reproduces these, and no more
        atheris.Fuzz()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        write_corpus(corpus)
        dictionary = (corpus / "words.dict").rename(Path(folder) / "words.dict")
        atheris.Setup([*sys.argv, f"-dict={dictionary}", str(corpus)], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

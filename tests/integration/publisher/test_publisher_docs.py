"""What the docs tell publishers is so: each block runs, each table is the code's."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.intake.protocol import EventParser, acceptance
from prynt_relay.model.event import EVENT_TYPES, Appended
from prynt_relay.publisher import __all__ as exported
from prynt_relay.telemetry.metrics import REJECTION_CODES
from tests.docs_blocks import docs_text
from tests.integration.publisher.relay_thread import RelayThread
from tests.programs import program

SOCKET = "/run/prynt-relay/events.sock"
PAGE = (Path(__file__).parents[3] / "docs" / "publishers.md").read_text()


@pytest.fixture
def relay() -> Iterator[RelayThread]:
    with RelayThread() as relay:
        yield relay


def at(path: Path, text: str) -> str:
    """The block as it stands, with the socket of the test."""
    assert SOCKET in text
    return text.replace(SOCKET, str(path))


def run(*command: str, folder: Path, status: int = 0) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_protocols_example(relay: RelayThread) -> None:
    """The request is taken as it stands, and the answers look like the documented ones."""
    parser = EventParser(event_types=EVENT_TYPES, api_version="1", max_payload=262_144)
    event = parser.parse(docs_text("publishers-request").encode())
    assert event.idempotency_key == "order-4711"
    answer = json.loads(docs_text("publishers-answer"))
    assert answer == acceptance(Appended(answer["eventId"]))
    refusal = json.loads(docs_text("publishers-refusal"))
    with pytest.raises(Exception, match="is not a known type") as refused:
        parser.parse(b'{"eventType":"verdict.blok","data":{}}')
    shown = refusal["error"]["message"].rstrip("…")
    assert refusal == {"ok": False, "error": {"code": "unknown_event_type", "message": shown + "…"}}
    assert str(refused.value).startswith(shown)


def test_the_tables() -> None:
    """All keys, all codes and all outcomes are there, and no others."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"\w+", row)]
    keys = ["eventType", "data", "idempotencyKey", "eventId", "createdAt"]
    outcomes = set(exported) - {"Publisher", "AsyncPublisher", "PublishError"}
    assert sorted(names) == sorted([*keys, *REJECTION_CODES, *outcomes])


def test_python(relay: RelayThread, tmp_path: Path) -> None:
    """The library's example prints an id, a thousand events stored and what was refused."""
    printed = run(
        sys.executable, "-c", at(relay.path, docs_text("publishers-python")), folder=tmp_path
    )
    first, many, refused = printed.splitlines()
    assert re.fullmatch(r"evt_[0-9A-Za-z]{13} False", first)
    assert (many, refused) == ("1000 stored", "refused: unknown_event_type")


def test_asyncio(relay: RelayThread, tmp_path: Path) -> None:
    """The same with asyncio."""
    code = at(relay.path, docs_text("publishers-asyncio"))
    assert run(sys.executable, "-c", code, folder=tmp_path) == "1000 stored\n"
    assert relay.rig.store.numbers == list(range(1000))


def test_node(relay: RelayThread, tmp_path: Path) -> None:
    """The module publishes, and lets the program end."""
    node = program("node", "nodejs")
    (tmp_path / "publisher.mjs").write_text(docs_text("publishers-node"))
    (tmp_path / "use.mjs").write_text(at(relay.path, docs_text("publishers-node-use")))
    assert re.fullmatch(r"evt_[0-9A-Za-z]{13}\n", run(node, "use.mjs", folder=tmp_path))


def test_node_loses_nothing(tmp_path: Path) -> None:
    """Its connections cut, refused for a while: every event is stored once, in the end."""
    node = program("node", "nodejs")
    (tmp_path / "publisher.mjs").write_text(docs_text("publishers-node"))
    (tmp_path / "many.mjs").write_text("""
import { Publisher } from "./publisher.mjs";
const publisher = new Publisher(process.argv[2]);
const padding = "x".repeat(300);
const events = [...Array(80).keys()];
const answers = await Promise.all(events.map((number) =>
  publisher.publish(number === 40 ? "verdict.blok" : "visitor.new", { number, padding })
    .catch((error) => ({ refused: error.code }))));
publisher.close();
console.log(JSON.stringify(answers));
""")
    with RelayThread(chaos_seed=3) as relay:
        answers = json.loads(run(node, "many.mjs", str(relay.path), folder=tmp_path))
        assert answers[40] == {"refused": "unknown_event_type"}
        del answers[40]
        assert sorted(relay.rig.store.numbers) == sorted({*range(80)} - {40})
        assert {answer["eventId"] for answer in answers} == {
            appended.event_id for _, appended in relay.rig.dispatcher.handed
        }


def test_shell(relay: RelayThread, tmp_path: Path) -> None:
    """One line from a pipe, and again: the key is known by then."""
    program("socat", "socat")
    script = at(relay.path, docs_text("publishers-shell"))
    answers = [json.loads(run("bash", "-c", script, folder=tmp_path)) for _ in range(2)]
    assert [answer["duplicate"] for answer in answers] == [False, True]


def test_shell_with_a_file(relay: RelayThread, tmp_path: Path) -> None:
    """A file's answers are lined up with its lines, and the refused ones found."""
    program("socat", "socat")
    lines = [json.dumps({"eventType": "visitor.new", "data": {"number": n}}) for n in range(5000)]
    lines[99] = "oops"
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    script = at(relay.path, docs_text("publishers-shell-file"))
    printed = run("bash", "-c", script, folder=tmp_path)
    assert re.fullmatch(r'100:\{"ok":false,"error":\{"code":"invalid_json",.*\n', printed)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 5000
    assert len(relay.rig.store.events) == 4999

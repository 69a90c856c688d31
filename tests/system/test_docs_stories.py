"""The blocks of README.md and of the pages for receivers, executed as they stand."""

import json
import os
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, docs_text
from tests.system.cli_daemon import PRYNT, Daemon, free_port, running_daemon
from tests.system.test_cli_docs import Reader

ENVELOPE = [
    "webhookId",
    "eventId",
    "eventType",
    "apiVersion",
    "createdAt",
    "idempotencyKey",
    "data",
]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def reader(daemon: Daemon) -> Iterator[Reader]:
    reader = Reader(daemon)
    yield reader
    reader.leave()
    assert set(reader.codes) <= {0}


def follow(reader: Reader, text: str) -> None:
    """Run each command of a block; what a shell takes for a comment is none."""
    for command in text.replace("\\\n", " ").splitlines():
        reader.follow(re.sub(r"\s+#.*", "", command))


def started_until(command: str, said: str, *, folder: Path, **env: str) -> tuple[int, str]:
    """Run a command that goes on for ever until it says `said`, then press Ctrl-C.

    Returns its exit code and all that it said.
    """
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the whole foreground, the shell included
    )
    assert process.stdout is not None
    give_up = threading.Timer(240, os.killpg, (process.pid, signal.SIGKILL))
    give_up.start()
    output = []
    try:
        for line in process.stdout:
            output.append(line)
            if said in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        output.append(process.stdout.read())
        return process.wait(30), "".join(output)
    finally:
        give_up.cancel()
        process.stdout.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_readmes_demo_works_in_a_clean_clone(tmp_path: Path) -> None:
    """Clone, run the first command as it stands, and watch deliveries arrive and fail."""
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), "clone"], cwd=tmp_path, check=True
    )
    code, said = started_until(docs_text("readme-demo"), "verified #2", folder=tmp_path / "clone")
    assert code in (0, 130), said
    assert re.search(r"event +socket .* in [0-9.]+ ms", said)
    assert "answered 503" in said
    assert "0 with a wrong signature" in said


def test_the_readmes_serve_starts_with_defaults_alone(tmp_path: Path) -> None:
    """`prynt-relay serve` alone starts, and Ctrl-C ends it in order."""
    code, said = started_until(
        docs_text("readme-serve"),
        '"action":"ready"',
        folder=tmp_path,
        HOME=str(tmp_path),
        XDG_STATE_HOME=str(tmp_path / "state"),
        PATH=f"{PRYNT.parent}:{os.environ['PATH']}",
        # The default ports may be taken on the machine that tests this.
        PRYNT_RELAY_API__LISTEN=f"127.0.0.1:{free_port()}",
        PRYNT_RELAY_METRICS__LISTEN=f"127.0.0.1:{free_port()}",
    )
    assert code == 0, said
    assert (tmp_path / "state" / "prynt-relay" / "relay.db").is_file()


def test_the_readmes_commands_answer_the_on_call_question(reader: Reader, daemon: Daemon) -> None:
    """Create, then find out what happened to an event, as the README shows."""
    reader.follow("prynt listen --port 3000")
    follow(reader, docs_text("readme-create"))
    daemon.prynt("events", "send", "verdict.block", "--sample")
    follow(reader, docs_text("readme-find-out"))
    assert reader.commands[-1].startswith("prynt webhooks stream")


def test_the_formats_example_creates_such_a_webhook(reader: Reader, daemon: Daemon) -> None:
    """The command of docs/formats.md makes a webhook with that format, signature and filter."""
    follow(reader, docs_text("formats-create"))
    (webhook,) = json.loads(daemon.prynt("webhooks", "list", "--json"))["data"]
    assert (webhook["format"], webhook["signatures"]) == ("cloudevents", ["standard"])
    assert webhook["filter"] == "data.scores.suspect > `50`"
    daemon.prynt("events", "send", "verdict.block", "--sample")
    follow(reader, docs_text("formats-match"))


def test_the_fingerprint_profile_sets_what_its_page_says(reader: Reader, daemon: Daemon) -> None:
    """The command of the migration page makes a webhook with the values of the page's table."""
    follow(reader, docs_text("fingerprint-create"))
    (webhook,) = json.loads(daemon.prynt("webhooks", "list", "--json"))["data"]
    page = (ROOT / "docs" / "migrating-from-fingerprint.md").read_text()
    table = page.partition("The profile sets")[2].partition("## What stays")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)`", table, re.MULTILINE))
    assert len(rows) == 5
    for field, value in rows.items():
        shown = webhook[field]
        assert value == (shown if isinstance(shown, str) else json.dumps(shown)), field


def test_the_receivers_envelope_is_one() -> None:
    """The body in docs/receivers.md is compact JSON, with the fields of the envelope in order."""
    text = docs_text("receivers-envelope")
    envelope = json.loads(text)
    assert list(envelope) == ENVELOPE
    assert text == json.dumps(envelope, separators=(",", ":")) + "\n"


def test_a_receiver_can_be_tried_as_the_page_says(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prynt listen` receives what `prynt webhooks test --url` sends, with no secret set up."""
    monkeypatch.delenv("PRYNT_WEBHOOK_SECRET", raising=False)
    follow(reader, docs_text("receivers-try"))
    assert len(reader.commands) == 2


def test_the_conformance_script_passes_an_example() -> None:
    """The documented command judges the documented receiver, and finds nothing wrong."""
    command = docs_text("receivers-conformance")
    command = command.replace("3000", str(free_port()))
    command = command.replace("whsec_…", "whsec_" + secrets.token_hex(16))
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=ROOT / "examples" / "receivers",
        env=os.environ | {"PATH": f"{PRYNT.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout

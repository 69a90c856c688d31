"""The examples do what a receiver must, as the conformance script has it."""

import asyncio
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Secrets
from tests.integration.deliveries import OLD, Delivery, delivery
from tests.integration.receivers import Receiver, Reply, Request

EXAMPLES = Path(__file__).parents[2] / "examples" / "receivers"
SCRIPT = EXAMPLES / "conformance.py"
NEEDS = {"aiohttp": "aiohttp", "flask": "flask", "fastapi": "uvicorn", "django": "django"}
PATIENCE_S = 100


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(*command: str, port: str = "") -> subprocess.Popen[str]:
    """Start the conformance script on a receiver."""
    environment = os.environ | {
        "PORT": port or str(_free_port()),
        "PRYNT_WEBHOOK_SECRET": "whsec_" + secrets.token_hex(16),
        "PYTHONWARNINGS": "default",
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _conformance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = [check.__name__ for check in _conformance().CHECKS]


def _check_report(run: subprocess.Popen[str]) -> None:
    report, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, report
    passed = [line.split()[1].rstrip(":") for line in report.splitlines() if line[:2] == "ok"]
    assert passed == CHECKS, report


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The script on every Python example at once: each mostly waits."""
    started = {
        name: _start(sys.executable, str(EXAMPLES / f"{name}_receiver.py"))
        for name, module in NEEDS.items()
        if importlib.util.find_spec(module) is not None
    }
    yield started
    for run in started.values():
        run.terminate()
        run.communicate(timeout=10)


@pytest.mark.parametrize("name", NEEDS)
def test_a_python_example_conforms(name: str, runs: dict[str, subprocess.Popen[str]]) -> None:
    """Valid, tampered, old, repeated, large, unknown: each framework's example gets all right."""
    if name not in runs:
        pytest.skip(f"{NEEDS[name]} isn't installed (the `examples` extra)")
    _check_report(runs[name])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm")
def test_the_express_example_conforms(tmp_path: Path) -> None:
    """The same for Express, installed as its package.json says."""
    shutil.copytree(
        EXAMPLES / "express", tmp_path / "express", ignore=shutil.ignore_patterns("node_modules")
    )
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund"],
        cwd=tmp_path / "express",
        check=True,
        timeout=400,
    )
    _check_report(_start("node", str(tmp_path / "express" / "server.js")))


CARELESS = """
import http.server, json, os

class Careless(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print("processed", json.loads(body)["eventId"], flush=True)
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Careless).serve_forever()
"""


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ((sys.executable, "-c", "import nothing_of_that_name"), 1, "No module named 'nothing_of_"),
        (("/nowhere/at/all",), 1, "/nowhere/at/all can't be started: No such file"),
        ((), 2, "usage: python conformance.py COMMAND"),
    ],
)
def test_a_receiver_that_does_not_start_is_told_with_its_reason(
    command: tuple[str, ...], code: int, told: str
) -> None:
    """What the command said before it ended is shown, once, without a traceback of the script."""
    run = _start(*command)
    report, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == code
    assert told in report
    assert 'conformance.py", line' not in report


def test_a_port_that_is_taken_is_not_tested() -> None:
    """The script doesn't judge another program that listens there."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run = _start(sys.executable, "-c", "0", port=port)
        report, _ = run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 1
        assert report == f"Something else listens on port {port}; choose another with $PORT.\n"


def test_the_script_finds_a_careless_receiver_out(tmp_path: Path) -> None:
    """A receiver that verifies nothing and handles everything twice fails, and is told where."""
    (tmp_path / "careless.py").write_text(CARELESS)
    run = _start(sys.executable, str(tmp_path / "careless.py"))
    report, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 1
    failed = {line.split()[1].rstrip(":") for line in report.splitlines() if line[:6] == "FAILED"}
    assert {"tampered_body", "tampered_timestamp", "old", "missing_headers", "repeated"} <= failed


async def _post(port: int, sent: Delivery) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
    writer.write(
        f"POST /webhooks/prynt HTTP/1.1\r\nHost: a\r\nContent-Length: {len(sent.body)}\r\n"
        f"Connection: close\r\n{head}\r\n".encode()
        + sent.body
    )
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def test_the_slack_forwarder_posts_blocked_visitors(tmp_path: Path) -> None:
    """By hand, as the specification's section 8: verdict.block goes to Slack, once, others don't.

    Slack's refusal for a second is waited out.
    """
    answers = [Reply(429, headers=(("Retry-After", "0"),)), Reply(200, b"ok")]

    def slack(request: Request) -> Reply:
        assert request.header("Content-Type") == "application/json"
        return answers.pop(0)

    port = _free_port()
    async with Receiver(tls=False, host="127.0.0.1", respond=slack) as receiver:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLES / "slack_forwarder.py"),
            env=os.environ
            | {
                "PORT": str(port),
                "PRYNT_WEBHOOK_SECRET": OLD,
                "SLACK_WEBHOOK_URL": receiver.url,
                "GUARD_FILE": str(tmp_path / "guard.db"),
                "PYTHONUNBUFFERED": "1",
            },
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            while b"Running on" not in await process.stdout.readline():
                pass
            schemes = (SignatureScheme.PRYNT,)
            other, blocked = (
                delivery(
                    Format.PRYNT,
                    schemes,
                    Secrets(OLD),
                    event_type=event_type,
                    idempotency_key=f"key of {event_type}",
                )
                for event_type in ("visitor.new", "verdict.block")
            )
            assert await _post(port, other) == 200
            assert await _post(port, blocked) == 200
            assert await _post(port, blocked) == 200
            requests = await receiver.wait_for(2, timeout_s=20)
        finally:
            process.terminate()
            await process.wait()
    assert len(requests) == 2
    assert requests[0].body == requests[1].body
    message = json.loads(requests[1].body)
    data = json.loads(blocked.body)["data"]
    header, fields, actions = message["blocks"]
    assert header["text"]["text"] == "🛑 *Prynt Alert: verdict.block*"
    assert fields["fields"][0]["text"] == f"*Visitor:*\n`{data['visitorId']}`"
    assert actions["elements"][0]["url"].endswith(data["requestId"])

"""The blocks of docs/api.md, executed as they stand."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.docs_blocks import docs_story, docs_text
from tests.system.daemons import Daemon

ADDRESS = "127.0.0.1:8420"


def run_shell(daemon: Daemon, folder: Path, text: str) -> str:
    """Run a page's commands in one shell, as a reader whose daemon has the default state folder."""
    state = folder / ".local" / "state"
    state.mkdir(parents=True, exist_ok=True)
    link = state / "prynt-relay"
    if not link.exists():
        link.symlink_to(daemon.state_dir)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text.replace(ADDRESS, f"127.0.0.1:{daemon.api_port}")],
        cwd=folder,
        env={
            **os.environ,
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_the_pages_commands_work_one_after_the_other(tmp_path: Path) -> None:
    """Create, send twice with one key, list, change, rotate, retry, and generate a client."""
    page = "\n".join(block.text for block in docs_story("api"))
    async with Daemon(tmp_path) as daemon:
        said = await asyncio.to_thread(run_shell, daemon, tmp_path, page)
        assert "signingSecret" in said
        assert '"code"' not in said
        assert len((await daemon.api("GET", "/v1/events"))["data"]) == 1
        client = f"API = 'http://127.0.0.1:{daemon.api_port}'\nKEY = {daemon.key!r}\n" + docs_text(
            "api-client"
        )
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", client],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "whsec_" in done.stdout
        webhooks = (await daemon.api("GET", "/v1/webhooks"))["data"]
        assert all(webhook["id"] in done.stdout for webhook in webhooks)
        assert len(webhooks) == 2


async def test_the_pages_stream_shows_attempts(tmp_path: Path) -> None:
    """The command for the stream prints an attempt as it happens."""
    async with Daemon(tmp_path) as daemon:
        command = docs_text("api-stream").strip()
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f"exec {command}"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "KEY": daemon.key, "API": f"http://127.0.0.1:{daemon.api_port}"},
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                assert (await process.stdout.readline()).startswith(b"retry: ")
                await daemon.webhook("https://nobody.receiver.localhost:9/hook")
                await daemon.publish({"eventType": "verdict.block", "data": {}})
                while not (line := await process.stdout.readline()).startswith(b"data: "):
                    assert line
                assert b'"eventType":"verdict.block"' in line
        finally:
            process.kill()
            await process.wait()

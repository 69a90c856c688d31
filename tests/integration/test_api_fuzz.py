"""The OpenAPI document held against the running API by schemathesis: all checks, all phases."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prynt_relay.config.settings import Delivery
from tests.integration.api_client import serving
from tests.integration.receivers import Receiver

ROOT = Path(__file__).parents[2]
# Streams don't end; they have tests of their own.
STREAMS = r"/stream$"


async def fuzz(folder: Path, examples: int, seed: int) -> int:
    """Let schemathesis ask a relay whatever its document allows; returns how many cases it made."""
    program = Path(sys.executable).with_name("schemathesis")
    async with (
        Receiver() as receiver,
        serving(folder, delivery=Delivery(timeout_s=1.0)) as api,
    ):
        await api.webhook(receiver)
        for _ in range(3):
            await api.event()
        arguments = [
            *(str(program), "run", f"{api.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {api.key}", "--checks", "all"),
            *("--exclude-path-regex", STREAMS, "--max-examples", str(examples)),
            *("--seed", str(seed), "--generation-database", "none", "--no-color"),
        ]
        hooks = {"SCHEMATHESIS_HOOKS": "tests.integration.fuzz_hooks", "PYTHONPATH": str(ROOT)}
        done = await asyncio.to_thread(
            subprocess.run,
            arguments,
            cwd=folder,
            env={**os.environ, **hooks},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"✅ {phase}", done.stdout), done.stdout[-4000:]
    made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert made is not None, done.stdout[-2000:]
    return int(made[2])


async def test_the_document_is_true(tmp_path: Path) -> None:
    """No answer is a 5xx or one that the document doesn't describe; what it allows is accepted."""
    assert await fuzz(tmp_path, 4, 1) > 500


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("seed", [1, 2])
async def test_the_document_is_true_for_thousands_of_requests(tmp_path: Path, seed: int) -> None:
    """The same over at least 2,000 cases, stateful ones among them."""
    assert await fuzz(tmp_path, 150, seed) >= 2_000

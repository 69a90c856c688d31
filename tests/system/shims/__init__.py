"""Libraries that stand between the daemon and the system (LD_PRELOAD), compiled in the test."""

import asyncio
import subprocess
from pathlib import Path

from tests.programs import program


async def compiled(source: Path, folder: Path) -> Path:
    """Compile a shim into `folder`."""
    library = folder / f"{source.stem}.so"
    compiler = program("gcc", "gcc")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    await asyncio.to_thread(lambda: subprocess.run(command, check=True))
    return library

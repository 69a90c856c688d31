"""The intake server in a thread of its own, for publishers that block or are processes."""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from tests.integration.intake.rig import Rig, until
from tests.integration.publisher.chaos import ChaosProxy

if TYPE_CHECKING:
    from pathlib import Path


class RelayThread:
    """A rig that runs in a thread of its own, as the relay is a process of its own."""

    def __init__(self, *, chaos_seed: int | None = None) -> None:
        self.rig: Rig
        self.path: Path
        self._chaos_seed = chaos_seed
        self._loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Rig() as self.rig:
            self.path = self.rig.path
            if self._chaos_seed is None:
                self._ready.set()
                await self._stop.wait()
            else:
                self.path = self.rig.folder / "chaos.sock"
                target = self.rig.path
                async with ChaosProxy(self.path, target, seed=self._chaos_seed, most=60_000):
                    self._ready.set()
                    await self._stop.wait()

    def call(self, function: Callable[[], Any]) -> None:
        """Run `function` in the relay's thread."""

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        asyncio.run_coroutine_threadsafe(until(condition), self._loop).result(30)

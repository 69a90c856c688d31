"""A Unix-socket proxy that cuts connections at random places, in either direction."""

import asyncio
import contextlib
import random
from pathlib import Path
from types import TracebackType
from typing import Self


class ChaosProxy:
    """Passes bytes on between `path` and `target`; of each connection only so many."""

    def __init__(self, path: Path, target: Path, *, seed: int, most: int) -> None:
        self.path = path
        self.connections = 0
        self.calm = False
        self._target = target
        self._rng = random.Random(seed)
        self._most = most
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._target)
        ways = [
            asyncio.create_task(self._pass(reader, inner_writer, self._most)),
            asyncio.create_task(self._pass(inner_reader, writer, self._most // 10)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for end in (writer, inner_writer):
                end.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int
    ) -> None:
        left = self._rng.randint(1, most)
        with contextlib.suppress(OSError):
            while left > 0 or self.calm:
                data = await reader.read(4096)
                if not data:
                    return
                writer.write(data if self.calm else data[:left])
                await writer.drain()
                left -= len(data)

"""One place that starts every long-lived task, and notices when one dies.

The daemon is never half alive: if a task that should run for ever ends, or a callback fails in a
way that nobody handles, `failed` resolves, the daemon logs why and leaves with an error, and
systemd starts it again on a database that is whole.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

_log = structlog.get_logger(__name__)

_BROKEN: Final = frozenset({"Fatal error on SSL protocol", "Fatal error on transport"})
"""What uvloop and asyncio say of a connection that fails beneath a protocol. A receiver can provoke
it: uvloop still reads what has come over TLS after the connection was given up."""


class Supervisor:
    """Starts tasks, watches them, and stops them in the reverse order."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which must not end before `stop`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def fail(self, why: str, error: BaseException | None = None) -> None:
        """Something that can't be lived with happened; only the first one counts."""
        if self._stopping or self.failed.done():
            return
        _log.critical(
            "stopping on an internal error", action="internal_error", why=why, exc_info=error
        )
        self.failed.set_result(why)

    def handle_loop_exception(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        """Take what asyncio could hand to nobody (`loop.set_exception_handler`)."""
        error = context.get("exception")
        message = str(context.get("message", "unhandled error in the event loop"))
        if isinstance(error, OSError) or message in _BROKEN:
            # A peer's connection that broke while asyncio was closing it; nothing of ours.
            _log.debug("connection error", action="connection_error", error=type(error).__name__)
            return
        if "transport" in context or "protocol" in context:
            # One connection's, which is closed after this. Whatever a peer has to do with it, it
            # may not stop the daemon.
            _log.warning(
                "a connection failed and was closed",
                action="connection_failed",
                why=message,
                exc_info=error,
            )
            return
        self.fail(message, error if isinstance(error, BaseException) else None)

    def abandon(self) -> None:
        """Take no end and no error for a failure any more: the process leaves."""
        self._stopping = True

    async def stop(self) -> None:
        """Cancel what runs, newest first; harmless twice."""
        self.abandon()
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._tasks.clear()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._stopping or task.cancelled():
            return
        error = task.exception()
        self.fail(f"task {task.get_name()} ended", error)

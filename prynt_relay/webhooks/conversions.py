"""What a change means for a webhook's many deliveries, done in chunks beside live traffic.

Every job is noted in the database before it begins, so a restart goes on where it stopped.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import structlog

from prynt_relay.clock import Clock
from prynt_relay.errors import ShuttingDownError, StorageUnavailableError
from prynt_relay.store import BulkJob, RetryChunk
from prynt_relay.webhooks.doors import Dispatch, WebhookStore

_log = structlog.stdlib.get_logger(__name__)

CHUNK_ROWS: Final = 500
"""Rows changed at a time: some milliseconds on the writer, between batches of live traffic."""

STORAGE_WAIT_S: Final = 1.0
"""How long to wait before a chunk is tried again that the disk did not take."""

T = TypeVar("T")


class Conversions:
    """Runs the jobs, one at a time for each webhook."""

    def __init__(
        self,
        store: WebhookStore,
        dispatch: Dispatch,
        clock: Clock,
        *,
        cancelled: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`cancelled` is told how many deliveries became so, chunk by chunk."""
        self._store = store
        self._dispatch = dispatch
        self._clock = clock
        self._cancelled = cancelled
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        # The last job of each webhook; the next one waits for it.
        self._last: dict[int, asyncio.Task[None]] = {}

    def hold(self, webhook_row: int) -> None:
        """What is scheduled for a disabled webhook becomes held."""
        self._start(webhook_row, lambda: self._convert(self._store.hold_chunk, webhook_row))

    def cancel(self, webhook_row: int) -> None:
        """What is scheduled or held for a deleted webhook becomes cancelled."""
        self._start(
            webhook_row,
            lambda: self._convert(self._store.cancel_chunk, webhook_row, self._cancelled),
        )

    def retry(self, job: BulkJob) -> None:
        """A window of a webhook's deliveries is sent again."""
        self._start(job.webhook_row, lambda: self._retry(job))

    def resume(self, jobs: Sequence[BulkJob]) -> None:
        """Go on with what a run before this one left unfinished."""
        for job in jobs:
            if job.kind == "hold":
                self.hold(job.webhook_row)
            elif job.kind == "cancel":
                self.cancel(job.webhook_row)
            else:
                self.retry(job)

    async def finished(self, webhook_row: int) -> None:
        """Return when nothing is under way for a webhook.

        Raises ShuttingDownError once the daemon leaves: what isn't done is left to the next start,
        and nothing may be built on its end.
        """
        while (task := self._last.get(webhook_row)) is not None:
            await asyncio.wait([task])
        if self._stopped:
            raise ShuttingDownError("the daemon is leaving; ask again after its restart")

    async def wait(self, webhook_row: int, within_s: float) -> None:
        """Return when what is under way for a webhook has ended, or after `within_s`."""
        task = self._last.get(webhook_row)
        if task is not None:
            await asyncio.wait([task], timeout=within_s)

    async def stop(self) -> None:
        """Stop between two chunks and begin nothing more; the next start goes on."""
        self._stopped = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, webhook_row: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._stopped:
            return
        before = self._last.get(webhook_row)

        async def run() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work()

        task = asyncio.get_running_loop().create_task(run(), name=f"conversion {webhook_row}")
        self._tasks.add(task)
        self._last[webhook_row] = task

        def done(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if self._last.get(webhook_row) is task:
                del self._last[webhook_row]
            if not task.cancelled() and (error := task.exception()) is not None:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a bulk conversion failed", "exception": error}
                )

        task.add_done_callback(done)

    async def _convert(
        self,
        chunk: Callable[[int, int], "asyncio.Future[int]"],
        webhook_row: int,
        changed_some: Callable[[int], None] = lambda count: None,
    ) -> None:
        total = 0
        while changed := await self._persist(lambda: chunk(webhook_row, CHUNK_ROWS)):
            total += changed
            changed_some(changed)
        if total:
            _log.info("deliveries converted", action="deliveries_converted", count=total)

    async def _retry(self, job: BulkJob) -> None:
        left: BulkJob | None = job
        while left is not None:
            await self._dispatch.bulk_room(left.webhook_row)
            chunk = await self._persist(functools.partial(self._retry_chunk, left))
            self._dispatch.offer(chunk.due)
            left = chunk.job

    def _retry_chunk(self, job: BulkJob) -> asyncio.Future[RetryChunk]:
        busy_rows = self._dispatch.busy_rows(job.webhook_row)
        return self._store.retry_chunk(job, busy_rows=busy_rows, limit=CHUNK_ROWS)

    async def _persist(self, write: Callable[[], "asyncio.Future[T]"]) -> T:
        """Write, again and again while the disk takes nothing."""
        while True:
            try:
                return await write()
            except StorageUnavailableError:
                await self._clock.sleep(STORAGE_WAIT_S)

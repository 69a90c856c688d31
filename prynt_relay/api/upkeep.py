"""What the API's tables need done in the background: counts written, old rows dropped."""

import asyncio
from typing import Final

import structlog

from prynt_relay.api.doors import Storage
from prynt_relay.api.idempotency import KEPT_MS
from prynt_relay.clock import Age, Clock
from prynt_relay.errors import ShuttingDownError, StorageUnavailableError
from prynt_relay.store import rollups
from prynt_relay.store.api_requests import purge_answers
from prynt_relay.store.history_backlog import Backlog, count_backlog

ROLL_UP_S: Final = 5.0
"""How often counts are written; whoever asks for figures has them brought up to date first."""

PURGE_S: Final = 60.0

BACKLOG_AGE_S: Final = 1.0
"""How old the backlog's figures may be: counting a million rows takes 10 to 25 ms."""

MAX_CACHED: Final = 1_000

_log = structlog.stdlib.get_logger(__name__)


class Upkeep:
    """Keeps rollups and kept answers in order; `run` is to be supervised."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._age = Age(clock)
        self._catching_up = asyncio.Lock()
        self._backlogs: dict[int | None, tuple[float, Backlog]] = {}

    async def run(self) -> None:
        """Catch up every few seconds and purge every minute, for ever."""
        purge_at = self._clock.monotonic()
        while True:
            try:
                await self.catch_up()
                if self._clock.monotonic() >= purge_at:
                    purge_at = self._clock.monotonic() + PURGE_S
                    await self._purge()
            except ShuttingDownError:
                return
            except StorageUnavailableError as error:
                # Nothing is lost: what isn't counted now is counted once the disk takes writes.
                _log.debug("counts wait", action="rollup_postponed", error=str(error))
            await self._clock.sleep(ROLL_UP_S)

    async def catch_up(self) -> None:
        """Count everything that was settled before the call, in steps between live traffic.

        Raises StorageUnavailableError, ShuttingDownError.
        """
        async with self._catching_up:
            while True:
                now_ms = self._clock.wall_ms()
                step = await self._storage.read(lambda conn: rollups.scan(conn, now_ms))  # noqa: B023 - run before the next turn
                if step.is_empty:
                    return
                await self._storage.write(lambda conn: rollups.add(conn, step))  # noqa: B023 - the same

    async def backlog(self, webhook_row: int | None) -> Backlog:
        """Return what waits, at most a second old."""
        now = self._clock.monotonic()
        known = self._backlogs.get(webhook_row)
        if known is not None and now - known[0] <= BACKLOG_AGE_S:
            return known[1]
        found = await self._storage.read(lambda conn: count_backlog(conn, webhook_row))
        if len(self._backlogs) >= MAX_CACHED:
            self._backlogs.clear()
        self._backlogs[webhook_row] = (now, found)
        return found

    async def _purge(self) -> None:
        now_ms = self._age.now_ms()
        while await self._storage.write(lambda conn: rollups.purge(conn, now_ms)):
            pass
        while await self._storage.write(lambda conn: purge_answers(conn, now_ms - KEPT_MS)):
            pass

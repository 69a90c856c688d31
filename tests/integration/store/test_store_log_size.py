from pathlib import Path

import pytest

from prynt_relay.clock import SystemClock
from prynt_relay.store import checkpoint
from tests.integration.store.parts import append, opened


@pytest.mark.parametrize("size", [10, 1000])
async def test_commits_of_one_event_keep_the_log_short(tmp_path: Path, size: int) -> None:
    """A quiet relay writes many small commits of several pages each: the log knows of those."""
    data = b'{"text":"%b"}' % (b"x" * size)
    async with opened(tmp_path, SystemClock()) as store:
        for _ in range(1500):
            await store.append([append(data=data)])
        assert store.sizes().wal_bytes < 2 * 4096 * checkpoint.CHECKPOINT_PAGES

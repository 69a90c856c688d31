from pathlib import Path

import pytest

from prynt_relay.clock import SystemClock
from prynt_relay.store import checkpoint, connection
from tests.integration.store.parts import append, opened, rows


@pytest.mark.parametrize("page_bytes", [4096, connection.PAGE_BYTES])
@pytest.mark.parametrize("size", [10, 1000])
async def test_commits_of_one_event_keep_the_log_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, page_bytes: int
) -> None:
    """A quiet relay writes many small commits of several pages each: the log knows of those.

    Also in a database that was made with pages of another size than new ones have.
    """
    with monkeypatch.context() as once:
        once.setattr(connection, "PAGE_BYTES", page_bytes)
        async with opened(tmp_path, SystemClock()):
            pass
    data = b'{"text":"%b"}' % (b"x" * size)
    async with opened(tmp_path, SystemClock()) as store:
        for _ in range(1500):
            await store.append([append(data=data)])
        assert store.sizes().wal_bytes < 2 * checkpoint.CHECKPOINT_BYTES
    assert rows(tmp_path, "PRAGMA page_size") == [(page_bytes,)]

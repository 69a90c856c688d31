"""Minutes under load, with receivers that misbehave and a restart: all stays flat."""

from pathlib import Path

import pytest

from tests.system.soak import soak


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_minutes_under_load_leave_everything_flat(tmp_path: Path) -> None:
    """Memory, descriptors and the log's size stay, and every acknowledged event is settled.

    Its length is what CI has time for; the half hour is `python -m tests.system.soak`.
    """
    figures = await soak(tmp_path, minutes=5, rate=200)
    print(figures)
    assert figures.problems() == []

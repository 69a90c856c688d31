import random

import pytest

from prynt_relay.store.batch_bound import LEAST_SHARE, MOST_BYTES, MOST_ROWS, SLOW_S, BatchBound


def work(bound: BatchBound, sync_s: float, full_s: float, commits: int = 300) -> None:
    """Commit batches of all sizes on a disk that takes `sync_s`, and `full_s` more for a full one.

    Now and then a sync takes much longer, as on real disks.
    """
    chance = random.Random(5)
    for _ in range(commits):
        share = chance.random()
        rows, size = (share, share / 2) if chance.random() < 0.5 else (share / 2, share)
        rows, size = min(rows * MOST_ROWS, bound.rows), min(size * MOST_BYTES, bound.size)
        taken = max(rows / MOST_ROWS, size / MOST_BYTES)
        hiccup_s = 0.2 if chance.random() < 0.01 else 0.0
        bound.committed(round(rows), round(size), sync_s + taken * full_s + hiccup_s)


@pytest.mark.parametrize("sync_s", [0.0002, 0.05, 0.2])
def test_a_slow_sync_makes_no_batch_smaller(sync_s: float) -> None:
    """Where the sync is what takes long, smaller batches would only be more of them."""
    bound = BatchBound()
    work(bound, sync_s, SLOW_S / 4)
    assert bound.rows > MOST_ROWS * 0.8
    assert bound.size > MOST_BYTES * 0.8


@pytest.mark.parametrize("sync_s", [0.0002, 0.05])
@pytest.mark.parametrize("times", [2, 10])
def test_a_disk_that_is_slow_at_size_gets_smaller_batches(sync_s: float, times: int) -> None:
    """So small that what they add is within the bar, and not below the least share."""
    bound = BatchBound()
    work(bound, sync_s, times * SLOW_S)
    wanted = max(1 / times, LEAST_SHARE)
    assert wanted * 0.6 < bound.rows / MOST_ROWS < wanted * 1.6
    assert bound.size / MOST_BYTES == pytest.approx(bound.rows / MOST_ROWS, rel=0.01)


def test_it_grows_back_once_the_disk_is_quick_again() -> None:
    """One slow minute doesn't make batches small for good."""
    bound = BatchBound()
    work(bound, 0.001, 5 * SLOW_S)
    assert bound.rows < MOST_ROWS / 2
    work(bound, 0.001, SLOW_S / 4)
    assert bound.rows == MOST_ROWS


def test_batches_that_are_alike_tell_nothing() -> None:
    """Of full batches alone nobody can say whether smaller ones would be quicker."""
    bound = BatchBound()
    for _ in range(100):
        bound.committed(1, 100, 0.3)
    assert (bound.rows, bound.size) == (MOST_ROWS, MOST_BYTES)

from prynt_relay.store import batch_bound
from prynt_relay.store.batch_bound import BatchBound

SLOW, QUICK = 2 * batch_bound.SLOW_S, batch_bound.SLOW_S / 2


def test_full_batches_that_are_quick_leave_it_at_the_most() -> None:
    """A disk that keeps up is given as much as ever."""
    bound = BatchBound()
    for _ in range(100):
        bound.committed(bound.rows, 0, QUICK)
    assert (bound.rows, bound.size) == (batch_bound.MOST_ROWS, batch_bound.MOST_BYTES)


def test_slow_commits_make_it_smaller_down_to_the_least() -> None:
    """Whether rows or bytes filled the batch, both bounds shrink, and end at a share."""
    for rows, size in ((batch_bound.MOST_ROWS, 0), (1, batch_bound.MOST_BYTES)):
        bound = BatchBound()
        bound.committed(rows, size, SLOW)
        assert batch_bound.MOST_ROWS / 2 < bound.rows < batch_bound.MOST_ROWS
        assert batch_bound.MOST_BYTES / 2 < bound.size < batch_bound.MOST_BYTES
        for _ in range(100):
            bound.committed(rows, size, SLOW)
        assert bound.rows == batch_bound.MOST_ROWS * batch_bound.LEAST_SHARE
        assert bound.size == batch_bound.MOST_BYTES * batch_bound.LEAST_SHARE


def test_it_grows_back_once_the_disk_is_quick_again() -> None:
    """One slow moment doesn't make batches small for good."""
    bound = BatchBound()
    bound.committed(bound.rows, 0, SLOW)
    for _ in range(30):
        bound.committed(bound.rows, 0, QUICK)
    assert bound.rows == batch_bound.MOST_ROWS


def test_small_batches_tell_nothing() -> None:
    """A lone event's slow sync says nothing of the next rush, nor does a quick one."""
    bound = BatchBound()
    bound.committed(1, 1000, SLOW)
    assert bound.rows == batch_bound.MOST_ROWS
    bound.committed(bound.rows, 0, SLOW)
    shrunk = bound.rows
    bound.committed(1, 1000, QUICK)
    assert bound.rows == shrunk

import platform
from pathlib import Path

import pytest

from prynt_relay.daemon.memory import trim


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what it is for")
def test_memory_between_what_is_used_is_given_back() -> None:
    """What a burst has taken isn't kept because of the little that stays of it."""
    burst = [bytes(20_000) for _ in range(5_000)]
    kept = burst[::100]
    del burst
    before = resident_mb()
    trim()
    assert before - resident_mb() > 50
    assert len(kept) == 50

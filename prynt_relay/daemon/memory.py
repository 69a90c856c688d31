"""Memory that is free goes back to the system, not only to this process."""

import asyncio
import ctypes
from typing import Final

EVERY_S: Final = 30.0
"""A trim takes a few milliseconds of another thread, in which allocations of this one wait."""


def trim() -> None:
    """Give free pages back, those between used ones too.

    glibc keeps them by itself: after a burst of connections, each of which takes some 50 KB, a
    process stayed as large as it had been at its largest. Other C libraries have no such call.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


async def keep_trimmed() -> None:
    """Trim for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(EVERY_S)
        await loop.run_in_executor(None, trim)

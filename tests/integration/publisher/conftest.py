import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run everything on the daemon's loop and on the standard library's."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

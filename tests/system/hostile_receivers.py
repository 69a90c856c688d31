"""Receivers that misbehave, in a process of their own.

    python -m tests.system.hostile_receivers MODE

Prints one line of JSON with its port and its certificate authority's file, and serves until it is
killed. Modes: `hang` never answers, `drip` answers 200 and sends the body byte by byte.
"""

import asyncio
import json
import sys

from tests.integration.misbehaving import Misbehaving, drips, never_answers, read_request
from tests.integration.receivers import shared_authority

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


async def answers_then_drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(HEAD)
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.2)  # the misbehaviour itself: slowness


async def main(mode: str) -> None:
    behaviour = {"hang": never_answers, "drip": answers_then_drips, "slow": drips(HEAD, every_s=1)}
    async with Misbehaving(behaviour[mode]) as server:
        place = {"port": server.port, "ca": str(shared_authority().ca_file)}
        print(json.dumps(place), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

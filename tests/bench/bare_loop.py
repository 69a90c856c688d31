"""The bare loop: what a competent user would write instead of a relay.

    python -m tests.bench.bare_loop URL

One `ClientSession`, 100 tasks, a signature and the headers of a delivery, no storage, uvloop. Each
line on stdin is a job, `COUNT SIZE` (size 0 for the specification's example); the answer is a line
of JSON with `seconds` and `cpu_s`.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time

import aiohttp
import uvloop

from tests.bench.traffic import EXAMPLE, body

TASKS = 100
SECRET = b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


async def post(session: aiohttp.ClientSession, url: str, content: bytes, count: int) -> None:
    left = iter(range(count))

    async def several() -> None:
        for _ in left:
            timestamp = str(int(time.time()))
            signed = timestamp.encode() + b"." + content
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "bare-loop/1",
                "X-Prynt-Event": EXAMPLE,
                "X-Prynt-Delivery": "evt_0123456789abc",
                "X-Prynt-Timestamp": timestamp,
                "X-Prynt-Signature": "sha256="
                + hmac.new(SECRET, signed, hashlib.sha256).hexdigest(),
            }
            async with session.post(url, data=content, headers=headers) as response:
                await response.read()
                response.raise_for_status()

    await asyncio.gather(*(several() for _ in range(TASKS)))


async def main(url: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=TASKS)) as session:
        await post(session, url, body(), 5 * TASKS)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            count, size = map(int, line.split())
            content = body(size)
            wall, cpu = time.monotonic(), time.process_time()
            await post(session, url, content, count)
            seconds, cpu_s = time.monotonic() - wall, time.process_time() - cpu
            print(json.dumps({"seconds": seconds, "cpu_s": cpu_s}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))

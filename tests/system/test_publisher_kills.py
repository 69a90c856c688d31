"""The publisher client against a daemon that is killed again and again."""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from prynt_relay.publisher import Accepted, AsyncPublisher
from tests.integration.receivers import Receiver
from tests.pace import stretched
from tests.system.daemons import HOST, Daemon, until


async def survive(folder: Path, kills: int) -> str:
    """Publish all the while; every caller is answered, every event delivered at least once."""
    rng = random.Random(11)
    async with Receiver(host=HOST) as receiver:
        daemon = Daemon(folder)
        await daemon.start()
        await daemon.webhook(receiver.url)
        answers: list[asyncio.Future[Accepted]] = []
        done = asyncio.Event()

        async def publish(publisher: AsyncPublisher) -> None:
            while not done.is_set():
                number = len(answers)
                answers.append(await publisher.submit("visitor.new", {"n": number}, timeout_s=120))
                if number % 50 == 0:
                    await asyncio.sleep(0)  # thousands a second are enough
                    await asyncio.wait([answers[-1]])

        async with AsyncPublisher(daemon.socket) as publisher:
            publishing = asyncio.create_task(publish(publisher))
            for _ in range(kills):
                await asyncio.sleep(rng.random() * 0.3)  # a random moment is the point
                await daemon.kill()
                await daemon.start()
            done.set()
            await publishing
            accepted = await asyncio.gather(*answers)
        ids = {answer.event_id for answer in accepted}
        assert len(ids) == len(answers), "two events were taken for one"

        async def all_received() -> bool:
            return ids <= {r.header("X-Prynt-Delivery") for r in receiver.requests}

        await until(all_received, "every event was delivered", timeout_s=120)
        await daemon.stop()
        resent = sum(answer.resent for answer in accepted)
        repeats = sum(Counter(r.header("X-Prynt-Delivery") for r in receiver.requests).values())
        return f"{kills} kills, {len(ids)} events, {resent} resent, {repeats - len(ids)} repeated"


@pytest.mark.timeout(90)
async def test_every_caller_is_answered_across_some_kills(tmp_path: Path) -> None:
    """Five kills: nothing is lost and nobody is left without an answer."""
    await survive(tmp_path, 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_caller_is_answered_across_fifty_kills(tmp_path: Path) -> None:
    """The same with fifty."""
    print(await survive(tmp_path, 50))


def test_importing_the_client_costs_little() -> None:
    """Under 60 ms of processor time, and nothing but the standard library."""
    most_s = stretched(0.060)
    code = (
        "import sys, time; begun = time.process_time(); import prynt_relay.publisher;"
        "took = time.process_time() - begun;"
        f"sys.exit(repr(took) if took > {most_s} or 'aiohttp' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

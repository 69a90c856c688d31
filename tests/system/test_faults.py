"""What a machine can do to the daemon: a full or failing disk, few descriptors, a bad file."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.daemon.relay import DATABASE_FILE
from tests.integration.receivers import Receiver
from tests.programs import program, unavailable
from tests.system.daemons import HOST, Daemon, until

EVENT: dict[str, Any] = {"eventType": "verdict.block", "data": {"text": "x" * 2000}}
SHIM = Path(__file__).parent / "power" / "fail.c"


@contextlib.asynccontextmanager
async def small_disk(folder: Path, size: str) -> AsyncIterator[Path]:
    """A file system of its own that can be filled."""
    if os.geteuid() != 0:
        unavailable("only root can mount a file system")
    folder.mkdir(mode=0o700)
    command = [program("mount", "mount"), "-t", "tmpfs", "-o", f"size={size},mode=0700"]
    mounted = await asyncio.to_thread(
        lambda: subprocess.run([*command, "none", str(folder)], check=False, capture_output=True)
    )
    if mounted.returncode:
        unavailable(f"tmpfs can't be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        unmount = ["umount", "--lazy", str(folder)]
        await asyncio.to_thread(lambda: subprocess.run(unmount, check=True))


async def compiled(folder: Path) -> Path:
    """The library that makes syncs fail or slow."""
    library = folder / "fail.so"
    command = [program("gcc", "gcc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(SHIM)]
    await asyncio.to_thread(lambda: subprocess.run([*command, "-ldl"], check=True))
    return library


async def ready(daemon: Daemon, status: int) -> bool:
    return (await daemon.request("GET", "/readyz", key=None))[0] == status


async def test_a_full_disk_refuses_and_recovers_by_itself(tmp_path: Path) -> None:
    """Full: refused and not ready; space again: ready, and nothing acknowledged lost."""
    async with (
        small_disk(tmp_path / "state", "24m") as disk,
        Receiver(host=HOST) as receiver,
        Daemon(tmp_path) as daemon,
    ):
        await daemon.webhook(receiver.url)
        accepted = {a["eventId"] for a in await daemon.publish(*[EVENT] * 20)}
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        refused = 0
        async with daemon.publisher() as lines:
            for _ in range(5000):
                answer = await lines.send(EVENT)
                if answer["ok"]:
                    accepted.add(answer["eventId"])
                    continue
                assert answer["error"]["code"] == "storage_unavailable"
                refused += 1
                if refused == 3:
                    break
            assert refused == 3
            await until(lambda: ready(daemon, 503), "not ready while the disk is full")
            filler.unlink()
            await until(lambda: ready(daemon, 200), "ready when there is space again")
            answer = await lines.send(EVENT)
            assert answer["ok"], answer
            accepted.add(answer["eventId"])

        async def all_received() -> bool:
            return accepted <= {r.header("X-Prynt-Delivery") for r in receiver.requests}

        await until(all_received, "everything acknowledged was delivered")
        assert any(line["action"] == "storage_unavailable" for line in daemon.log_lines())
        assert await daemon.stop() == 0


async def test_a_sync_that_fails_ends_the_daemon(tmp_path: Path) -> None:
    """After a failed fsync nothing is sure: no ack, exit code 1, and the next start has it all."""
    library = await compiled(tmp_path)
    switch = tmp_path / "fail-now"
    async with Receiver(host=HOST) as receiver:
        daemon = Daemon(tmp_path, env={"LD_PRELOAD": str(library), "FAIL_SYNCS_IF": str(switch)})
        await daemon.start()
        await daemon.webhook(receiver.url)
        (accepted,) = await daemon.publish(EVENT)
        await receiver.wait_for(1)
        switch.touch()
        async with daemon.publisher() as lines:
            try:
                answer = await lines.send(EVENT)
            except ConnectionError:
                answer = {"ok": False}
            assert answer["ok"] is False
        assert await daemon.wait() == 1
        assert any(line["action"] == "storage_failed" for line in daemon.log_lines())
        switch.unlink()
        daemon.env = {}
        await daemon.start()
        status, event = await daemon.request("GET", f"/v1/events/{accepted['eventId']}")
        assert (status, event["eventType"]) == (200, "verdict.block")
        await daemon.stop()


async def test_a_slow_disk_delays_and_loses_nothing(tmp_path: Path) -> None:
    """With syncs that take 100 ms events are acknowledged in larger batches, and all arrive."""
    library = await compiled(tmp_path)
    slow = {"LD_PRELOAD": str(library), "SLOW_SYNCS_US": "100000"}
    async with Receiver(host=HOST) as receiver, Daemon(tmp_path, env=slow) as daemon:
        await daemon.webhook(receiver.url)
        async with daemon.publisher() as lines:
            for number in range(300):
                lines.writer.write(b'{"eventType":"visitor.new","data":{"n":%d}}\n' % number)
            answers = [await lines.answer() for _ in range(300)]
        assert all(answer["ok"] for answer in answers)
        await receiver.wait_for(300, timeout_s=30)
        assert await ready(daemon, 200)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"this is not a database, it is a letter to a friend\n" * 50, "no SQLite database"),
        (b"SQLite format 3\0" + b"\xff" * 4080, ""),
    ],
    ids=["foreign", "damaged"],
)
async def test_a_file_that_is_no_database_of_ours_is_left_alone(
    tmp_path: Path, content: bytes, why: str
) -> None:
    """A clear message, exit code 1, and not a byte of the file changed."""
    daemon = Daemon(tmp_path)
    daemon.state_dir.mkdir(mode=0o700)
    database = daemon.state_dir / DATABASE_FILE
    database.write_bytes(content)
    await daemon.start(wait=False)
    assert await daemon.wait() == 1
    assert database.read_bytes() == content
    message = daemon.log_lines()[-1]["message"]
    assert str(database) in message
    assert why in message


async def test_a_database_of_another_program_or_version_is_left_alone(tmp_path: Path) -> None:
    """Another program's database and one of a newer relay are refused by name, unchanged."""
    daemon = Daemon(tmp_path)
    daemon.state_dir.mkdir(mode=0o700)
    database = daemon.state_dir / DATABASE_FILE
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = database.read_bytes()
    await daemon.start(wait=False)
    assert await daemon.wait() == 1
    assert database.read_bytes() == before
    database.unlink()
    await daemon.start()
    await daemon.stop()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = database.read_bytes()
    await daemon.start(wait=False)
    assert await daemon.wait() == 1
    assert "newer" in daemon.log_lines()[-1]["message"]
    assert database.read_bytes() == before


async def test_few_descriptors_lose_nothing(tmp_path: Path) -> None:
    """With 64 descriptors and more connections than that, accepted events are still delivered."""
    prlimit = program("prlimit", "util-linux")
    async with Receiver(host=HOST) as receiver:
        daemon = Daemon(tmp_path)
        await daemon.start(prefix=(prlimit, "--nofile=64:64"))
        try:
            await daemon.webhook(receiver.url)
            idle = [await asyncio.open_unix_connection(str(daemon.socket)) for _ in range(80)]
            for _, writer in idle:
                writer.close()
            accepted = set()
            for _ in range(20):
                answers = await daemon.publish(*[EVENT] * 10)
                accepted |= {answer["eventId"] for answer in answers if answer["ok"]}

            async def all_received() -> bool:
                return accepted <= {r.header("X-Prynt-Delivery") for r in receiver.requests}

            assert len(accepted) == 200
            await until(all_received, "everything acknowledged was delivered")
        finally:
            await daemon.stop()


async def test_a_state_folder_that_is_not_ours_is_a_clear_error(tmp_path: Path) -> None:
    """A state folder that can't be written to: exit code 1 and its name."""
    daemon = Daemon(tmp_path)
    daemon.state_dir.write_text("a file where a folder should be")
    await daemon.start(wait=False)
    assert await daemon.wait() == 1
    assert str(daemon.state_dir) in daemon.log()

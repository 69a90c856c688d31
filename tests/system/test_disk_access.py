"""A disk that goes read-only, and a state folder or a file in it that belongs to somebody else."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.daemon.relay import DATABASE_FILE
from tests.integration.receivers import Receiver
from tests.programs import program, unavailable
from tests.system.daemons import HOST, Daemon, until

EVENT: dict[str, Any] = {"eventType": "verdict.block", "data": {"text": "x" * 500}}
SOMEBODY = 65_534
"""A user who isn't the daemon's."""


async def run(*command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        lambda: subprocess.run(command, check=check, capture_output=True, text=True)
    )


class Ext4:
    """A file system on a disk of its own that gives up writing after an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder.with_suffix(".img")

    async def mount(self, *options: str) -> None:
        """Check it as a start of the machine would, and mount it."""
        await run("e2fsck", "-fp", str(self.image), check=False)
        what = ",".join(("loop", "errors=remount-ro", *options))
        done = await run("mount", "-o", what, str(self.image), str(self.folder), check=False)
        if done.returncode:
            pytest.skip(f"no file can be mounted here: {done.stderr.strip()}")

    async def unmount(self) -> None:
        await run("umount", str(self.folder))

    async def fail(self) -> None:
        """Have the kernel find an error: from then on nothing can be written."""
        found = await run("findmnt", "-n", "-o", "SOURCE", str(self.folder))
        device = Path(found.stdout.strip()).name
        trigger = Path("/sys/fs/ext4") / device / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel makes no errors to order")
        trigger.write_text("1")
        with pytest.raises(OSError, match="Read-only"):
            (self.folder / "probe").write_text("x")


@contextlib.asynccontextmanager
async def ext4(folder: Path) -> AsyncIterator[Ext4]:
    if os.geteuid() != 0:
        unavailable("only root can mount a file system")
    disk = Ext4(folder)
    make = program("mkfs.ext4", "e2fsprogs")
    folder.mkdir(mode=0o700)
    with disk.image.open("wb") as image:
        image.truncate(64 * 2**20)
    await run(make, "-q", "-F", str(disk.image))
    await disk.mount()
    folder.chmod(0o700)
    try:
        yield disk
    finally:
        await run("umount", "--lazy", str(folder), check=False)


async def ready(daemon: Daemon, status: int) -> bool:
    return (await daemon.request("GET", "/readyz", key=None))[0] == status


async def test_files_that_can_not_be_written_for_a_while(tmp_path: Path) -> None:
    """Read-only: refused, not ready, readable; written again: ready, and nothing was lost."""
    async with (
        ext4(tmp_path / "state") as disk,
        Receiver(host=HOST) as receiver,
        Daemon(tmp_path) as daemon,
    ):
        await daemon.webhook(receiver.url)
        accepted = {a["eventId"] for a in await daemon.publish(*[EVENT] * 20)}
        files = [str(disk.folder / f"{DATABASE_FILE}{end}") for end in ("", "-wal")]
        # Unlike permissions, this counts for files that are open.
        await run("chattr", "+i", *files)
        async with daemon.publisher() as lines:
            for _ in range(3):
                answer = await lines.send(EVENT)
                assert answer["error"]["code"] == "storage_unavailable", answer
            await until(lambda: ready(daemon, 503), "not ready while nothing can be written")
            assert (await daemon.request("GET", "/v1/events"))[0] == 200
            await run("chattr", "-i", *files)
            await until(lambda: ready(daemon, 200), "ready when it can be written again")
            accepted.add((await lines.send(EVENT))["eventId"])
        await received(receiver, accepted)


async def test_a_disk_that_breaks_and_goes_read_only_loses_nothing(tmp_path: Path) -> None:
    """An error of the disk: nothing is acknowledged any more; on the mended disk all is there."""
    async with ext4(tmp_path / "state") as disk, Receiver(host=HOST) as receiver:
        daemon = Daemon(tmp_path)
        await daemon.start()
        await daemon.webhook(receiver.url)
        accepted = {a["eventId"] for a in await daemon.publish(*[EVENT] * 20)}
        await disk.fail()
        # Writes fail, which passes; or a sync does, after which the daemon leaves.
        with contextlib.suppress(OSError):
            async with daemon.publisher() as lines:
                for _ in range(3):
                    answer = await lines.send(EVENT)
                    assert not answer["ok"], answer
        await daemon.stop()
        told = {line["action"] for line in daemon.log_lines()}
        assert told & {"storage_unavailable", "storage_failed"}

        await disk.unmount()
        await disk.mount()
        await daemon.start()
        try:
            accepted |= {a["eventId"] for a in await daemon.publish(*[EVENT] * 20)}
            assert len(accepted) == 40
            await received(receiver, accepted)
        finally:
            await daemon.stop()


async def received(receiver: Receiver, accepted: set[str]) -> None:
    async def all_received() -> bool:
        return accepted <= {r.header("X-Prynt-Delivery") for r in receiver.requests}

    await until(all_received, "everything acknowledged was delivered")


@pytest.mark.parametrize("started_before", [False, True], ids=["new", "used"])
async def test_a_read_only_disk_is_a_clear_error(tmp_path: Path, started_before: bool) -> None:
    """A start on a read-only disk: exit code 1, the folder's name and the reason."""
    async with ext4(tmp_path / "state") as disk:
        daemon = Daemon(tmp_path)
        if started_before:
            await daemon.start()
            await daemon.stop()
        await disk.unmount()
        await disk.mount("ro")
        await daemon.start(wait=False)
        assert await daemon.wait() == 1
        await refused(daemon, str(daemon.state_dir), "Read-only file system")


async def refused(daemon: Daemon, *words: str) -> None:
    """The log ends with one clear sentence."""
    assert "Traceback" not in daemon.log()
    message = daemon.log_lines()[-1]["message"]
    for word in words:
        assert word in message


async def as_an_ordinary_user(daemon: Daemon) -> int:
    """Start it as a user for whom permissions count, and return how it ends.

    A root without capabilities is one, and may still read the tests' own folders.
    """
    setpriv = program("setpriv", "util-linux")
    without = (setpriv, "--bounding-set=-all", "--inh-caps=-all", "--")
    await daemon.start(wait=False, prefix=without)
    return await daemon.wait()


def picture(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Owner, mode and content of a file, or of every file in a folder."""
    return {
        file.name: (file.stat().st_uid, file.stat().st_mode, file.read_bytes())
        for file in (path.iterdir() if path.is_dir() else [path])
    }


async def test_what_belongs_to_somebody_else_is_a_clear_error(tmp_path: Path) -> None:
    """State that another user owns: exit code 1 and its name, nothing overwritten or taken over."""
    if os.geteuid() != 0:
        unavailable("only root can give files away")
    daemon = Daemon(tmp_path)
    await daemon.start()
    await daemon.publish(*[EVENT] * 3)
    await daemon.stop()
    state = daemon.state_dir
    for path in (state, state / DATABASE_FILE, state / "lock", state / "api-key"):
        await asyncio.to_thread(shutil.chown, path, SOMEBODY, SOMEBODY)
        before = picture(path)
        assert await as_an_ordinary_user(daemon) == 1, path
        await refused(daemon, str(path), "ermi")
        assert picture(path) == before
        await asyncio.to_thread(shutil.chown, path, 0, 0)
    # Given back it goes on as before.
    await daemon.start()
    assert len((await daemon.api("GET", "/v1/events"))["data"]) == 3
    await daemon.stop()

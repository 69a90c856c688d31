import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from prynt_relay.errors import SocketUnusableError
from prynt_relay.intake.listener import MAX_PATH, UnixListener
from tests.integration.intake.rig import Rig, line_of, until


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """A listening socket such as systemd passes in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "inherited.sock"))
        sock.listen(16)
        yield sock


async def test_the_file_has_its_mode_and_goes_away_at_the_end() -> None:
    """Who may publish is who may open the file."""
    old_umask = os.umask(0o077)
    try:
        async with Rig(mode=0o660) as rig:
            status = rig.path.stat()
            assert stat.S_ISSOCK(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == 0o660
            assert rig.server.accepting
            await rig.server.stop(1)
            assert not rig.path.exists()
            assert not rig.server.accepting
    finally:
        os.umask(old_umask)


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    """A daemon that was killed leaves its file behind; the next one starts all the same."""
    path = tmp_path / "events.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    async with Rig(path=path) as rig:
        publisher = await rig.connect()
        publisher.write(line_of(1))
        assert (await publisher.answer())["ok"]


@pytest.mark.parametrize("backlog", [16, 0])
async def test_a_live_socket_is_left_alone(tmp_path: Path, backlog: int) -> None:
    """Somebody listens there: the start fails and says so, also when their queue is full."""
    path = tmp_path / "events.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as live:
        live.bind(str(path))
        live.listen(backlog)
        inode = path.stat().st_ino
        waiting: list[socket.socket] = []
        while backlog == 0 and not waiting[1:]:
            waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            waiting[-1].setblocking(False)
            try:
                waiting[-1].connect(str(path))
            except BlockingIOError:
                break
        rig = Rig(path=path, start=False)
        with pytest.raises(SocketUnusableError, match="another process listens"):
            await rig.server.start()
        assert path.stat().st_ino == inode
        assert not rig.server.accepting
        await rig.server.stop(1)
        assert path.exists()
        for sock in waiting:
            sock.close()


async def test_a_second_start_does_nothing() -> None:
    """Starting, quiescing and stopping twice are as good as once."""
    async with Rig() as rig:
        await rig.server.start()
        assert rig.server.accepting
        rig.server.quiesce()
        rig.server.quiesce()
        await rig.server.stop(1)
        await rig.server.stop(1)
        assert not rig.server.accepting


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A file or a folder in the place of the socket isn't deleted."""
    path = tmp_path / "events.sock"
    path.write_text("precious")
    with pytest.raises(SocketUnusableError, match="isn't a socket"):
        await Rig(path=path, start=False).server.start()
    assert path.read_text() == "precious"
    with pytest.raises(SocketUnusableError, match="isn't a socket"):
        await Rig(path=tmp_path, start=False).server.start()


async def test_a_place_that_cannot_be_listened_at(tmp_path: Path) -> None:
    """A missing folder and a path that is too long are named, with what to do."""
    missing = tmp_path / "missing" / "events.sock"
    with pytest.raises(SocketUnusableError, match=r"missing/events\.sock.*folder must exist"):
        await Rig(path=missing, start=False).server.start()
    long = tmp_path / ("x" * (MAX_PATH - len(str(tmp_path))))
    with pytest.raises(SocketUnusableError, match="107 bytes"):
        await Rig(path=long, start=False).server.start()
    longest = long.with_name(long.name[:-1])
    async with Rig(path=longest) as rig:
        assert len(str(longest)) == MAX_PATH
        await rig.connect()


async def test_a_file_that_is_not_ours_any_more_stays() -> None:
    """Somebody else's socket at our path outlives us; and we don't claim to accept there."""
    async with Rig() as rig:
        rig.path.unlink()
        assert not rig.server.accepting
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(str(rig.path))
            assert not rig.server.accepting
            await rig.server.stop(1)
            assert rig.path.exists()


async def test_an_inherited_socket_is_served_and_outlives_us(listening: socket.socket) -> None:
    """Publishers that connect while nobody serves it wait in its queue for the next daemon."""
    path = Path(listening.getsockname())
    mode = path.stat().st_mode
    async with Rig(inherited_fd=os.dup(listening.fileno()), path=path) as first:
        publisher = await first.connect()
        publisher.write(line_of(1))
        assert (await publisher.answer())["ok"]
        assert first.server.accepting
        await first.server.stop(1)
        waiting = await first.connect()
        waiting.write(line_of(2))
        async with Rig(inherited_fd=os.dup(listening.fileno()), path=path) as second:
            assert (await waiting.answer())["ok"]
            assert second.store.numbers == [2]
    assert path.stat().st_mode == mode


@pytest.mark.parametrize("kind", ["file", "tcp", "datagram", "not listening"])
async def test_an_inherited_descriptor_must_be_a_listening_unix_socket(
    tmp_path: Path, kind: str
) -> None:
    """Anything else that was passed in is refused by name."""
    sock: socket.socket | None = None
    if kind == "file":
        fd = os.open(tmp_path / "file", os.O_CREAT)
    else:
        if kind == "tcp":
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.listen()
        else:
            datagram = kind == "datagram"
            sock = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
            )
            sock.bind(str(tmp_path / "x.sock"))
        fd = sock.detach()
    with pytest.raises(SocketUnusableError, match=str(fd)):
        UnixListener.adopt(fd)
    os.close(fd)


async def test_out_of_file_descriptors_publishers_wait(caplog: pytest.LogCaptureFixture) -> None:
    """Accepting backs off instead of spinning or failing, and goes on when there are some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Rig() as rig:
        early = await rig.connect()
        early.write(line_of(1))
        await early.answer()
        # The next descriptors are for the publishers, none is left for their other ends.
        socks = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (socks[-1].fileno() + 1, hard))
        try:
            with pytest.raises(OSError, match="Too many open files") as exhausted:
                os.dup(0)
            assert exhausted.value.errno == errno.EMFILE
            for sock in socks:
                sock.setblocking(False)
                sock.connect(str(rig.path))
                sock.send(line_of(2))
            await until(lambda: not rig.server.accepting)
            # Whoever is connected is served meanwhile.
            early.write(line_of(3))
            assert (await early.answer())["ok"]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        loop = asyncio.get_running_loop()
        for sock in socks:
            assert b'"ok":true' in await loop.sock_recv(sock, 1000)
            sock.close()
        assert rig.server.accepting


async def test_while_draining_every_line_is_answered_shutting_down() -> None:
    """What was taken before is stored and answered; what comes after is refused, in order."""
    async with Rig() as rig:
        publisher = await rig.connect()
        rig.store.hold()
        publisher.write(line_of(1))
        await until(lambda: bool(rig.store.queued))
        rig.server.quiesce()
        publisher.write(line_of(2) + b"bad\n\n")
        await until(lambda: bool(rig.counts.rejected))
        rig.store.release()
        taken, *refused = await publisher.answers(3)
        assert taken["ok"]
        assert [answer["error"]["code"] for answer in refused] == ["shutting_down"] * 2
        assert rig.store.numbers == [1]
        assert rig.counts.rejected == {"shutting_down": 2}


async def test_after_the_acceptor_closed_lines_are_answered_shutting_down() -> None:
    """The API's way in and the socket's are closed by the same switch."""
    async with Rig() as rig:
        publisher = await rig.connect()
        rig.acceptor.close()
        publisher.write(line_of(1) + b"bad\n")
        codes = [answer["error"]["code"] for answer in await publisher.answers(2)]
        assert codes == ["shutting_down", "invalid_json"]


async def test_stopping_answers_what_was_taken_and_closes() -> None:
    """No connection is closed before its answers are written, and all are in the end."""
    async with Rig() as rig:
        rig.store.hold()
        publishers = [await rig.connect() for _ in range(20)]
        for publisher in publishers:
            publisher.write(b"".join(map(line_of, range(100))))
        await until(lambda: rig.store.queued >= 2000)
        stopping = asyncio.ensure_future(rig.server.stop(10))
        await asyncio.sleep(0)
        assert not rig.path.exists()
        rig.store.release()
        await stopping
        for publisher in publishers:
            assert [answer["ok"] for answer in await publisher.rest()] == [True] * 100
        assert rig.server.connections == 0


async def test_stopping_does_not_wait_for_ever() -> None:
    """A store that never answers and a publisher that never reads end with the time given."""
    async with Rig() as rig:
        stuck = await rig.connect()
        rig.store.hold()
        stuck.write(line_of(1))
        deaf = rig.connect_socket()
        while True:
            try:
                deaf.send(b"bad\n" * 1000)
            except BlockingIOError:
                break
        await until(lambda: bool(rig.store.queued))
        loop = asyncio.get_running_loop()
        started = loop.time()
        await rig.server.stop(0.2)
        assert 0.15 < loop.time() - started < 3
        assert rig.server.connections == 0


async def test_publishers_in_the_queue_of_a_socket_that_ends_are_not_reset() -> None:
    """Who connected before the end, unaccepted yet, gets the honest answer."""
    async with Rig() as rig:
        socks = [rig.connect_socket() for _ in range(10)]
        for sock in socks:
            sock.send(line_of(1))
        rig.server.quiesce()  # before the loop had a turn to accept them
        loop = asyncio.get_running_loop()
        for sock in socks:
            assert b"shutting_down" in await loop.sock_recv(sock, 1000)
        assert rig.store.events == []

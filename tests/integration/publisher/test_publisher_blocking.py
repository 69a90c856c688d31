import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prynt_relay.publisher import (
    BufferFullError,
    ClosedError,
    Publisher,
    RefusedError,
    UnansweredError,
)
from tests.integration.publisher.relay_thread import RelayThread


@pytest.fixture
def relay() -> Iterator[RelayThread]:
    with RelayThread() as relay:
        yield relay


def test_an_event_is_accepted(relay: RelayThread) -> None:
    """The caller blocks until the event is stored, and gets its id."""
    with Publisher(relay.path) as publisher:
        accepted = publisher.publish("visitor.new", {"number": 1}, idempotency_key="k")
        assert accepted.event_id == relay.rig.dispatcher.handed[0][1].event_id
        assert accepted.idempotency_key == "k"
        assert publisher.publish("visitor.new", {"number": 1}, idempotency_key="k").duplicate
        with pytest.raises(RefusedError, match="unknown_event_type"):
            publisher.publish("x", {})
        with pytest.raises(TypeError):
            publisher.publish("visitor.new", b"[]")
    assert relay.rig.store.numbers == [1]


def test_many_threads_share_one_connection(relay: RelayThread) -> None:
    """Each gets its own answers; each one's events keep their order."""
    with Publisher(relay.path, max_events=100) as publisher, ThreadPoolExecutor(8) as pool:

        def publish(name: int) -> list[str]:
            outcomes = [
                publisher.submit("visitor.new", {"number": [name, number]}) for number in range(200)
            ]
            return [outcome.result(30).event_id for outcome in outcomes]

        ids = list(pool.map(publish, range(8)))
    stored = relay.rig.store.numbers
    for name in range(8):
        assert [number for owner, number in stored if owner == name] == list(range(200))
    assert len({event_id for thread in ids for event_id in thread}) == 1600
    assert relay.rig.store.largest_queue <= 100


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_when_connections_are_cut(seed: int) -> None:
    """Whatever is cut off, each event is stored once and its caller knows."""
    with RelayThread(chaos_seed=seed) as relay:
        with Publisher(relay.path, max_events=50) as publisher:
            outcomes = [
                publisher.submit("visitor.new", {"number": number, "padding": "x" * 300})
                for number in range(400)
            ]
            ids = [outcome.result(60).event_id for outcome in outcomes]
        assert sorted(relay.rig.store.numbers) == list(range(400))
        assert sorted(ids) == sorted(
            appended.event_id for _, appended in relay.rig.dispatcher.handed
        )


def test_at_the_bound_the_caller_waits_or_is_told(relay: RelayThread) -> None:
    """Room is a matter of events and of bytes; waiting for it ends with the event's time."""
    relay.call(relay.rig.store.hold)
    with Publisher(relay.path, max_events=3) as waiting:
        outcomes = [waiting.submit("visitor.new", {"number": number}) for number in range(3)]
        with pytest.raises(UnansweredError, match="buffer was full") as unanswered:
            waiting.publish("visitor.new", {"number": "late"}, timeout_s=0.1)
        assert not unanswered.value.maybe_accepted
        with ThreadPoolExecutor(1) as pool:
            fourth = pool.submit(waiting.publish, "visitor.new", {"number": 3})
            relay.wait_until(lambda: relay.rig.store.queued == 3)
            relay.call(relay.rig.store.release)
            assert fourth.result(10).event_id
        assert all(outcome.result(10) for outcome in outcomes)
    relay.call(relay.rig.store.hold)
    with Publisher(relay.path, max_bytes=100, when_full="raise") as raising:
        outcome = raising.submit("visitor.new", {"number": 4})
        with pytest.raises(BufferFullError):
            raising.submit("visitor.new", {"number": 5})
        relay.call(relay.rig.store.release)
        outcome.result(10)
    assert relay.rig.store.numbers == [0, 1, 2, 3, 4]


def test_close_ends_honestly(relay: RelayThread, tmp_path: Path) -> None:
    """What isn't answered in time says so; waiting callers wake; nothing is taken afterwards."""
    publisher = Publisher(tmp_path / "nobody.sock", max_events=1)
    outcome = publisher.submit("visitor.new", {})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(publisher.publish, "visitor.new", {})
        publisher.close(timeout_s=0.1)
        with pytest.raises(ClosedError):
            waiting.result(10)
    with pytest.raises(UnansweredError, match="closed") as unanswered:
        outcome.result(0)
    assert not unanswered.value.maybe_accepted
    with pytest.raises(ClosedError):
        publisher.submit("visitor.new", {})
    publisher.close()
    Publisher(relay.path).close()  # one that was never used


def test_flush_waits_within_its_bound(relay: RelayThread) -> None:
    """It says whether everything is answered."""
    relay.call(relay.rig.store.hold)
    with Publisher(relay.path) as publisher:
        assert publisher.flush(0)
        outcome = publisher.submit("visitor.new", {"number": 1})
        assert not publisher.flush(0.05)
        relay.call(relay.rig.store.release)
        assert publisher.flush(10)
        assert outcome.done()


def test_a_forked_process_is_told_to_make_its_own(relay: RelayThread) -> None:
    """The connection's thread stays with the parent; a child that used it would wait for ever."""
    script = f"""
import os, sys
from prynt_relay.publisher import ClosedError, Publisher
publisher = Publisher({str(relay.path)!r})
publisher.publish("visitor.new", {{"number": 1}})
if os.fork() == 0:
    try:
        publisher.publish("visitor.new", {{"number": 2}})
    except ClosedError as error:
        os._exit(7 if "after the fork" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.wait()[1]))
publisher.publish("visitor.new", {{"number": 3}})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert relay.rig.store.numbers == [1, 3]


def test_a_program_that_just_ends_loses_nothing(relay: RelayThread) -> None:
    """What was submitted is delivered before the interpreter goes, without a close."""
    script = f"""
from prynt_relay.publisher import Publisher
publisher = Publisher({str(relay.path)!r})
for number in range(500):
    publisher.submit("visitor.new", {{"number": number}})
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert relay.rig.store.numbers == list(range(500))


def test_importing_it_costs_nothing() -> None:
    """The bar is 60 ms for the whole process; nothing but the standard library is loaded."""
    code = "import prynt_relay.publisher"
    spent = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
        after = os.times()  # of CPU: other tests may be running
        spent.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    assert min(spent) < 0.060
    code = """
import sys
old = set(sys.modules)
from prynt_relay.publisher import *
print(*{name.partition(".")[0] for name in set(sys.modules) - old})
"""
    listing = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(listing.stdout.split())
    assert loaded - set(sys.stdlib_module_names) == {"prynt_relay"}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_thread_or_socket_is_left_behind(relay: RelayThread) -> None:
    """Opening and closing a publisher again and again costs nothing that stays."""

    def use() -> None:
        with Publisher(relay.path) as publisher:
            publisher.publish("visitor.new", {"number": 1})

    use()
    relay.wait_until(lambda: relay.rig.server.connections == 0)
    gc.collect()
    files, threads = open_files(), threading.active_count()
    for _ in range(20):
        use()
    relay.wait_until(lambda: relay.rig.server.connections == 0)
    assert threading.active_count() == threads
    assert open_files() <= files

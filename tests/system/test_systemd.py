"""The service under systemd: readiness, confinement, drain, restarts, watchdog, reload.

The tests share one machine and run in their order.
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator

import pytest

from prynt_relay.version import __version__
from tests.docs_blocks import docs_story
from tests.system.machine import (
    CONFIG_FILE,
    SERVICE,
    SLOW,
    SOCKET,
    STATE,
    Machine,
    installed_machine,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with installed_machine(tmp_path_factory.mktemp("systemd")) as machine:
        yield machine


def test_the_documented_installation_starts_to_ready(machine: Machine) -> None:
    """The manual's commands install the wheel, and systemd sees READY."""
    assert machine.show("ActiveState") == "active"
    assert machine.show("Type") == "notify"
    assert machine.show("ActiveState", SOCKET) == "active"
    assert "Active: active (running)" in machine.story(docs_story("operations-check"))
    version = machine.run("/usr/local/bin/prynt-relay", "--version").stdout
    assert __version__ in version


def test_installing_again_changes_nothing(machine: Machine) -> None:
    """A second `prynt-relay install` finds everything in place."""
    said = machine.run("/usr/local/bin/prynt-relay", "install").stdout
    assert "wrote " not in said
    assert "linked " not in said


def test_verify_has_nothing_to_say(machine: Machine) -> None:
    """`systemd-analyze verify` prints nothing for the installed units."""
    done = machine.run("systemd-analyze", "verify", SERVICE, SOCKET, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exposure_is_small(machine: Machine) -> None:
    """`systemd-analyze security` rates the unit at most 1.5, offline and as it is loaded."""
    offline = machine.run(
        *("systemd-analyze", "security", "--offline=yes", "--threshold=15"),
        f"/etc/systemd/system/{SERVICE}",
    ).stdout
    loaded = machine.run("systemd-analyze", "security", SERVICE).stdout
    for report in (offline, loaded):
        level = re.search(r"Overall exposure level for \S+: ([\d.]+)", report)
        assert level, report
        assert float(level[1]) <= 1.5


def test_the_hardening_is_in_force(machine: Machine) -> None:
    """The running daemon has no capability, filtered system calls and a read-only file system."""
    pid = machine.main_pid()
    status = dict(
        line.split(":", 1) for line in machine.container.read(f"/proc/{pid}/status").splitlines()
    )
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert "0" not in status["Uid"].split()
    mounts = machine.container.read(f"/proc/{pid}/mountinfo").splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert "rw" in options[STATE]
    assert "rw" in options["/run/prynt-relay"]


def test_the_state_is_closed_to_others_and_the_socket_open_to_publishers(machine: Machine) -> None:
    """Only the daemon's user reads the state; the group prynt, and nobody else, may publish."""
    owner = "%U:%G %a"
    assert machine.run("stat", "-c", owner, STATE).stdout.strip() == "prynt-relay:prynt 700"
    key = machine.run("stat", "-c", owner, f"{STATE}/api-key").stdout.strip()
    assert key.endswith(" 600")
    socket = machine.run("stat", "-c", owner, "/run/prynt-relay/events.sock").stdout.strip()
    assert socket == "prynt-relay:prynt 660"
    answer = machine.publish({"eventType": "visitor.new", "data": {}})
    assert answer[0]["ok"] is True
    script = "import socket; socket.socket(socket.AF_UNIX).connect('/run/prynt-relay/events.sock')"
    done = machine.run("runuser", "--user", "nobody", "--", "python3", "-c", script, check=False)
    assert "PermissionError" in done.stderr


def test_a_wrong_file_fails_the_reload_and_changes_nothing(machine: Machine) -> None:
    """A mistake in the configuration fails `systemctl reload`, is named, and the daemon goes on."""
    pid = machine.main_pid()
    good = machine.container.read(CONFIG_FILE)
    machine.container.write(CONFIG_FILE, good + '\n[log]\nlevel = "loud"\n')
    done = machine.run("systemctl", "reload", SERVICE, check=False)
    assert done.returncode != 0
    assert "log.level" in machine.journal()
    assert machine.main_pid() == pid
    assert machine.show("ActiveState") == "active"
    # A SIGHUP that nobody checked the file before is no different.
    machine.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", SERVICE)
    machine.container.wait_for(
        "the refusal",
        *("sh", "-c", f"journalctl -u {SERVICE} _PID={pid} | grep log.level"),
    )
    assert machine.publish({"eventType": "visitor.new", "data": {}})[0]["ok"] is True
    assert machine.main_pid() == pid
    machine.container.write(CONFIG_FILE, good)


def test_a_reload_takes_over_the_log_level(machine: Machine) -> None:
    """The documented reload reaches the running daemon, without a restart."""
    pid = machine.main_pid()
    good = machine.container.read(CONFIG_FILE)
    machine.container.write(CONFIG_FILE, good + '\n[log]\nlevel = "debug"\n')
    machine.story(docs_story("operations-reload"))
    machine.container.wait_for(
        "the reload",
        *("sh", "-c", f"journalctl -u {SERVICE} _PID={pid} | grep -i reload"),
    )
    assert machine.main_pid() == pid
    assert machine.show("ActiveState") == "active"
    machine.container.write(CONFIG_FILE, good)
    machine.configure()


def test_an_event_is_delivered(machine: Machine) -> None:
    """What a publisher writes to the socket arrives, signed, at a receiver over verified TLS."""
    machine.subscribe()
    (answer,) = machine.publish({"eventType": "visitor.new", "data": {"visitorId": "pv_1"}})
    assert answer["ok"] is True
    requests = machine.wait_received({answer["eventId"]})
    (request,) = [request for request in requests if request["event"] == answer["eventId"]]
    signed = f"{request['timestamp']}.{request['body']}".encode()
    expected = hmac.new(machine.secret.encode(), signed, hashlib.sha256).hexdigest()
    assert request["signature"] == f"sha256={expected}"


def test_credentials_arrive(machine: Machine) -> None:
    """The documented secrets reach the daemon and nobody else, and encrypt what is stored."""
    assert machine.run("ls", f"/run/credentials/{SERVICE}").stdout == ""
    stored = ("sh", "-c", f"cat {STATE}/relay.db* | grep --count --text whsec_")
    assert int(machine.run(*stored).stdout) > 0
    machine.configure(
        '\n[email]\nhost = "127.0.0.1"\nport = 2525\ntls = "none"\nusername = "relay"\n'
        'recipients = ["ops@example.com"]\n',
        restart=False,
    )
    machine.story(docs_story("operations-credentials"))
    machine.wait_active()
    listed = machine.run("ls", f"/run/credentials/{SERVICE}").stdout.split()
    assert listed == ["email_password", "encryption_keys"]
    # What was in clear until now is gone from the files once the log has been written back.
    machine.run("systemctl", "stop", SERVICE)
    assert machine.run(*stored, check=False).stdout == "0\n"
    machine.run("systemctl", "start", SERVICE)
    (answer,) = machine.publish({"eventType": "visitor.new", "data": {}})
    machine.wait_received({answer["eventId"]})


def test_stop_drains(machine: Machine) -> None:
    """What is in flight when the service is stopped is finished, recorded, and not sent again."""
    machine.container.write(SLOW, "3")
    (answer,) = machine.publish({"eventType": "visitor.new", "data": {"slow": True}})
    machine.wait_received({answer["eventId"]})
    started = time.monotonic()
    machine.story(docs_story("operations-stop"))
    took = time.monotonic() - started
    machine.run("rm", SLOW)
    assert 1 < took < 20
    assert machine.show("Result") == "success"
    machine.run("systemctl", "start", SOCKET, SERVICE)
    machine.wait_active()
    event = machine.prynt("events", "get", answer["eventId"])
    assert [delivery["state"] for delivery in event["deliveries"]] == ["delivered"]
    sent = [request for request in machine.received() if request["event"] == answer["eventId"]]
    assert len(sent) == 1


def test_the_socket_outlives_the_daemon(machine: Machine) -> None:
    """Stopping the service alone leaves the socket; who connects then starts it and is served."""
    machine.run("systemctl", "stop", SERVICE)
    assert machine.show("ActiveState") == "inactive"
    assert machine.show("ActiveState", SOCKET) == "active"
    assert machine.publish({"eventType": "visitor.new", "data": {}})[0]["ok"] is True
    machine.wait_active()


def test_a_killed_daemon_is_restarted(machine: Machine) -> None:
    """SIGKILL is followed by another start, and what was acknowledged is delivered."""
    pid = machine.main_pid()
    machine.container.write(SLOW, "2")
    (answer,) = machine.publish({"eventType": "visitor.new", "data": {"killed": True}})
    machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", SERVICE)
    machine.run("rm", SLOW)
    machine.wait_active(other_than=pid)
    machine.wait_settled(answer["eventId"])


def test_a_hanging_daemon_is_caught_by_the_watchdog(machine: Machine) -> None:
    """A daemon that stops answering is ended by systemd's watchdog and started again."""
    with machine.drop_in("[Service]\nWatchdogSec=3s\n"):
        pid = machine.wait_active()
        since = machine.run("date", "+%Y-%m-%d %H:%M:%S").stdout.strip()
        machine.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", SERVICE)
        machine.wait_active(other_than=pid, timeout_s=60)
        assert "Watchdog timeout" in machine.journal("--since", since)
        assert machine.publish({"eventType": "visitor.new", "data": {}})[0]["ok"] is True


def test_a_healthy_daemon_feeds_the_watchdog(machine: Machine) -> None:
    """Under load a short watchdog never fires: it is fed more often than it asks for."""
    with machine.drop_in("[Service]\nWatchdogSec=2s\n"):
        pid = machine.wait_active()
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            events = [{"eventType": "visitor.new", "data": {"n": n}} for n in range(200)]
            assert all(answer["ok"] for answer in machine.publish(*events))
        assert machine.main_pid() == pid


def test_a_hundred_restarts_lose_nothing_and_refuse_nobody(machine: Machine) -> None:
    """Under a publishing client 80 restarts and 20 kills: no connect fails, no event is lost."""
    machine.start_publisher(pause_s=0.005)
    for number in range(100):
        pid = machine.wait_active(timeout_s=60)
        if number % 5 == 4:
            machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", SERVICE)
            machine.wait_active(other_than=pid, timeout_s=60)
        else:
            machine.run("systemctl", "restart", SERVICE)
        assert machine.show("ActiveState", SOCKET) == "active"
    published = machine.stop_publisher()
    assert published["failed_connects"] == []
    assert published["connects"] > 50
    assert set(published["refused"]) <= {"shutting_down"}
    ids = [event_id for event_id, _ in published["acknowledged"]]
    print(
        f"{len(ids)} acknowledged, {published['resent']} resent, {published['connects']} connects"
    )
    assert len(ids) == len(set(ids)) > 100
    machine.wait_received(set(ids), timeout_s=120)
    assert set(ids) <= machine.event_ids()


def test_the_journal_has_json_with_priorities(machine: Machine) -> None:
    """Each line is JSON with an action, and its level is journald's priority."""
    printed = machine.story(docs_story("operations-logs"))
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    assert lines
    assert all("action" in json.loads(line) for line in lines)
    raw = machine.journal("--output=json", f"_SYSTEMD_UNIT={SERVICE}", "-n", "200")
    for entry in map(json.loads, raw.splitlines()):
        if entry["MESSAGE"].startswith("{"):
            level = json.loads(entry["MESSAGE"])["level"]
            expected = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}
            assert entry["PRIORITY"] == expected[level]

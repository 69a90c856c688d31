"""The relay as a service in a booted Debian, installed from the built wheel by the manual."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.docs_blocks import Block, docs_story
from tests.programs import program
from tests.system import nspawn
from tests.system.nspawn import Container
from tests.system.wheel import build_wheel, build_wheel_as, fetch_dependencies

SERVICE: Final = "prynt-relay.service"
SOCKET: Final = "prynt-relay.socket"
STATE: Final = "/var/lib/prynt-relay"
CONFIG_FILE: Final = "/etc/prynt-relay/config.toml"
RECEIVED: Final = "/srv/received"
SLOW: Final = "/srv/slow"
PUBLISHER: Final = "/srv/publisher"
NEXT_VERSION: Final = "0.2.0"

_HERE: Final = Path(__file__).parent
_CONFIG: Final = """
[egress]
allow_addresses = ["127.0.0.0/8"]
ca_file = "/etc/prynt-relay/receivers-ca.pem"

[delivery]
retry_schedule = ["1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]
"""


class Machine:
    """The container, and what is asked of it again and again."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.run = container.run
        self._installed_config = ""
        self.secret = ""
        """The signing secret of the webhook that `subscribe` made."""

    def story(self, blocks: list[Block]) -> str:
        """Execute documented commands as they stand; return what they printed."""
        script = "".join(block.text for block in blocks)
        environment = ["PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "PIP_QUIET=1"]
        command = ["env", "--chdir=/wheels", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        done = self.run(
            *(*command, *environment, "sh", "-eux", "-c", script), check=False, timeout_s=300
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.journal('-n', '30')}"
        return done.stdout

    def show(self, name: str, unit: str = SERVICE) -> str:
        """One of a unit's properties."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def main_pid(self) -> int:
        """The daemon's pid inside; 0 while there is none."""
        return int(self.show("MainPID"))

    def wait_active(self, other_than: int = 0, timeout_s: float = 30.0) -> int:
        """Return the pid of a daemon that has said READY, and isn't `other_than`."""
        deadline = time.monotonic() + timeout_s
        while True:
            state, pid = self.show("ActiveState"), self.main_pid()
            if state == "active" and pid not in (0, other_than):
                return pid
            assert time.monotonic() < deadline, f"{state}, pid {pid}:\n{self.journal()}"
            time.sleep(0.05)

    def journal(self, *options: str) -> str:
        """What the daemon and systemd logged about the service."""
        return self.run("journalctl", "--no-pager", "--unit", SERVICE, *options).stdout

    def prynt(self, *arguments: str) -> Any:
        """Run `prynt` with --json and return what it answered."""
        return json.loads(self.run("/usr/local/bin/prynt", *arguments, "--json").stdout)

    def received(self) -> list[dict[str, Any]]:
        """Every request that the receiver got so far."""
        text = self.run("sh", "-c", f"cat {RECEIVED} 2>/dev/null || true").stdout
        return [json.loads(line) for line in text.splitlines()]

    def wait_received(self, event_ids: set[str], timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Return all requests once each of the events has arrived."""
        deadline = time.monotonic() + timeout_s
        while True:
            requests = self.received()
            missing = event_ids - {request["event"] for request in requests}
            if not missing:
                return requests
            assert time.monotonic() < deadline, f"{len(missing)} never came, e.g. {min(missing)}"
            time.sleep(0.2)

    def start_publisher(self, pause_s: float) -> None:
        """Have the user `shop` publish one event after the other in the background."""
        self.run("install", "--directory", "--owner=shop", PUBLISHER)
        command = ["python3", "/tests/inside_publisher.py", "/run/prynt-relay/events.sock"]
        command += [f"{PUBLISHER}/stop", f"{PUBLISHER}/published", str(pause_s)]
        self.container.start("publisher", *command, user="shop")

    def stop_publisher(self) -> dict[str, Any]:
        """Let it finish, and return what it has to tell."""
        self.run("touch", f"{PUBLISHER}/stop")
        self.container.wait_ended("publisher")
        told: dict[str, Any] = json.loads(self.container.read(f"{PUBLISHER}/published"))
        self.run("rm", "--recursive", PUBLISHER)
        return told

    def publish(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Publish through the socket, as the user `shop`; return the answers."""
        lines = "".join(json.dumps(event) + "\n" for event in events)
        script = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX); s.connect('/run/prynt-relay/events.sock')\n"
            "s.sendall(sys.stdin.buffer.read()); f = s.makefile('rb')\n"
            f"sys.stdout.writelines(f.readline().decode() for _ in range({len(events)}))\n"
        )
        command = ["runuser", "--user", "shop", "--", "python3", "-c", script]
        done = self.run(*command, text=lines)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def configure(self, addition: str = "", *, restart: bool = True) -> None:
        """Set the installed configuration, what receivers inside need, and `addition`."""
        if not self._installed_config:
            self._installed_config = self.container.read(CONFIG_FILE)
        self.container.write(CONFIG_FILE, self._installed_config + _CONFIG + addition)
        if restart:
            self.run("systemctl", "restart", SERVICE)

    def subscribe(self) -> None:
        """Create a webhook that leads to the receiver inside."""
        url = "https://127.0.0.1:8443/hook"
        created = self.prynt("webhooks", "create", url, "--events", "visitor.new")
        self.secret = created["signingSecret"]

    def event_ids(self) -> set[str]:
        """The ids of all events that the relay has."""
        found: set[str] = set()
        cursor: list[str] = []
        while True:
            page = self.prynt("events", "list", "--limit", "250", *cursor)
            found.update(event["eventId"] for event in page["data"])
            if page["nextCursor"] is None:
                return found
            cursor = ["--cursor", page["nextCursor"]]

    def wait_settled(self, event_id: str, state: str = "delivered") -> None:
        """Return once the event's one delivery is in `state`."""
        deadline = time.monotonic() + 30
        while True:
            deliveries = self.prynt("events", "get", event_id)["deliveries"]
            if [delivery["state"] for delivery in deliveries] == [state]:
                return
            assert time.monotonic() < deadline, deliveries
            time.sleep(0.1)

    @contextlib.contextmanager
    def drop_in(self, content: str) -> Iterator[None]:
        """Run with a drop-in of the service; the daemon is restarted before and after."""
        path = f"/etc/systemd/system/{SERVICE}.d/90-test.conf"
        self.container.write(path, content)
        for step in ("write", "remove"):
            if step == "remove":
                self.run("rm", path)
            self.run("systemctl", "daemon-reload")
            self.run("systemctl", "restart", SERVICE)
            if step == "write":
                yield


@contextlib.contextmanager
def installed_machine(scratch: Path) -> Iterator[Machine]:
    """Boot a Debian with a receiver in it and install the relay as the manual says."""
    reason = nspawn.forbidden()
    if reason is not None:
        pytest.skip(reason)
    program("systemd-nspawn", "systemd-container")
    program("mmdebstrap", "mmdebstrap")
    root = nspawn.base_root()
    (python,) = (path.name for path in (root / "usr/bin").glob("python3.*[0-9]"))
    wheels = scratch / "wheels"
    wheel = build_wheel(wheels)
    build_wheel_as(NEXT_VERSION, wheels, scratch)
    fetch_dependencies(wheel, wheels, python.removeprefix("python"))
    with Container.boot(root, scratch, {wheels: "/wheels", _HERE: "/tests"}) as container:
        authority = trustme.CA()
        container.write("/etc/prynt-relay/receivers-ca.pem", authority.cert_pem.bytes())
        pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
        container.write("/etc/receiver.pem", pem)
        command = ["python3", "/tests/inside_receiver.py", "8443", "/etc/receiver.pem"]
        container.start("receiver", *command, RECEIVED, SLOW)
        machine = Machine(container)
        machine.story(docs_story("operations-install"))
        machine.story(docs_story("operations-publisher"))
        yield machine

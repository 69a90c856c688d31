"""docs/cli.md, command by command, as the installed program against the installed daemon."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs_blocks import docs_story
from tests.system.cli_daemon import PRYNT, Daemon, free_port, running_daemon

ENDLESS = re.compile(r"prynt (listen|webhooks stream)\b")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path) as daemon:
        yield daemon


class Reader:
    """Somebody who follows the page: with ids of theirs in place of the page's."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._port = str(free_port())
        self._endless = contextlib.ExitStack()
        self._webhook = ""
        self.commands: list[str] = []
        self.codes: list[int] = []

    def follow(self, command: str) -> None:
        """Run one command; AssertionError where it fails."""
        self.commands.append(command)
        mine = self._in_my_words(command)
        if ENDLESS.match(mine):
            endless = self._endless.enter_context(self._daemon.running(*shlex.split(mine)[1:]))
            assert "Ctrl-C ends it." in endless.err.get(timeout=20)
            self._endless.callback(lambda: self.codes.append(endless.interrupt()))
            return
        done = subprocess.run(
            ["bash", "-euc", mine],
            env={**self._daemon.env, "PATH": f"{PRYNT.parent}:{self._daemon.env['PATH']}"},
            cwd=self._daemon.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{mine}\n{done.stdout}\n{done.stderr}"
        created = re.search(r"^wh_\w{13}", done.stdout)
        if created and not self._webhook:
            self._webhook = created[0]

    def leave(self) -> None:
        """End what goes on."""
        self._endless.close()

    def _in_my_words(self, command: str) -> str:
        url = f"http://127.0.0.1:{self._port}/webhooks/prynt"
        command = command.replace("https://yourapp.com/webhooks/prynt", url)
        command = command.replace("3000", self._port)
        command = command.replace("wh_3kR8mNqT7xP2v", self._webhook)
        if "del_x9K2mNpR7jT3q" in command:
            command = command.replace(
                "del_x9K2mNpR7jT3q", self._newest(f"webhooks deliveries {self._webhook}")["id"]
            )
        if "evt_9fJ3kL7mNpR2x" in command:
            command = command.replace("evt_9fJ3kL7mNpR2x", self._newest("events list")["eventId"])
        return command

    def _newest(self, listed: str) -> Any:
        text = self._daemon.prynt(*listed.split(), "--json", "--limit", "1")
        return json.loads(text)["data"][0]


def test_the_page_can_be_followed_from_its_beginning_to_its_end(daemon: Daemon) -> None:
    """Each command works where it stands, and the page shows every command that there is."""
    reader = Reader(daemon)
    try:
        for block in docs_story("cli"):
            for command in block.text.replace("\\\n", " ").splitlines():
                if "jq " not in command or shutil.which("jq"):
                    reader.follow(command)
    finally:
        reader.leave()
    assert reader.codes == [0, 0, 0]
    assert json.loads(daemon.prynt("webhooks", "list", "--json"))["data"]
    shown = "\n".join(reader.commands)
    for group in ("webhooks", "events"):
        listed = daemon.prynt(group, "--help").partition("Commands:\n")[2]
        for name in re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE):
            assert f"prynt {group} {name}" in shown, f"the page doesn't show {group} {name}"

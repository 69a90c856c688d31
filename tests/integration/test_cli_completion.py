"""Completion, as a real bash asks for it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_rows import HOOK, webhook
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt

PROGRAM = Path(sys.executable).with_name("prynt")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        api.webhooks = [webhook()]
        yield api


def complete(*words: str, **env: str) -> list[str]:
    """What bash offers after these words, the last of them unfinished."""
    script = (
        'eval "$(prynt completion bash)"; COMP_WORDS=(prynt "$@"); COMP_CWORD=$#;'
        "_prynt_completion prynt; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env={"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "HOME": "/nonexistent", **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_options_and_types_are_completed() -> None:
    """At each place what can stand there, also without any daemon."""
    assert complete("web") == ["webhooks"]
    assert complete("webhooks", "de") == ["delete", "deliveries"]
    assert "--show-signature" in complete("webhooks", "inspect", "--s")
    assert complete("webhooks", "deliveries", "--state", "he") == ["held"]
    assert complete("events", "send", "verdict.") == [
        "verdict.allow",
        "verdict.block",
        "verdict.challenge",
    ]


def test_webhooks_are_completed_where_the_daemon_answers(api: FakeApi) -> None:
    """Their ids come from the API; without it, or without a key, there are none and no noise."""
    known = {"PRYNT_API_URL": api.url, "PRYNT_API_KEY": KEY}
    assert complete("webhooks", "get", "wh_", **known) == [HOOK]
    assert complete("webhooks", "get", "del_", **known) == []
    assert complete("webhooks", "get", "wh_", PRYNT_API_URL=api.url, PRYNT_API_KEY="wrong") == []
    assert complete("webhooks", "get", "wh_", PRYNT_API_URL="http://127.0.0.1:9") == []


def test_setup_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a shell's name the command says what to do for each."""
    done = Prynt(monkeypatch)("completion")
    assert done.code == 0
    for shell in ("bash", "zsh", "fish"):
        assert f"prynt completion {shell}" in done.out
        assert "_PRYNT_COMPLETE" in Prynt(monkeypatch)("completion", shell).out

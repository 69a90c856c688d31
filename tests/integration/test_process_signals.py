"""Signals to the daemon's process, also before it has started and while it stops."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog.testing
from msgspec.structs import replace

from prynt_relay.config.settings import Config, Email
from prynt_relay.daemon.relay import Relay
from prynt_relay.daemon.serving import Process
from tests.integration.relays import local_config, running


class Reloads:
    """Gives out a configuration with another time-out, and counts how often."""

    def __init__(self, config: Config) -> None:
        self.count = 0
        self._config = replace(config, delivery=replace(config.delivery, timeout_s=7.0))

    def __call__(self) -> Config:
        self.count += 1
        return self._config


async def test_a_reload_during_the_start_is_made_up_for(tmp_path: Path) -> None:
    """SIGHUP before the daemon is ready neither ends it nor is lost."""
    config = local_config(tmp_path)
    relay = Relay(config)
    reloads = Reloads(config)
    process = Process(relay, reloads)
    process.asked_to_reload()
    assert reloads.count == 0
    await relay.start()
    try:
        process.started()
        assert relay.config.delivery.timeout_s == 7.0
        assert not relay.supervisor.failed.done()
    finally:
        await relay.stop(0.0)


async def test_a_reload_while_stopping_is_left_out(tmp_path: Path) -> None:
    """SIGHUP after SIGTERM changes nothing: the next start reads the file anyway."""
    config = local_config(tmp_path)
    relay = Relay(config)
    reloads = Reloads(config)
    process = Process(relay, reloads)
    await relay.start()
    try:
        process.started()
        process.asked_to_stop()
        process.asked_to_reload()
        assert reloads.count == 0
    finally:
        await relay.stop(0.0)


async def test_settings_without_an_effect_are_warned_of(tmp_path: Path) -> None:
    """Half of what e-mails need is said once, at the start and when a reload brings it."""
    half = Email(host="mail.test", password="sesame")
    whole = Email(host="mail.test", recipients=("a@b.test",))
    config = local_config(tmp_path, email=half)
    with structlog.testing.capture_logs() as lines:
        async with running(config) as relay:
            assert _warned_of(lines) == ["email.host", "email.password"]
            relay.reload(replace(config, email=whole))
            relay.reload(replace(config, email=whole))
            assert len(_warned_of(lines)) == 2
            relay.reload(replace(config, email=half))
            assert _warned_of(lines)[2:] == ["email.host", "email.password"]
    assert "sesame" not in repr(lines)


def _warned_of(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["key"] for line in lines if line["action"] == "config_warning"]

"""`prynt webhooks`, what creates, changes and deletes, against an API of section 6."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_rows import HOOK, delivery, webhook
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import Prynt


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def prynt(api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prynt:
    return Prynt.knowing(api.url, KEY, monkeypatch, tmp_path)


def test_create_sends_every_field_and_shows_the_secret_once(
    api: FakeApi, prynt: Prynt, tmp_path: Path
) -> None:
    """Each option becomes the API's field; the password comes from stdin."""
    more = tmp_path / "headers"
    more.write_text("X-Key: from file\n\n")
    done = prynt(
        "webhooks", "create", "https://yourapp.com/webhooks/prynt",
        "--events", "verdict.block,alert.triggered", "--events", "rule.matched",
        "--description", "Fraud alerts", "--disabled", "--basic-auth", "bob", "--password-stdin",
        "--header", "X-Team: fraud: ops", "--headers-file", str(more), "--format", "prynt",
        "--signature", "prynt,standard", "--timeout", "5s", "--retry-schedule", "1m, 10m",
        "--filter", "data.scores.suspect > `50`", "--profile", "fingerprint",
        stdin=b"s3cret \n",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert api.requests[-1] == (
        "POST",
        "/v1/webhooks",
        {
            "url": "https://yourapp.com/webhooks/prynt",
            "events": ["verdict.block", "alert.triggered", "rule.matched"],
            "description": "Fraud alerts",
            "enabled": False,
            "auth": {"type": "basic", "username": "bob", "password": "s3cret "},
            "headers": {"X-Team": "fraud: ops", "X-Key": "from file"},
            "format": "prynt",
            "signatures": ["prynt", "standard"],
            "timeout": "5s",
            "retrySchedule": ["1m", "10m"],
            "filter": "data.scores.suspect > `50`",
            "profile": "fingerprint",
        },
    )
    assert "whsec_" + "a" * 32 in done.out
    assert "not shown again" in done.err


def test_create_sends_only_what_was_given(api: FakeApi, prynt: Prynt) -> None:
    """Defaults are the API's; `--json` is its answer with the secret."""
    done = prynt("webhooks", "create", "https://a.example.com/", "--events", "*", "--json")
    assert api.requests[-1][2] == {"url": "https://a.example.com/", "events": ["*"]}
    assert json.loads(done.out)["signingSecret"] == "whsec_" + "a" * 32
    prynt("webhooks", "create", "https://a.example.com/", "--profile", "fingerprint",
          "--retry-schedule", "none")  # fmt: skip
    assert api.requests[-1][2] == {
        "url": "https://a.example.com/", "profile": "fingerprint", "retrySchedule": [],
    }  # fmt: skip


def test_the_password_may_come_from_the_environment(
    api: FakeApi, prynt: Prynt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$PRYNT_BASIC_AUTH_PASSWORD serves scripts; without it, off a terminal, that is an error."""
    command = ("webhooks", "create", "https://a.example.com/", "--events", "*", "--basic-auth")
    done = prynt(*command, "bob")
    assert done.code == 2
    assert "$PRYNT_BASIC_AUTH_PASSWORD" in done.err
    refused = prynt(*command, "bob:hunter2")
    assert refused.code == 2
    assert "hunter2" not in refused.err
    monkeypatch.setenv("PRYNT_BASIC_AUTH_PASSWORD", "s3cret")
    assert prynt(*command, "bob").code == 0
    assert api.requests[-1][2]["auth"]["password"] == "s3cret"


def test_get_shows_every_field(api: FakeApi, prynt: Prynt) -> None:
    """One webhook with its authentication, headers, retries and exact times."""
    api.webhooks = [webhook(failingSince="2026-02-14T10:31:00.000Z", somethingNew="shown too")]
    out = prynt("webhooks", "get", HOOK).out
    for text in (
        HOOK, "failing ", "https://yourapp.com/webhooks/prynt", "Fraud alerts", "verdict.block",
        "basic, as bob", "X-Team: ***", "Retries         5m", "2026-02-14T10:31:00.000Z (",
        "somethingNew    shown too",
    ):  # fmt: skip
        assert text in out
    assert json.loads(prynt("webhooks", "get", HOOK, "--json").out) == api.webhooks[0]


def test_get_tells_whose_timeout_and_retries_hold_and_where_a_failure_shows(
    api: FakeApi, prynt: Prynt
) -> None:
    """What the webhook leaves to the configuration is named, as is the list of its deliveries."""
    api.webhooks = [webhook(timeout=None, retrySchedule=None)]
    done = prynt("webhooks", "get", HOOK)
    assert "Timeout         the configuration's\n" in done.out
    assert "Retries         the configuration's\n" in done.out
    assert done.err == ""
    api.webhooks = [webhook(timeout="5s", retrySchedule=[], failingSince="2026-02-14T10:31:00Z")]
    done = prynt("webhooks", "get", HOOK)
    assert "Timeout         5s\n" in done.out
    assert "Retries         none\n" in done.out
    assert done.err == f"How its attempts went: prynt webhooks deliveries {HOOK}\n"


def test_update_sends_what_changes_and_takes_fields_back(api: FakeApi, prynt: Prynt) -> None:
    """Null takes a field back to its default; what isn't mentioned isn't sent."""
    api.webhooks = [webhook()]
    done = prynt(
        "webhooks", "update", HOOK, "--url", "https://b.example.com/", "--timeout", "default",
        "--retry-schedule", "default", "--filter", "", "--no-basic-auth", "--no-headers",
        "--description", "",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert api.requests[-1] == (
        "PATCH",
        f"/v1/webhooks/{HOOK}",
        {
            "url": "https://b.example.com/",
            "timeout": None,
            "retrySchedule": None,
            "filter": None,
            "auth": None,
            "headers": {},
            "description": "",
        },
    )
    assert "https://b.example.com/" in done.out


def test_enable_and_disable(api: FakeApi, prynt: Prynt) -> None:
    """Each is one PATCH; enabling a webhook that has held deliveries says how to send them."""
    api.webhooks = [webhook(enabled=False)]
    assert "retry" not in prynt("webhooks", "enable", HOOK).err
    api.deliveries = [delivery(state="held")]
    assert f"prynt webhooks retry {HOOK} --since 24h" in prynt("webhooks", "enable", HOOK).err
    assert json.loads(prynt("webhooks", "enable", HOOK, "--json").out)["enabled"] is True
    assert "disabled" in prynt("webhooks", "disable", HOOK).out
    assert api.requests[-1] == ("PATCH", f"/v1/webhooks/{HOOK}", {"enabled": False})


def test_delete_off_a_terminal_does_not_ask(api: FakeApi, prynt: Prynt) -> None:
    """It is deleted; the API's 204 is `null` in JSON."""
    api.webhooks = [webhook(), webhook(1)]
    assert "is deleted" in prynt("webhooks", "delete", HOOK).out
    assert prynt("webhooks", "delete", api.webhooks[0]["id"], "--json").out == "null\n"
    assert api.webhooks == []


def test_rotate_secret_shows_the_new_one_and_when_it_signs(api: FakeApi, prynt: Prynt) -> None:
    """The default is the API's; `--activate-in` is passed on."""
    api.webhooks = [webhook()]
    done = prynt("webhooks", "rotate-secret", HOOK)
    assert api.requests[-1] == ("POST", f"/v1/webhooks/{HOOK}/rotate-secret", {})
    assert "whsec_" + "b" * 32 in done.out
    assert "2026-02-15T10:30:00.000Z" in done.out
    prynt("webhooks", "rotate-secret", HOOK, "--activate-in", "0s", "--yes")
    assert api.requests[-1][2] == {"activateIn": "0s"}

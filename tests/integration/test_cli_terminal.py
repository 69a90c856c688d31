"""`prynt` on a terminal: colour, widths, questions and Ctrl-C, through a real one (a pty)."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_rows import DELIVERY, HOOK, attempt, delivery, webhook
from tests.integration.fake_api import KEY, FakeApi
from tests.integration.prynt_cli import PRYNT, OnTerminal

CSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        api.webhooks = [webhook()]
        yield api


@pytest.fixture
def env(api: FakeApi, tmp_path: Path) -> dict[str, str]:
    return {"PRYNT_API_URL": api.url, "PRYNT_API_KEY": KEY, "HOME": str(tmp_path), "TZ": "UTC"}


def on_terminal(*args: str, env: dict[str, str], columns: int = 80) -> tuple[int, str]:
    with OnTerminal(*args, env=env, columns=columns) as running:
        done = running.finish()
    return done.code, done.out


def test_colour_is_for_terminals_that_want_it(api: FakeApi, env: dict[str, str]) -> None:
    """On a terminal states have colour; with NO_COLOR, TERM=dumb or off a terminal none."""
    api.deliveries = [delivery()]
    args = ("webhooks", "deliveries")
    assert "\x1b[31mfailed" in on_terminal(*args, env=env)[1]
    assert "\x1b[31m" not in on_terminal(*args, env={**env, "NO_COLOR": "1"})[1]
    assert "\x1b" not in on_terminal(*args, env={**env, "TERM": "dumb"})[1]
    done = subprocess.run(
        [*PRYNT, *args], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("columns", [80, 160])
def test_tables_fit_the_terminal(columns: int, api: FakeApi, env: dict[str, str]) -> None:
    """No line of a table is wider than the terminal, and a wide one shows more."""
    api.deliveries = [
        delivery(n, eventType="identification.complete", lastOutcome="connection_refused")
        for n in range(1, 5)
    ]
    for args in (("deliveries",), ("deliveries", HOOK), ("list",)):
        code, text = on_terminal("webhooks", *args, env=env, columns=columns)
        lines = CSI.sub("", text).splitlines()
        assert code == 0
        assert max(map(len, lines)) <= columns
        assert len(lines) == len(text.splitlines())
    wide = "evt_" in on_terminal("webhooks", "deliveries", HOOK, env=env, columns=columns)[1]
    assert wide == (columns == 160)


def test_hostile_text_sends_no_sequence_of_its_own(api: FakeApi, env: dict[str, str]) -> None:
    """All escape sequences on the screen are colours that `prynt` chose."""
    api.webhooks = [webhook(description="\x1b]0;x\x07\x9b2J", url="https://a.example.com/\x1b[5m")]
    api.deliveries = [delivery(attempts=[attempt(1)])]
    api.deliveries[0]["attempts"][0]["request"]["body"] = '{"a":"\x7f\x9b2J\u202e"}'
    for args in (("list",), ("get", HOOK), ("inspect", DELIVERY), ("inspect", DELIVERY, "--raw")):
        text = on_terminal("webhooks", *args, env=env, columns=160)[1]
        rest = re.sub(r"\x1b\[[0-9;]*m", "", text)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest)
        assert "\x1b[5m" not in text


def test_a_retry_shows_the_count_and_asks(api: FakeApi, env: dict[str, str]) -> None:
    """Only what would be sent is counted; no is the default and changes nothing."""
    api.page_size = 3
    api.deliveries = [
        *(delivery(n) for n in range(1, 8)),
        delivery(8, state="held"),
        delivery(9, state="scheduled"),
        delivery(10, state="scheduled", attemptCount=0, lastOutcome=None, lastStatus=None),
        delivery(11, state="delivered"),
    ]
    args = ("webhooks", "retry", HOOK, "--since", "24h")
    for answer in ("n\r", "\r"):
        with OnTerminal(*args, env=env) as running:
            running.read_until(f"Send 9 deliveries to {HOOK} again? [y/N]:")
            running.write(answer)
            done = running.finish()
        assert done.code == 1
        assert "nothing was done" in done.out
    assert [method for method, _, _ in api.requests if method == "POST"] == []
    with OnTerminal(*args, env=env) as running:
        running.read_until("[y/N]:")
        running.write("y\r")
        done = running.finish()
    assert done.code == 0
    assert "9 deliveries are being sent again" in done.out
    assert ("POST", f"/v1/webhooks/{HOOK}/retry", {"since": "24h"}) in api.requests


def test_yes_and_nothing_to_do_ask_nothing(api: FakeApi, env: dict[str, str]) -> None:
    """With `--yes`, or where there is nothing to send, no question is put."""
    assert on_terminal("webhooks", "retry", HOOK, "--since", "1h", env=env)[0] == 0
    api.deliveries = [delivery()]
    code, text = on_terminal("webhooks", "retry", HOOK, "--since", "1h", "--yes", env=env)
    assert (code, "1 delivery is being sent again" in text) == (0, True)
    assert "?" not in text
    assert on_terminal("webhooks", "delete", HOOK, "-y", env=env)[0] == 0
    assert api.webhooks == []


def test_many_deliveries_are_counted_up_to_a_bound(api: FakeApi, env: dict[str, str]) -> None:
    """Above a thousand of one state the question says that there are more."""
    api.deliveries = [delivery(n) for n in range(1, 1502)]
    with OnTerminal("webhooks", "retry", HOOK, "--since", "24h", env=env) as running:
        running.read_until("Send 1,001 or more deliveries")
        running.write("n\r")
        assert running.finish().code == 1


def test_what_was_never_tried_does_not_stand_in_the_way_of_counting(
    api: FakeApi, env: dict[str, str]
) -> None:
    """Only what failed once is sent again, and so counted, however much was never tried."""
    untried = [delivery(n, state="scheduled", attemptCount=0) for n in range(1, 1101)]
    api.deliveries = untried + [delivery(n, state="scheduled") for n in range(1101, 1108)]
    args = ("webhooks", "retry", HOOK, "--since", "24h")
    with OnTerminal(*args, env=env) as running:
        running.read_until("Send 7 deliveries")
        running.write("n\r")
        assert running.finish().code == 1


def test_a_disabled_webhooks_window_is_refused_without_a_question(
    api: FakeApi, env: dict[str, str]
) -> None:
    """There is nothing to decide: the API's refusal is what one reads."""
    api.deliveries = [delivery()]
    api.webhooks[0]["enabled"] = False
    assert "?" not in on_terminal("webhooks", "retry", HOOK, "--since", "1h", env=env)[1]


@pytest.mark.parametrize(
    ("args", "question"),
    [
        (("delete", HOOK), f"Delete {HOOK} (https://yourapp.com/webhooks/prynt)"),
        (("rotate-secret", HOOK), f"Make a new signing secret for {HOOK}, to sign from 24h"),
    ],
)
def test_what_destroys_asks(
    args: tuple[str, ...], question: str, api: FakeApi, env: dict[str, str]
) -> None:
    """The question names the webhook; no leaves it as it was."""
    with OnTerminal("webhooks", *args, env=env, columns=160) as running:
        running.read_until(question)
        running.write("n\r")
        assert running.finish().code == 1
    assert {method for method, _, _ in api.requests} <= {"GET"}


def test_a_password_is_asked_for_and_not_shown(api: FakeApi, env: dict[str, str]) -> None:
    """On a terminal `--basic-auth` asks for the password without an echo."""
    args = ("webhooks", "create", "https://a.example.com/", "--events", "*", "--basic-auth", "bob")
    with OnTerminal(*args, env=env) as running:
        running.read_until("Password of bob:")
        running.write("hunter2\r")
        done = running.finish()
    assert done.code == 0
    assert "hunter2" not in done.out
    assert api.requests[-1][2]["auth"]["password"] == "hunter2"


@pytest.mark.parametrize("args", [("webhooks", "stream"), ("listen", "--port", "0")])
def test_ctrl_c_ends_what_goes_on_for_ever(
    args: tuple[str, ...], api: FakeApi, env: dict[str, str]
) -> None:
    """It is how one ends them: exit code 0, no traceback, nothing but what was shown."""
    with OnTerminal(*args, env=env) as running:
        before = running.read_until("Ctrl-C ends it.\n")
        running.interrupt()
        done = running.finish()
    assert (done.code, done.out) == (0, before)


def test_a_stream_fits_the_terminal(api: FakeApi, env: dict[str, str]) -> None:
    """Each of an attempt's two lines stays within 80 columns, with its event's id whole."""
    host = "a-rather-long-name-of-a-receiver.staging.example.com"
    api.webhooks = [webhook(url=f"https://{host}/hook")]
    streamed = {
        "webhookId": HOOK, "deliveryId": DELIVERY, "eventId": "evt_9fJ3kL7mNpR2x",
        "eventType": "identification.complete", "number": 2, "trigger": "schedule",
        "startedAt": "2026-02-14T11:45:22.341Z", "durationMs": 10_003,
        "outcome": "connection_error", "status": None, "error": "reset", "state": "scheduled",
        "nextAttemptAt": "2099-01-01T00:00:00.000Z",
    }  # fmt: skip
    with OnTerminal("webhooks", "stream", env=env) as running:
        running.read_until("Ctrl-C ends it.\n")
        api.wait_for_stream()
        api.push("attempt", streamed)
        text = running.read_until(lambda text: "retry in" in text and text.endswith("\n"))
    lines = CSI.sub("", text).splitlines()[-2:]
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"11:45:22  --> identification.complete [evt_9fJ3kL7mNpR2x] {HOOK} try 2"
    assert lines[1].startswith("11:45:22  <-- [conn error] POST a-rather-")
    assert "… [evt_9fJ3kL7mNpR2x] retry in " in lines[1]


def test_a_reader_that_leaves_is_no_error(api: FakeApi, env: dict[str, str]) -> None:
    """`prynt … | head -1` ends quietly, however much there is."""
    api.deliveries = [delivery(n) for n in range(1, 2001)]
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -1', "bash", *PRYNT, "webhooks", "deliveries",
         "--limit", "2000"],
        env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("DELIVERY")
    assert done.stderr == ""

"""The commands of `prynt-relay` that need no daemon, as the installed program."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from prynt_relay.api.keys import KeyCheck
from prynt_relay.version import __version__
from tests.integration.mail_servers import MailBox

PROGRAM = Path(sys.executable).with_name("prynt-relay")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment that knows nothing of this machine's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(tmp_path / "home"), "PRYNT_RELAY_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    def run_program(*args: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *args],
            env=environ | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_program


def test_check_config_prints_the_settings_in_force(run: Run, tmp_path: Path) -> None:
    """Exit code 0, every key as TOML on stdout, what set those that were set, and no secret."""
    file = tmp_path / "config.toml"
    file.write_text('[email]\nhost = "mail.example"\nusername = "u"\nrecipients = ["a@b.c"]\n')
    done = run(
        "check-config",
        "--config",
        file,
        PRYNT_RELAY_DELIVERY__CONCURRENCY="64",
        PRYNT_RELAY_EMAIL__PASSWORD="sesame-open",
    )
    assert (done.returncode, done.stderr) == (0, "")
    settings = tomllib.loads(done.stdout)
    assert settings["delivery"]["concurrency"] == 64
    assert settings["email"]["host"] == "mail.example"
    assert settings["email"]["password"] == "***"
    assert "concurrency = 64  # $PRYNT_RELAY_DELIVERY__CONCURRENCY\n" in done.stdout
    assert f'host = "mail.example"  # {file}\n' in done.stdout
    assert done.stdout.startswith(f"# {file}\n")
    assert "sesame" not in done.stdout


def test_check_config_warns_of_what_has_no_effect(run: Run, tmp_path: Path) -> None:
    """A password without a user name stops nothing: exit code 0, a line on stderr."""
    (tmp_path / "email_password").write_text("sesame")
    done = run("check-config", CREDENTIALS_DIRECTORY=str(tmp_path))
    assert done.returncode == 0
    origin = tmp_path / "email_password"
    assert done.stderr.startswith(f"warning: {origin}: email.password: it is not used")
    assert done.stderr.count("\n") == 1
    assert tomllib.loads(done.stdout)["email"]["password"] == "***"


def test_check_config_prints_a_line_for_each_mistake(run: Run, tmp_path: Path) -> None:
    """Exit code 1, nothing on stdout, and `FILE: section.key: why` on stderr."""
    file = tmp_path / "config.toml"
    file.write_text('nonsense = 1\n[delivery]\nconcurrency = 0\ntimeout = "soon"\n')
    done = run("check-config", "--config", file)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [str(file), "nonsense"],
        [str(file), "delivery.concurrency"],
        [str(file), "delivery.timeout"],
    ]
    assert all(line.split(": ", 2)[2] for line in lines)


def test_the_variable_names_the_file(run: Run, tmp_path: Path) -> None:
    """Without --config $PRYNT_RELAY_CONFIG is read."""
    file = tmp_path / "config.toml"
    file.write_text('api_version = "mine"\n')
    done = run("check-config", PRYNT_RELAY_CONFIG=str(file))
    assert tomllib.loads(done.stdout)["api_version"] == "mine"
    assert run("check-config", PRYNT_RELAY_CONFIG="nowhere.toml").returncode == 1


def test_serve_refuses_a_wrong_configuration(run: Run, tmp_path: Path) -> None:
    """The daemon doesn't start on settings that it can't use, and says which."""
    done = run("serve", PRYNT_RELAY_DELIVERY__CONCURRENCY="many")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "$PRYNT_RELAY_DELIVERY__CONCURRENCY: delivery.concurrency: "
        'must be a whole number from 1 to 10000, not "many"\n'
    )
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("serve", "--nonsense"),
        ("serve", "more"),
        ("backup",),
        ("backup", "a", "b"),
        ("check-config", "--config"),
        (),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, args: tuple[str, ...]) -> None:
    """What can't be understood says so on stderr."""
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "prynt-relay" in done.stderr


def test_version_and_help_answer_at_once(run: Run) -> None:
    """--version has the version; --help lists every command; neither imports the daemon."""
    assert run("--version").stdout == f"prynt-relay, version {__version__}\n"
    started = time.perf_counter()
    done = run("--help")
    assert time.perf_counter() - started < 2
    for command in ("serve", "check-config", "demo", "backup", "rotate-api-key", "test-email"):
        assert f"\n  {command} " in done.stdout
        assert run(command, "--help").returncode == 0
    code = (
        "import sys; from prynt_relay.cli.relay import main; main(['--help']);"
        "sys.exit(bool({'aiohttp', 'rich', 'structlog'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_backup_copies_and_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    """A copy appears where there was none; a file that is there stays as it is."""
    state = tmp_path / "state"
    state.mkdir()
    with sqlite3.connect(state / "relay.db") as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (42)")
    target = tmp_path / "copy.db"
    # A password that only the unit is given must not keep the backup from being made.
    done = run("backup", target, PRYNT_RELAY_EMAIL__USERNAME="u")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(target) in done.stdout
    copy = sqlite3.connect(target)
    assert copy.execute("SELECT x FROM t").fetchone() == (42,)
    copy.close()
    connection.close()
    before = target.read_bytes()
    done = run("backup", target)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert target.read_bytes() == before


def test_backup_without_a_database_says_so(run: Run, tmp_path: Path) -> None:
    """The wrong state folder is named, and no empty database is made."""
    done = run("backup", tmp_path / "copy.db")
    assert done.returncode == 1
    assert done.stderr == (
        f"prynt-relay: {tmp_path}/state/relay.db: there is no database; "
        "is this the right state_dir?\n"
    )
    assert not (tmp_path / "state").exists()


def test_rotate_api_key_replaces_the_key(run: Run, tmp_path: Path) -> None:
    """The new key is printed and in the file, mode 0600; a check that runs takes only that."""
    state = tmp_path / "state"
    state.mkdir()
    check = KeyCheck(state)
    first, second = (run("rotate-api-key") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    file = state / "api-key"
    assert second.stdout == file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in second.stderr
    assert check.valid(second.stdout.strip())
    assert not check.valid(first.stdout.strip())
    assert second.stdout.strip() not in second.stderr


def test_rotate_api_key_without_a_state_folder_says_so(run: Run, tmp_path: Path) -> None:
    """No folder is made by mistake."""
    done = run("rotate-api-key")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no state folder {tmp_path}/state" in done.stderr


async def run_beside(environ: dict[str, str], *args: str) -> tuple[int | None, str, str]:
    """Run the program while the test's own loop serves it."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *args,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), errors.decode()


async def test_test_email_prints_the_servers_answer(environ: dict[str, str]) -> None:
    """The mail arrives, each recipient's fate and the server's words are shown."""
    async with MailBox() as box:
        environ |= {
            "PRYNT_RELAY_EMAIL__HOST": "127.0.0.1",
            "PRYNT_RELAY_EMAIL__PORT": str(box.port),
            "PRYNT_RELAY_EMAIL__TLS": "none",
            "PRYNT_RELAY_EMAIL__RECIPIENTS": "Ops <ops@example.com>, boss@example.com",
        }
        code, out, errors = await run_beside(environ, "test-email")
        assert (code, errors) == (0, "")
        assert out == (
            "Ops <ops@example.com>: accepted\n"
            "boss@example.com: accepted\n"
            "127.0.0.1: Message accepted as 4711\n"
        )
        mail = box.received.get_nowait()
        assert mail.recipients == ["ops@example.com", "boss@example.com"]

        box.refuse["boss@example.com"] = "550 no such user"
        code, out, _ = await run_beside(environ, "test-email")
        assert code == 1
        assert "boss@example.com: 550 no such user\n" in out

    code, out, errors = await run_beside(environ, "test-email")
    assert (code, out) == (1, "")
    assert errors.startswith(f"prynt-relay: mail server 127.0.0.1 port {box.port}: ")


def test_test_email_needs_settings(run: Run) -> None:
    """Without a mail server the command says what to set."""
    done = run("test-email")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "prynt-relay: no e-mail can be sent: email.host is not set, "
        "and email.recipients names nobody\n"
    )
    done = run("test-email", PRYNT_RELAY_EMAIL__HOST="m.example")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("no e-mail can be sent: email.recipients names nobody\n")


def test_a_reader_that_leaves_is_no_traceback(environ: dict[str, str]) -> None:
    """`prynt-relay check-config | head -0` ends quietly."""
    with subprocess.Popen(
        [PROGRAM, "check-config"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1

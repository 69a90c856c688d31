"""`prynt-relay install` and `prynt-relay print`: what they write, keep and refuse."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from prynt_relay.cli.install_command import install_command
from prynt_relay.cli.print_command import print_file
from prynt_relay.errors import InvalidFieldError, RelayError
from prynt_relay.ops import files, install

PREFIX = Path("/opt/prynt-relay")
UNITS = "etc/systemd/system"


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A root to install below, and the environments of two versions in it."""
    root = tmp_path / "root"
    old, new = (root / "opt/prynt-relay" / version for version in ("0.1.0", "0.2.0"))
    old.mkdir(parents=True)
    new.mkdir()
    return root, old, new


@pytest.fixture(autouse=True)
def systemd_of_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "systemd_version", lambda: 252)


def tree(root: Path) -> dict[str, str]:
    """Every file's text and every link's target below `root`."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_text()
    return found


def test_it_writes_units_user_configuration_and_links(versions: tuple[Path, Path, Path]) -> None:
    """A first installation puts everything that the service needs into place."""
    root, old, _ = versions
    lines = list(install.put_in_place(PREFIX, root, old))
    written = tree(root)
    assert written["opt/prynt-relay/current"] == "-> /opt/prynt-relay/0.1.0"
    assert written["usr/local/bin/prynt"] == "-> /opt/prynt-relay/current/bin/prynt"
    assert written["usr/local/bin/prynt-relay"] == "-> /opt/prynt-relay/current/bin/prynt-relay"
    assert written[f"{UNITS}/prynt-relay.service"] == files.text("unit")
    assert written[f"{UNITS}/prynt-relay.socket"] == files.text("socket")
    assert written["etc/sysusers.d/prynt-relay.conf"] == files.text("sysusers")
    assert written["etc/tmpfiles.d/prynt-relay.conf"] == files.text("tmpfiles")
    assert tomllib.loads(written["etc/prynt-relay/config.toml"])
    assert f"{UNITS}/prynt-relay.service.d/10-backoff.conf" not in written
    assert all(line.startswith(("wrote ", "linked ")) for line in lines)


def test_the_services_files_are_readable_by_everybody(versions: tuple[Path, Path, Path]) -> None:
    """Whatever root's umask is, systemd's tools and the daemon can read what is written."""
    root, old, _ = versions
    list(install.put_in_place(PREFIX, root, old))
    for name in ("etc/prynt-relay/config.toml", f"{UNITS}/prynt-relay.service"):
        assert (root / name).stat().st_mode & 0o777 == 0o644


def test_a_second_run_changes_nothing(versions: tuple[Path, Path, Path]) -> None:
    """Installing the same version again writes nothing."""
    root, old, _ = versions
    list(install.put_in_place(PREFIX, root, old))
    before = tree(root)
    lines = list(install.put_in_place(PREFIX, root, old))
    assert tree(root) == before
    assert all(line.startswith(("unchanged ", "kept ")) for line in lines)


def test_an_upgrade_moves_the_link_and_keeps_what_the_administrator_wrote(
    versions: tuple[Path, Path, Path],
) -> None:
    """The new version's install replaces link and units; configuration and drop-ins stay."""
    root, old, new = versions
    list(install.put_in_place(PREFIX, root, old))
    config = root / "etc/prynt-relay/config.toml"
    config.write_text('[log]\nlevel = "debug"\n')
    drop_in = root / UNITS / "prynt-relay.service.d/50-local.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nMemoryMax=1G\n")
    (root / UNITS / "prynt-relay.service").write_text("an older unit\n")

    list(install.put_in_place(PREFIX, root, new))

    written = tree(root)
    assert written["opt/prynt-relay/current"] == "-> /opt/prynt-relay/0.2.0"
    assert written[f"{UNITS}/prynt-relay.service"] == files.text("unit")
    assert config.read_text() == '[log]\nlevel = "debug"\n'
    assert drop_in.read_text() == "[Service]\nMemoryMax=1G\n"

    list(install.put_in_place(PREFIX, root, old))
    assert tree(root)["opt/prynt-relay/current"] == "-> /opt/prynt-relay/0.1.0"


def test_a_newer_systemd_gets_the_growing_pause(
    versions: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RestartSteps, which systemd 252 would complain of, is a drop-in for 254 and later."""
    root, old, _ = versions
    monkeypatch.setattr(install, "systemd_version", lambda: 254)
    list(install.put_in_place(PREFIX, root, old))
    drop_in = tree(root)[f"{UNITS}/prynt-relay.service.d/10-backoff.conf"]
    assert "RestartSteps=" in drop_in
    assert "RestartSteps=" not in files.text("unit")


def test_a_folder_where_the_link_belongs_is_left_alone(versions: tuple[Path, Path, Path]) -> None:
    """Something of another origin at PREFIX/current is refused, not replaced."""
    root, old, _ = versions
    (root / "opt/prynt-relay/current").mkdir()
    with pytest.raises(RelayError, match="isn't a link of ours"):
        list(install.put_in_place(PREFIX, root, old))


def test_another_prefix_reaches_the_units(versions: tuple[Path, Path, Path]) -> None:
    """Every program that the unit starts is the one under --prefix."""
    root, old, _ = versions
    list(install.put_in_place(Path("/srv/relay"), root, old))
    unit = (root / UNITS / "prynt-relay.service").read_text()
    assert "ExecStart=/srv/relay/current/bin/prynt-relay serve\n" in unit
    assert "/opt/" not in unit


@pytest.mark.parametrize(
    "prefix", ["relative", "/with space", "/50%", "/a/../b", "/new\nline", "/"]
)
def test_a_prefix_that_a_unit_would_misread_is_refused(prefix: str) -> None:
    """A prefix is absolute and has no character with a meaning to systemd."""
    with pytest.raises(InvalidFieldError, match="--prefix"):
        files.checked_prefix(Path(prefix))


@pytest.mark.parametrize("hidden", ["/home/me/venv", "/root/venv", "/run/user/0/venv"])
def test_an_environment_that_the_confined_daemon_cannot_see_is_refused(hidden: str) -> None:
    """ProtectHome and PrivateTmp would hide the program from its own service: said beforehand."""
    with pytest.raises(RelayError, match="the service can't see"):
        install.check_reachable(Path(hidden))


def test_an_environment_that_others_cannot_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment made under umask 077 is closed to the daemon: said beforehand."""
    closed = tmp_path / "closed"
    (closed / "prynt_relay").mkdir(parents=True)
    closed.chmod(0o700)
    monkeypatch.setattr(install, "_PACKAGE", closed / "prynt_relay")
    with pytest.raises(RelayError, match="umask 077"):
        install.check_reachable(Path("/usr"))


def test_without_root_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing as an ordinary user fails before anything is written."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = CliRunner().invoke(install_command, [])
    assert done.exit_code == 1
    assert "takes root" in done.output


def test_staging_below_a_root_runs_nothing(tmp_path: Path) -> None:
    """--root writes files for an image or a package, as any user, and names them."""
    done = CliRunner().invoke(install_command, ["--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / UNITS / "prynt-relay.service").is_file()
    assert "ran " not in done.output


@pytest.mark.parametrize("name", [*files.NAMES, "dashboard"])
def test_print_gives_every_file(name: str) -> None:
    """Each name prints a whole file, ready to be redirected."""
    done = CliRunner().invoke(print_file, [name])
    assert done.exit_code == 0, done.output
    assert done.output.endswith("\n")
    if name == "dashboard":
        assert json.loads(done.output)["uid"] == "prynt-relay"
    else:
        assert done.output == files.text(name)


def test_print_refuses_what_there_is_not() -> None:
    """An unknown name is wrong usage, answered with the names that there are."""
    done = CliRunner().invoke(print_file, ["units"])
    assert done.exit_code == 2
    assert "sysusers" in done.output

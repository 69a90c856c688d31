import base64
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from prynt_relay.config import sources
from prynt_relay.config.checks import values_of
from prynt_relay.config.keys import KEYS
from prynt_relay.config.kinds import Unfit
from prynt_relay.config.loader import load
from prynt_relay.config.rendering import render
from prynt_relay.config.settings import Config, Listen
from prynt_relay.errors import ConfigError
from tests.unit.config_mistakes import MISTAKES

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
HOME = {"HOME": "/home/me"}
KEY = base64.b64encode(bytes(range(32))).decode()
KEY_2 = base64.b64encode(bytes(range(1, 33))).decode()


@pytest.fixture(autouse=True)
def no_system_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration of this machine must not change what the tests see."""
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "none" / "config.toml")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return to_file


def config_of(_file: Path | None = None, /, **environ: str) -> Config:
    return load(_file, HOME | environ).config


def problems_of(_file: Path | None = None, /, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(_file, HOME | environ)
    assert caught.value.problems
    return caught.value.problems


def reason_of(write: Callable[[str], Path], text: str) -> str:
    """The one problem of a file, without the file's name."""
    file = write(text)
    [problem] = problems_of(file)
    assert problem.startswith(f"{file}: ")
    assert "\n" not in problem
    return problem.removeprefix(f"{file}: ")


def test_the_defaults_are_the_contracts() -> None:
    """With nothing configured every setting has section 2's default."""
    config = config_of()
    assert config.state_dir == Path("/home/me/.local/state/prynt-relay")
    assert config.intake.socket == config.state_dir / "events.sock"
    assert (config.api_version, config.event_source) == ("2026-01-15", "urn:prynt-relay")
    assert (config.extra_event_types, config.encryption_keys) == ((), ())
    assert config.intake.socket_mode == 0o660
    assert config.intake.max_payload == 262_144
    assert config.intake.dedup_window_s == 86_400
    delivery = config.delivery
    assert (delivery.concurrency, delivery.concurrency_per_webhook) == (512, 64)
    assert (delivery.timeout_s, delivery.retry_schedule_s) == (10, (300, 1800))
    assert delivery.disable_after_s == 86_400
    egress = config.egress
    assert (egress.allow_http, egress.allow_addresses) == (False, ())
    assert (egress.ca_file, egress.published_ips) == (None, ())
    assert config.api.listen == Listen(host="127.0.0.1", port=8420)
    assert config.metrics.listen == Listen(host="127.0.0.1", port=9420)
    assert config.metrics.per_webhook_limit == 1000
    email = config.email
    assert (email.host, email.port, email.tls) == ("", 587, "starttls")
    assert (email.username, email.password) == ("", "")
    assert (email.sender, email.recipients) == ("prynt-relay@localhost", ())
    assert (config.retention.history_s, config.retention.max_size) == (30 * 86_400, 20 * 10**9)
    assert (config.log.level, config.log.format) == ("info", "auto")


def test_the_example_is_the_defaults_and_names_every_key() -> None:
    """config.example.toml documents each key above it, and its values are the defaults."""
    loaded = load(EXAMPLE, HOME)
    assert loaded.config == config_of()
    text = EXAMPLE.read_text()
    document = tomllib.loads(text)
    in_file = {name for name, value in document.items() if not isinstance(value, dict)}
    for section, table in document.items():
        if isinstance(table, dict):
            in_file |= {f"{section}.{name}" for name in table}
    surroundings = {"state_dir", "intake.socket"}
    assert in_file | surroundings == {key.path for key in KEYS}
    uncommented = re.sub(r"(?m)^# (state_dir|socket) = ", r"\1 = ", text)
    assert set(tomllib.loads(uncommented)) >= {"state_dir"}
    assert "socket" in tomllib.loads(uncommented)["intake"]
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[a-z_]+ = ", line):
            above = [one for one in lines[max(number - 2, 0) : number] if one.startswith("# ")]
            assert above, f"nothing is said about {line!r}"


def test_the_example_uncommented_is_the_defaults_too(write: Callable[[str], Path]) -> None:
    """The two defaults that stand in comments are true as well."""
    text = re.sub(r"(?m)^# (state_dir|socket) = ", r"\1 = ", EXAMPLE.read_text())
    home = str(Path("~").expanduser())
    assert load(write(text), {"HOME": home}).config == load(None, {"HOME": home}).config


def test_the_contracts_own_example_loads(write: Callable[[str], Path]) -> None:
    """The file that the contract shows, with its two places filled in, is the defaults."""
    text = """
state_dir = "/s"            # default
api_version = "2026-01-15" # copied
extra_event_types = []
encryption_keys = []
event_source = "urn:prynt-relay"
[intake]
socket = "/s/events.sock"
socket_mode = "0660"
max_payload = 262144
dedup_window = "24h"
[delivery]
concurrency = 512
concurrency_per_webhook = 64
timeout = "10s"
retry_schedule = ["5m", "30m"]
disable_after = "24h"
[egress]
allow_http = false
allow_addresses = []
ca_file = ""
published_ips = []
[api]
listen = "127.0.0.1:8420"
[metrics]
listen = "127.0.0.1:9420"
per_webhook_limit = 1000
[email]
host = ""
port = 587
tls = "starttls"
username = ""
password = ""
sender = "prynt-relay@localhost"
recipients = []
[retention]
history = "30d"
max_size = "20GB"
[log]
level = "info"
format = "auto"
"""
    assert config_of(write(text)) == config_of(STATE_DIRECTORY="/s")


@pytest.mark.parametrize(
    ("environ", "state_dir", "socket"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a", "/var/lib/a/events.sock"),
        ({"XDG_STATE_HOME": "/x"}, "/x/prynt-relay", "/x/prynt-relay/events.sock"),
        ({"STATE_DIRECTORY": "/s", "XDG_STATE_HOME": "/x"}, "/s", "/s/events.sock"),
        ({"STATE_DIRECTORY": "/s", "RUNTIME_DIRECTORY": "/run/r:/q"}, "/s", "/run/r/events.sock"),
        ({"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/prynt-relay", None),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": ""}, "/home/me/.local/state/prynt-relay", None),
        ({"PRYNT_RELAY_STATE_DIR": "/e", "STATE_DIRECTORY": "/s"}, "/e", "/e/events.sock"),
    ],
)
def test_folder_and_socket_follow_the_surroundings(
    environ: dict[str, str], state_dir: str, socket: str | None
) -> None:
    """Systemd's folders go first, then XDG's, then the home folder's."""
    config = config_of(None, **environ)
    assert str(config.state_dir) == state_dir
    if socket is not None:
        assert str(config.intake.socket) == socket


def test_a_relative_path_starts_where_the_daemon_is_started(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Paths are made absolute at once."""
    monkeypatch.chdir(tmp_path)
    assert config_of(write('state_dir = "state"')).state_dir == tmp_path / "state"


# Each with a valid value other than the default, as the environment has it, and what is parsed.
OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "state_dir": ("/other", Path("/other")),
    "api_version": ("2027-01-01", "2027-01-01"),
    "extra_event_types": ("payment.failed, a-b_c", ("payment.failed", "a-b_c")),
    "encryption_keys": (f"{KEY},{KEY_2}", (bytes(range(32)), bytes(range(1, 33)))),
    "event_source": ("https://relay.example/x", "https://relay.example/x"),
    "intake.socket": ("/run/x.sock", Path("/run/x.sock")),
    "intake.socket_mode": ("0600", 0o600),
    "intake.max_payload": ("512KiB", 524_288),
    "intake.dedup_window": ("90s", 90.0),
    "delivery.concurrency": ("64", 64),
    "delivery.concurrency_per_webhook": ("3", 3),
    "delivery.timeout": ("1500ms", 1.5),
    "delivery.retry_schedule": ("1s,2m , 3h", (1.0, 120.0, 10_800.0)),
    "delivery.disable_after": ("2d", 172_800.0),
    "egress.allow_http": ("true", True),
    "egress.allow_addresses": ('["127.0.0.0/8", "::1"]', ("127.0.0.0/8", "::1/128")),
    "egress.published_ips": ("203.0.113.7", ("203.0.113.7",)),
    "api.listen": ("[::1]:80", Listen(host="::1", port=80)),
    "metrics.listen": ("localhost:0", Listen(host="localhost", port=0)),
    "metrics.per_webhook_limit": ("0", 0),
    "email.host": ("mail.example.com", "mail.example.com"),
    "email.port": ("25", 25),
    "email.tls": ("implicit", "implicit"),
    "email.username": ("me", "me"),
    "email.password": ("p, [x] #", "p, [x] #"),
    "email.sender": ("Relay <a@b.example>", "Relay <a@b.example>"),
    "email.recipients": ("a@b.c,Ops <d@e.f>", ("a@b.c", "Ops <d@e.f>")),
    "retention.history": ("7d", 604_800.0),
    "retention.max_size": ("1GB", 10**9),
    "log.level": ("debug", "debug"),
    "log.format": ("json", "json"),
}


@pytest.mark.parametrize("key", [key for key in KEYS if key.path != "egress.ca_file"], ids=str)
def test_the_environment_overrides_every_key(key: Any, write: Callable[[str], Path]) -> None:
    """PRYNT_RELAY_SECTION__KEY sets the key, also against the file, and is named as its origin."""
    text, expected = OTHER_VALUES[key.path]
    environ = HOME | {key.variable: text}
    for file in (None, EXAMPLE):
        loaded = load(file, environ)
        assert getattr(values_of(loaded.config, key.section), key.field) == expected
        assert loaded.origins[key.path] == f"${key.variable}"


def test_the_names_are_as_the_contract_has_them() -> None:
    """Two underscores stand for the section's dot."""
    assert config_of(PRYNT_RELAY_DELIVERY__CONCURRENCY="64").delivery.concurrency == 64
    assert config_of(PRYNT_RELAY_API_VERSION="1").api_version == "1"


def test_an_empty_variable_is_an_empty_value() -> None:
    """Arrays and texts can be emptied; what can't be empty says so."""
    assert config_of(PRYNT_RELAY_DELIVERY__RETRY_SCHEDULE="").delivery.retry_schedule_s == ()
    assert config_of(PRYNT_RELAY_DELIVERY__RETRY_SCHEDULE="[]").delivery.retry_schedule_s == ()
    assert config_of(PRYNT_RELAY_EMAIL__HOST="").email.host == ""
    [problem] = problems_of(PRYNT_RELAY_DELIVERY__CONCURRENCY="")
    assert problem == (
        "$PRYNT_RELAY_DELIVERY__CONCURRENCY: delivery.concurrency: "
        'must be a whole number from 1 to 10000, not ""'
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PRYNT_RELAY_DELIVERY__CONCURENCY", "PRYNT_RELAY_DELIVERY__CONCURRENCY"),
        ("PRYNT_RELAY_DELIVERY_CONCURRENCY", "PRYNT_RELAY_DELIVERY__CONCURRENCY"),
        ("PRYNT_RELAY_STATEDIR", "PRYNT_RELAY_STATE_DIR"),
        ("PRYNT_RELAY_STATE__DIR", "PRYNT_RELAY_STATE_DIR"),
        ("PRYNT_RELAY_FOO__BAR", None),
        ("PRYNT_RELAY_EMAIL__TO", None),
    ],
)
def test_a_variable_that_nearly_names_a_key_is_a_mistake(name: str, hint: str | None) -> None:
    """A misspelt override is refused, with the name that was meant."""
    [problem] = problems_of(None, **{name: "1"})
    assert problem.startswith(f"${name}: names no key of the configuration")
    assert (hint is None) == ("did you mean" not in problem)
    assert hint is None or problem.endswith(f"did you mean {hint}?")


def test_variables_of_others_are_left_alone() -> None:
    """Names that only begin like ours, as Kubernetes makes them, stop nothing."""
    environ = {
        "PRYNT_RELAY_SERVICE_HOST": "10.0.0.1",
        "PRYNT_RELAY_PORT": "tcp://10.0.0.1:80",
        "PRYNT_RELAY_PORT_8420_TCP_ADDR": "10.0.0.1",
        "PRYNT_RELAYS": "x",
    }
    assert config_of(None, **environ) == config_of()


def test_the_file_is_found_as_the_contract_says(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--config goes before $PRYNT_RELAY_CONFIG, that before /etc, that before nothing."""
    named, variable, system = (tmp_path / name for name in ("a.toml", "b.toml", "c.toml"))
    for file, version in ((named, "a"), (variable, "b"), (system, "c")):
        file.write_text(f'api_version = "{version}"')
    environ = {"PRYNT_RELAY_CONFIG": str(variable)}
    assert config_of().api_version == "2026-01-15"
    monkeypatch.setattr(sources, "SYSTEM_FILE", system)
    assert config_of().api_version == "c"
    assert config_of(None, **environ).api_version == "b"
    assert config_of(named, **environ).api_version == "a"
    assert config_of(PRYNT_RELAY_CONFIG="").api_version == "c"
    assert load(named, HOME).file == named


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A missing file is an error, not the defaults."""
    missing = tmp_path / "missing.toml"
    assert problems_of(missing) == [f"{missing}: can't be read: No such file or directory"]
    assert problems_of(None, PRYNT_RELAY_CONFIG=str(missing)) == [
        f"{missing}: can't be read: No such file or directory"
    ]
    assert problems_of(tmp_path) == [f"{tmp_path}: can't be read: Is a directory"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a = ", "is no TOML: Invalid value (at end of document)"),
        (b'api_version = "x"\napi_version = "y"', "is no TOML: Cannot overwrite a value"),
        (b'api_version = "\xff"', "is no UTF-8 text, at byte 15"),
        (b"#" * 1_000_001, "is larger than 1000000 bytes"),
        (b"a = " + b"[" * 100_000, "is no TOML: "),
    ],
)
def test_a_file_that_is_no_toml_is_one_problem(tmp_path: Path, content: bytes, why: str) -> None:
    """What can't be read at all is said in one line."""
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    [problem] = problems_of(file)
    assert problem.startswith(f"{file}: {why}")


@pytest.mark.parametrize(("text", "why"), MISTAKES, ids=[why[:50] for _, why in MISTAKES])
def test_every_mistake_is_named(write: Callable[[str], Path], text: str, why: str) -> None:
    """One line says file, key, rule and value."""
    reason = reason_of(write, text)
    assert reason.startswith(why)
    assert "did you mean" not in reason or "did you mean" in why


def test_all_mistakes_come_at_once(write: Callable[[str], Path]) -> None:
    """Whoever mends a file sees everything that is wrong with it, wherever it was set."""
    file = write('oops = 1\napi_version = 3\n[delivery]\nconcurrency = 0\n[log]\nlevel = "x"\n')
    problems = problems_of(file, PRYNT_RELAY_EMAIL__PORT="x", PRYNT_RELAY_DELIVERY__TIMOUT="1s")
    assert [problem.rsplit(": ", 1)[0] for problem in problems] == [
        f"{file}: oops",
        "$PRYNT_RELAY_DELIVERY__TIMOUT",
        f"{file}: api_version",
        f"{file}: delivery.concurrency",
        f"{file}: log.level",
        "$PRYNT_RELAY_EMAIL__PORT: email.port",
    ]


def test_no_secret_is_in_an_error_or_in_a_repr(write: Callable[[str], Path]) -> None:
    """A wrong password or key is not repeated, and a right one is in no repr."""
    file = write('encryption_keys = ["c2VjcmV0LWtleQ=="]\n[email]\npassword = 12345\n')
    problems = problems_of(file)
    assert [problem.split(": ")[1] for problem in problems] == ["encryption_keys", "email.password"]
    for hidden in ("c2VjcmV0", "12345"):
        assert hidden not in "".join(problems)
    good = config_of(
        write(f'encryption_keys = ["{KEY}"]\n[email]\nusername = "u"\npassword = "sesame"\n')
    )
    assert "sesame" not in repr(good) + repr(good.email)
    assert repr(bytes(range(32))) not in repr(good)


def test_a_lower_limit_takes_the_one_per_webhook_along(write: Callable[[str], Path]) -> None:
    """Setting only the concurrency lower is enough; both set must fit."""
    assert config_of(write("[delivery]\nconcurrency = 8")).delivery.concurrency_per_webhook == 8
    assert config_of(write("[delivery]\nconcurrency = 99")).delivery.concurrency_per_webhook == 64


def test_types_that_are_known_already_do_no_harm() -> None:
    """One of the eleven, or one named twice, is there once."""
    config = config_of(PRYNT_RELAY_EXTRA_EVENT_TYPES="a.b,verdict.block,a.b")
    assert config.extra_event_types == ("a.b",)


def test_credentials_are_read_and_go_before_the_file(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    """Systemd's files set the secrets, over the file's, under the environment's."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "email_password").write_text(" from credentials \n")
    (folder / "encryption_keys").write_text(f"# first\n{KEY}\n\n  {KEY_2}\n")
    file = write('[email]\nusername = "u"\npassword = "from file"\n')
    environ = HOME | {"CREDENTIALS_DIRECTORY": str(folder)}
    loaded = load(file, environ)
    assert loaded.config.email.password == " from credentials "
    assert loaded.config.encryption_keys == (bytes(range(32)), bytes(range(1, 33)))
    assert loaded.origins["email.password"] == str(folder / "email_password")
    assert loaded.origins["encryption_keys"] == str(folder / "encryption_keys")
    environ["PRYNT_RELAY_EMAIL__PASSWORD"] = "from the environment"
    assert load(file, environ).config.email.password == "from the environment"
    (folder / "email_password").unlink()
    del environ["PRYNT_RELAY_EMAIL__PASSWORD"]
    assert load(file, environ).config.email.password == "from file"


def test_wrong_credentials_are_named_but_not_shown(tmp_path: Path) -> None:
    """A credential that can't be used says which, and what for."""
    (tmp_path / "email_password").mkdir()
    (tmp_path / "encryption_keys").write_text(f"{KEY}\n{KEY}\nc2hvcnQ=\n")
    problems = problems_of(CREDENTIALS_DIRECTORY=str(tmp_path))
    hint = " (openssl rand -base64 32 makes one)"
    assert problems == [
        f"{tmp_path}/email_password: email.password: can't be read: Is a directory",
        f"{tmp_path}/encryption_keys: encryption_keys: item 3 must be 32 bytes in base64{hint}",
    ]
    (tmp_path / "email_password").rmdir()
    (tmp_path / "encryption_keys").write_text(f"{KEY}\n{KEY}\n")
    [problem] = problems_of(CREDENTIALS_DIRECTORY=str(tmp_path))
    assert problem.endswith("encryption_keys: must be different keys, but two are the same")


def test_extra_anchors_are_checked_by_loading_them(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    """A PEM file with certificates passes."""
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca_file)
    config = config_of(write(f'[egress]\nca_file = "{ca_file}"\n'))
    assert config.egress.ca_file == ca_file


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_password_in_clear_stays_on_this_machine(host: str) -> None:
    """Without TLS a login is possible with a mail server on the same machine."""
    config = config_of(
        PRYNT_RELAY_EMAIL__HOST=host,
        PRYNT_RELAY_EMAIL__TLS="none",
        PRYNT_RELAY_EMAIL__USERNAME="u",
        PRYNT_RELAY_EMAIL__PASSWORD="p",
        PRYNT_RELAY_EMAIL__RECIPIENTS="a@b.c",
    )
    assert config.email.host == host


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('host = "m.example"\nrecipients = []', "email.host: no e-mail is sent, since email.recip"),
        ('username = "u"', "email.username: nobody logs in to the mail server"),
        ('password = "sesame"', "email.password: it is not used: email.username is empty"),
    ],
)
def test_half_of_what_mails_need_is_a_warning(
    write: Callable[[str], Path], text: str, warning: str
) -> None:
    """Every key has a default that works, and an empty list means none: no combination stops."""
    file = write(f"[email]\n{text}\n")
    [found] = load(file, HOME).warnings
    assert found.startswith(f"{file}: {warning}")
    assert "sesame" not in found
    assert load(None, HOME).warnings == ()


def test_a_password_that_only_the_unit_sees_is_not_missed(write: Callable[[str], Path]) -> None:
    """Without the secrets nobody can tell whether a login is whole."""
    file = write('[email]\nusername = "u"\n')
    assert load(file, HOME, need_secrets=False).warnings == ()


def test_without_a_home_folder_the_state_folder_must_be_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The default that can't be had is said to be missing, alone."""

    def nowhere() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    assert caught.value.problems == [
        "defaults: state_dir: must be set, since there is no home folder to put it in"
    ]


def test_the_effective_settings_load_again(write: Callable[[str], Path]) -> None:
    """What check-config prints is TOML that means the same, secrets aside."""
    environ = HOME | {
        key.variable: OTHER_VALUES[key.path][0]
        for key in KEYS
        if key.path in OTHER_VALUES and not key.secret
    }
    loaded = load(None, environ)
    again = load(write(render(loaded)), HOME)
    assert again.config == loaded.config
    assert load(write(render(load(None, HOME))), HOME).config == config_of()


def test_the_effective_settings_say_where_they_come_from_and_hide_secrets(
    write: Callable[[str], Path],
) -> None:
    """What isn't a default names its source, and a secret only that it is there."""
    file = write(f'encryption_keys = ["{KEY}", "{KEY_2}"]\n[delivery]\ntimeout = "5s"\n')
    environ = HOME | {
        "PRYNT_RELAY_EMAIL__PASSWORD": "sesame",
        "PRYNT_RELAY_EMAIL__USERNAME": "u",
    }
    text = render(load(file, environ))
    assert f'timeout = "5s"  # {file}\n' in text
    assert f'encryption_keys = ["***", "***"]  # {file}\n' in text
    assert 'password = "***"  # $PRYNT_RELAY_EMAIL__PASSWORD\n' in text
    assert "\nconcurrency = 512\n" in text
    assert '\nmax_size = "20GB"\n' in text
    assert "\nmax_payload = 262144\n" in text
    for secret in (KEY, KEY_2, "sesame"):
        assert secret not in text


@given(st.sampled_from(KEYS), st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_in_the_environment_is_taken_or_refused(key: Any, text: str) -> None:
    """No value breaks the reading: it is parsed, written and parsed to the same, or Unfit."""
    try:
        value = key.kind.parse(key.kind.from_text(text))
    except Unfit:
        return
    again = tomllib.loads(f"x = {key.kind.render(value)}")["x"]
    assert key.kind.parse(again) == value


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_any_address_and_port_can_be_listened_on(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """Every address is read back as it was written, IPv6 in brackets."""
    [kind] = [key.kind for key in KEYS if key.path == "api.listen"]
    host = f"[{address}]" if address.version == 6 else str(address)
    listen = kind.parse(f"{host}:{port}")
    assert (listen.host, listen.port) == (str(address), port)
    assert kind.render(listen) == f'"{host}:{port}"'


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one given, load reads os.environ."""
    for name in list(os.environ):
        if name.startswith("PRYNT_RELAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PRYNT_RELAY_API_VERSION", "here")
    assert load().config.api_version == "here"

"""The receiver's library: what it lets in, what it refuses and why, what it does once."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay import receiver
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Secrets
from prynt_relay.receiver import (
    Event,
    Guard,
    KeyValueGuard,
    MalformedEventError,
    MalformedHeaderError,
    MissingHeaderError,
    SignatureMismatchError,
    SQLiteGuard,
    TimestampError,
    WebhookError,
    parse,
    receive,
    verify,
)
from prynt_relay.transport import formats
from prynt_relay.transport.signatures import sign
from tests.unit.json_objects import event, objects

SECRET = "whsec_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_S = 1_771_069_523
BODY = formats.render(Format.PRYNT, event(sample_data("verdict.block"), "verdict.block"), "wh_1")
SIGNED = ("X-Prynt-Timestamp", "X-Prynt-Signature")


def _headers(body: bytes = BODY, *, secret: str = SECRET, at_s: int = NOW_S) -> dict[str, str]:
    """What the relay itself sends."""
    headers, _ = sign(
        (SignatureScheme.PRYNT,), Secrets(secret), wall_ms=at_s * 1000, event_id="evt_1", body=body
    )
    return dict(headers)


def test_what_the_relay_sends_is_let_in() -> None:
    """A delivery as the relay renders and signs it verifies and reads back."""
    found = receive(BODY, _headers(), SECRET, now_s=NOW_S)
    assert found.event_type == "verdict.block"
    assert found.event_id == "evt_9fJ3kL7mNpR2x"
    assert found.webhook_id == "wh_1"
    assert found.api_version == "2026-01-15"
    assert found.idempotency_key == "idk_a7f2c9e1b3d4"
    assert found.created_at == datetime(2026, 2, 14, 11, 45, 22, 341_000, UTC)
    assert found.data["verdict"] == "block"
    assert found.extra == {}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda headers: {name.lower(): value for name, value in headers.items()},
        lambda headers: {name.upper(): value for name, value in headers.items()},
        lambda headers: [*headers.items(), ("X-Prynt-Signature", "sha256=" + "0" * 64)],
        lambda headers: iter([("Host", "a"), *headers.items()]),
    ],
    ids=["lower", "upper", "repeated", "pairs"],
)
def test_headers_of_any_framework_do(wrap: Callable[[dict[str, str]], Any]) -> None:
    """Names count in any case, in a mapping or in pairs; of a repeated one the first counts."""
    verify(BODY, wrap(_headers()), SECRET, now_s=NOW_S)


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER, SECRET], (SECRET, OTHER), SECRET])
def test_any_of_several_secrets_may_have_signed(secrets: list[str] | str) -> None:
    """During a rotation a receiver knows the old and the new secret."""
    verify(BODY, _headers(), secrets, now_s=NOW_S)
    verify(bytearray(BODY), _headers(), secrets, now_s=NOW_S)


def test_a_rotation_never_leaves_a_receiver_with_both_secrets_behind() -> None:
    """Before, at and after the takeover, one of the two secrets verifies."""
    secrets = Secrets(SECRET, OTHER, pending_at_ms=NOW_S * 1000)
    for at_s in range(NOW_S - 2, NOW_S + 3):
        headers, _ = sign(
            (SignatureScheme.PRYNT,), secrets, wall_ms=at_s * 1000, event_id="e", body=BODY
        )
        verify(BODY, headers, [SECRET, OTHER], now_s=at_s)


@pytest.mark.parametrize("name", SIGNED)
def test_a_missing_header_is_named(name: str) -> None:
    """Without either header the error names it."""
    headers = {key: value for key, value in _headers().items() if key != name}
    with pytest.raises(MissingHeaderError, match=name):
        verify(BODY, headers, SECRET, now_s=NOW_S)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Prynt-Timestamp", ""),
        ("X-Prynt-Timestamp", "now"),
        ("X-Prynt-Timestamp", "-1"),
        ("X-Prynt-Timestamp", "1771069523.5"),
        ("X-Prynt-Timestamp", "1_771_069_523"),
        ("X-Prynt-Timestamp", "١٧٧١٠٦٩٥٢٣"),
        ("X-Prynt-Timestamp", "9" * 5_000),
        ("X-Prynt-Signature", ""),
        ("X-Prynt-Signature", "0" * 64),
        ("X-Prynt-Signature", "sha1=" + "0" * 40),
        ("X-Prynt-Signature", "sha256=" + "0" * 63),
        ("X-Prynt-Signature", "sha256=" + "é" * 64),
        ("X-Prynt-Signature", "sha256=" + "0" * 64 + "\n0"),
    ],
)
def test_a_malformed_header_is_told_from_a_wrong_one(name: str, value: str) -> None:
    """What isn't of the relay's form is named as such."""
    with pytest.raises(MalformedHeaderError, match=name):
        verify(BODY, {**_headers(), name: value}, SECRET, now_s=NOW_S)


@pytest.mark.parametrize("age_s", [-300, -1, 0, 1, 300])
def test_five_minutes_either_way_are_let_in(age_s: int) -> None:
    """The tolerance is 300 s, inclusive."""
    verify(BODY, _headers(at_s=NOW_S - age_s), SECRET, now_s=NOW_S)


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(301, "301 s ago"), (-301, "301 s in the future"), (86_400, "86400 s ago")],
)
def test_a_replay_is_refused_although_its_signature_is_right(age_s: int, text: str) -> None:
    """Older or newer than the tolerance is its own error, with the age."""
    with pytest.raises(TimestampError, match=text) as caught:
        verify(BODY, _headers(at_s=NOW_S - age_s), SECRET, now_s=NOW_S)
    assert caught.value.age_s == age_s


def test_the_tolerance_can_be_chosen() -> None:
    """A receiver may allow more or less than five minutes."""
    verify(BODY, _headers(at_s=NOW_S - 900), SECRET, tolerance_s=900, now_s=NOW_S)
    with pytest.raises(TimestampError):
        verify(BODY, _headers(at_s=NOW_S - 11), SECRET, tolerance_s=10, now_s=NOW_S)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY + b" ", _headers()),
        (BODY.replace(b"block", b"allow"), _headers()),
        (b"", _headers()),
        (BODY, {**_headers(), "X-Prynt-Timestamp": str(NOW_S - 1)}),
        (BODY, _headers(secret=OTHER)),
        (BODY, _headers(secret=SECRET.removeprefix("whsec_"))),
        (BODY, {**_headers(), "X-Prynt-Signature": "sha256=" + "0" * 64}),
    ],
    ids=["longer", "changed", "empty", "timestamp", "other secret", "bare secret", "forged"],
)
def test_what_was_changed_or_forged_is_refused(body: bytes, headers: dict[str, str]) -> None:
    """Body, timestamp and secret all belong to the signature."""
    with pytest.raises(SignatureMismatchError, match="as it came"):
        verify(body, headers, SECRET, now_s=NOW_S)


def test_the_machine_clock_is_the_default() -> None:
    """Without `now_s` a signature of long ago is too old."""
    with pytest.raises(TimestampError):
        verify(BODY, _headers(at_s=1_000_000_000), SECRET)


@pytest.mark.parametrize("secrets", ["", [], [SECRET, ""]])
def test_an_empty_secret_is_a_mistake_and_no_key(secrets: list[str] | str) -> None:
    """A forgotten environment variable must not verify what anybody could sign."""
    with pytest.raises(ValueError, match="signing secret"):
        verify(BODY, _headers(secret=SECRET), secrets, now_s=NOW_S)


def test_a_decoded_body_is_a_mistake() -> None:
    """Only raw bytes are what was signed."""
    with pytest.raises(TypeError, match="raw bytes"):
        verify(BODY.decode(), _headers(), SECRET, now_s=NOW_S)  # type: ignore[arg-type]


def test_no_error_tells_a_secret_or_the_payload() -> None:
    """Errors end up in logs."""
    for headers in ({}, {**_headers(), "X-Prynt-Signature": "x"}, _headers(secret=OTHER)):
        with pytest.raises(WebhookError) as caught:
            verify(BODY, headers, SECRET, now_s=NOW_S)
        assert not re.search("whsec_[A-Za-z0-9]|verdict", str(caught.value))


@given(body=st.binary(max_size=100), headers=st.dictionaries(st.sampled_from(SIGNED), st.text()))
def test_nothing_from_outside_raises_anything_else(body: bytes, headers: dict[str, str]) -> None:
    """Whatever somebody sends ends in a `WebhookError`."""
    with pytest.raises(WebhookError):
        receive(body, headers, SECRET, now_s=NOW_S)


def test_the_future_is_tolerated() -> None:
    """Unknown types, unknown fields and a missing id of the webhook don't stop a receiver."""
    found = parse(
        b'{"eventId":"evt_1","eventType":"visitor.teleported","idempotencyKey":"k",'
        b'"createdAt":"once upon a time","priority":{"level":9},"data":{"new":[1]}}'
    )
    assert found == Event(
        webhook_id="",
        event_id="evt_1",
        event_type="visitor.teleported",
        api_version="",
        created_at=None,
        idempotency_key="k",
        data={"new": [1]},
        extra={"priority": {"level": 9}},
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"data":{}}',
     b'{"eventId":"e","eventType":"t","data":{}}',
     b'{"eventId":"e","eventType":"t","idempotencyKey":7,"data":{}}',
     b'{"eventId":"e","eventType":"t","idempotencyKey":"k"}',
     b'{"eventId":"e","eventType":"t","idempotencyKey":"k","data":[]}'],
)  # fmt: skip
def test_what_is_no_event_is_malformed(body: bytes) -> None:
    """A body without what every event has is the sender's mistake: status 400."""
    with pytest.raises(MalformedEventError) as caught:
        parse(body)
    assert caught.value.status == 400


@given(objects("requestId", "geo"))
def test_every_event_of_the_relay_can_be_read(data: bytes) -> None:
    """Any data that intake lets in parses, numbers that Python refuses to read included."""
    body = formats.render(Format.PRYNT, event(data), "wh_1")
    try:
        expected = json.loads(data)
    except ValueError:  # more than 4,300 digits
        assert "inf" in repr(parse(body).data)
    else:
        assert repr(parse(body).data) == repr(expected)


class _Store:
    """A key-value store in memory that expires on a clock of the test's."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.until: dict[str, float] = {}

    def set_if_absent(self, key: str, ttl_s: float) -> bool:
        if self.until.get(key, 0) > self.now():
            return False
        self.until[key] = self.now() + ttl_s
        return True


class _Time:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def moment() -> _Time:
    return _Time()


@pytest.fixture(params=["sqlite", "key-value"])
def guard(
    request: pytest.FixtureRequest, tmp_path: Path, moment: _Time
) -> Iterator[SQLiteGuard | KeyValueGuard]:
    if request.param == "sqlite":
        with SQLiteGuard(tmp_path / "guard.db", now=moment) as sqlite_guard:
            yield sqlite_guard
    else:
        store = _Store(moment)
        yield KeyValueGuard(store.set_if_absent, store.until.pop)


def test_a_key_is_first_once_in_24_hours(guard: Guard, moment: _Time) -> None:
    """The specification's window: a day later the same key counts as new."""
    assert guard.first("idk_1") is True
    assert guard.first("idk_1") is False
    assert guard.first("idk_2") is True
    moment.now_s += 86_399
    assert guard.first("idk_1") is False
    moment.now_s += 1
    assert guard.first("idk_1") is True
    assert guard.first("idk_1") is False


def test_a_key_can_be_forgotten(guard: Guard) -> None:
    """An event that could not be handled may come again."""
    assert guard.first("idk_1") is True
    guard.forget("idk_1")
    assert guard.first("idk_1") is True


def _handle(guard: Guard, *, expect_first: bool) -> None:
    """Begin to handle an event, and fail."""
    with guard.once("idk_1") as first:
        assert first is expect_first
        raise RuntimeError


def test_once_forgets_what_failed(guard: Guard) -> None:
    """If handling raises, the relay's retry comes through; if not, it doesn't."""
    with pytest.raises(RuntimeError):
        _handle(guard, expect_first=True)
    with guard.once("idk_1") as first:
        assert first is True
    # A failure while answering a duplicate must not reopen what was handled.
    with pytest.raises(RuntimeError):
        _handle(guard, expect_first=False)
    assert guard.first("idk_1") is False


def test_the_sqlite_guard_survives_a_restart(tmp_path: Path, moment: _Time) -> None:
    """What was seen before the process ended was seen."""
    for expected in (True, False):
        with SQLiteGuard(tmp_path / "guard.db", now=moment) as guard:
            assert guard.first("idk_1") is expected


def test_the_sqlite_guard_stays_small(tmp_path: Path, moment: _Time) -> None:
    """Expired keys are removed as new ones come."""
    with SQLiteGuard(tmp_path / "guard.db", window_s=10, now=moment) as guard:
        for n in range(500):
            moment.now_s += 1
            assert guard.first(f"idk_{n}")
        [[rows]] = guard._connection.execute("SELECT count(*) FROM seen").fetchall()
    assert rows == 10


def test_one_of_many_threads_is_first(tmp_path: Path) -> None:
    """Deliveries of the same event at the same moment are handled once."""
    with SQLiteGuard(tmp_path / "guard.db") as guard:
        barrier = threading.Barrier(8)
        firsts: list[bool] = []

        def deliver() -> None:
            barrier.wait()
            firsts.append(guard.first("idk_1"))

        threads = [threading.Thread(target=deliver) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(firsts) == [False] * 7 + [True]


def test_one_of_many_processes_is_first(tmp_path: Path) -> None:
    """Workers of one machine share the file, each key goes to exactly one of them."""
    code = (
        "import sys; from prynt_relay.receiver import SQLiteGuard\n"
        "with SQLiteGuard(sys.argv[1]) as guard:\n"
        "    print(sum(guard.first(f'idk_{n}') for n in range(100)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "guard.db")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    counts = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sum(counts) == 100


def test_the_library_needs_nothing_but_the_standard_library() -> None:
    """It imports without site-packages: a receiver needs none of the daemon's dependencies."""
    code = (
        "import sys; import prynt_relay.receiver as r\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded - set(sys.stdlib_module_names) - {'__main__'}))"
    )
    root = Path(receiver.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "['prynt_relay']"

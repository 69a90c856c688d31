import random
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from prynt_relay.store import migrate, supplied
from prynt_relay.store.supplied import SuppliedTexts


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in migrate.migrations():
        connection.executescript(script)
    yield connection
    connection.close()


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supplied, "BUCKET_KEYS", 8)


def texts(count: int, first: int = 0) -> list[str]:
    return [f"order {n}" for n in range(first, first + count)]


def add(known: SuppliedTexts, connection: sqlite3.Connection, names: list[str], event: int) -> None:
    known.add(connection, [(known.hash(name), event + i) for i, name in enumerate(names)])


def found(known: SuppliedTexts, connection: sqlite3.Connection, name: str) -> list[int]:
    return known.find(connection, [known.hash(name)])


def test_what_was_added_is_found_over_many_groups(connection: sqlite3.Connection) -> None:
    """Each text is found under its event, whichever bucket of whichever group it went to."""
    known = SuppliedTexts("supplied_keys", b"seed")
    names = texts(9000)
    for start in range(0, 9000, 100):
        add(known, connection, names[start : start + 100], start + 1)
    groups = connection.execute("SELECT max(bucket) / 64 FROM supplied_keys").fetchone()[0]
    assert groups == 17
    assert [found(known, connection, name) for name in names] == [[n + 1] for n in range(9000)]
    assert [found(known, connection, name) for name in texts(1500, 20_000)] == [[]] * 1500


def test_a_filter_asks_the_disk_about_hardly_anything_else(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for texts that were never there reads next to no bucket."""
    known = SuppliedTexts("supplied_keys", b"seed")
    add(known, connection, texts(1000), 1)
    probes: list[int] = []
    fetch = known._probe.fetch

    def counted(connection: sqlite3.Connection, values: list[Any]) -> list[Any]:
        probes.append(len(values) // 2)
        return fetch(connection, values)

    monkeypatch.setattr(known._probe, "fetch", counted)
    for name in texts(2000, 9000):
        found(known, connection, name)
    assert sum(probes) < 20


@pytest.mark.parametrize(
    "lost",
    [
        "SELECT 1",
        "DELETE FROM supplied_keys_filters",
        "DELETE FROM supplied_keys_filters WHERE id IN (0, 5, 9)",
        "DELETE FROM supplied_keys_summaries",
        "DELETE FROM supplied_keys_summaries WHERE id = 1",
    ],
    ids=["nothing lost", "no filters", "some filters", "no summaries", "one summary"],
)
def test_a_restart_forgets_nothing(connection: sqlite3.Connection, lost: str) -> None:
    """After loading, from what was kept or from the keys alone, everything is found."""
    known = SuppliedTexts("supplied_keys", b"seed")
    add(known, connection, texts(5300), 1)
    assert connection.execute("SELECT count(*) FROM supplied_keys_filters").fetchone() == (10,)
    kept = connection.execute("SELECT id, covered FROM supplied_keys_summaries").fetchall()
    assert kept == [(0, 0xFF), (1, 0x03)]
    connection.execute(lost)
    again = SuppliedTexts("supplied_keys", b"seed")
    again.load(connection, 0)
    add(again, connection, texts(900, 5300), 5301)
    assert [found(again, connection, name) for name in texts(6200)] == [
        [n + 1] for n in range(6200)
    ]
    third = SuppliedTexts("supplied_keys", b"seed")
    third.load(connection, 0)
    assert [found(third, connection, name) for name in texts(6200)] == [
        [n + 1] for n in range(6200)
    ]
    per_bucket = connection.execute("SELECT count(*) FROM supplied_keys GROUP BY bucket").fetchall()
    assert {count for (count,) in per_bucket[:-1]} == {8}


def test_only_what_is_within_the_window_is_loaded(connection: sqlite3.Connection) -> None:
    """Groups whose newest event is too old cost no memory; the log still finds them by hand."""
    known = SuppliedTexts("supplied_keys", b"seed")
    add(known, connection, texts(1300), 1)
    again = SuppliedTexts("supplied_keys", b"seed")
    again.load(connection, 600)
    assert sorted(again._filters.groups) == [1, 2]
    assert found(again, connection, "order 5") == []
    assert found(again, connection, "order 700") == [701]
    assert again.find_anywhere(connection, "order 5") == [6]
    assert again.find_anywhere(connection, "nothing") == []
    known.drop_filters(connection, 600)
    assert sorted(known._filters.groups) == [1, 2]


def test_one_hash_under_several_events(connection: sqlite3.Connection) -> None:
    """The same text again, or two that hash alike, are all named; the caller compares."""
    known = SuppliedTexts("supplied_keys", b"seed")
    known.add(connection, [(5, 1), (5, 2)])
    known.add(connection, [(5, 3)])
    assert sorted(known.find(connection, [5])) == [1, 2, 3]


def test_the_hash_depends_on_the_database() -> None:
    """Two databases hash alike only by chance, so no one can aim at a collision."""
    one, two = SuppliedTexts("supplied_keys", b"a" * 16), SuppliedTexts("supplied_keys", b"b" * 16)
    names = texts(100)
    assert all(0 <= one.hash(name) < 1 << 63 for name in names)
    assert not {one.hash(name) for name in names} & {two.hash(name) for name in names}


def test_old_buckets_are_forgotten_one_by_one(connection: sqlite3.Connection) -> None:
    """Forgetting deletes whole buckets of old events, with the filters of what is gone."""
    known = SuppliedTexts("supplied_keys", b"seed")
    add(known, connection, texts(1300), 1)
    while known.forget(connection, 600):
        pass
    oldest = connection.execute("SELECT min(event) FROM supplied_keys").fetchone()[0]
    assert 590 <= oldest <= 600
    assert connection.execute("SELECT id FROM supplied_keys_filters").fetchall() == [(1,)]
    assert connection.execute("SELECT id FROM supplied_keys_summaries").fetchall() == [(0,)]
    assert known.forget(connection, 600) == 0


def test_a_summary_is_forgotten_with_its_last_group(connection: sqlite3.Connection) -> None:
    """Eight groups' summary goes when all their buckets are gone."""
    known = SuppliedTexts("supplied_keys", b"seed")
    add(known, connection, texts(4500), 1)
    while known.forget(connection, 4400):
        pass
    assert connection.execute("SELECT id FROM supplied_keys_summaries").fetchall() == []
    known.drop_filters(connection, 4400)
    add(known, connection, texts(900, 4500), 4501)
    assert connection.execute("SELECT id, covered FROM supplied_keys_summaries").fetchall() == [
        (1, 0x03)
    ]
    assert found(known, connection, "order 4450") == [4451]
    assert found(known, connection, "order 5200") == [5201]


def test_rows_are_written_in_order(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random hashes reach the table sorted, bucket by bucket, events in their order."""
    known = SuppliedTexts("supplied_keys", b"seed")
    chance = random.Random(3)
    given: list[list[int]] = []
    monkeypatch.setattr(known._insert, "run", lambda _, values: given.append(values))
    known.add(connection, [(chance.getrandbits(63), n) for n in range(20)])
    (values,) = given
    rows = list(zip(values[0::3], values[1::3], values[2::3], strict=True))
    assert rows == sorted(rows)
    assert {event for bucket, _, event in rows if bucket == 0} == set(range(8))

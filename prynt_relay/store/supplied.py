"""Finding the event that a supplied key or id came with, however many random ones there are.

One index over random keys costs a page write for nearly every key once it outgrows the cache
(batches of 200 fell to a quarter of their speed at two million). So hashes go into buckets of a
few thousand: only the newest bucket, some twenty pages, is ever written to. Which of the older
buckets may hold a hash is asked of a bit-sliced Bloom filter in memory: four lookups answer for
64 buckets at once, with about one wrong guess per 4,000 buckets. A group of 64 buckets takes
1 MiB: 4 bytes for each key within the dedup window. A full group's filter is kept beside its
keys, so that a restart needn't read them.
"""

import hashlib
import itertools
import sqlite3
from array import array
from collections.abc import Collection
from typing import Final

from prynt_relay.store.rows import RowStatement, insert

BUCKET_KEYS: Final = 4096
GROUP_BUCKETS: Final = 64
_SLICE_BITS: Final = 17
_SLICES: Final = 1 << _SLICE_BITS
_MASK: Final = _SLICES - 1
_HASH_BITS: Final = 63
_LAST_SHIFT: Final = _HASH_BITS - _SLICE_BITS
"""The fourth place in a filter comes from the highest bits, five of which the third has as well."""


class SuppliedTexts:
    """The hashes in one table, with their filter; lives on the writer's thread.

    Nothing here has to be undone when a transaction is rolled back: what the filter knows and
    the table doesn't costs one needless look.
    """

    def __init__(self, table: str, seed: bytes) -> None:
        self._table = table
        self._seeded = hashlib.blake2b(seed, digest_size=8)
        self._insert = insert(table, ("bucket", "hash", "event"))
        self._probe = RowStatement(
            "WITH asked (bucket, hash) AS (VALUES ",
            2,
            f") SELECT found.event FROM asked CROSS JOIN {table} AS found"  # noqa: S608
            " ON found.bucket = asked.bucket AND found.hash = asked.hash",
        )
        self._groups: dict[int, array[int]] = {}
        self._bucket = 0
        self._room = BUCKET_KEYS

    def hash(self, text: str) -> int:
        """A 63-bit hash that nobody outside can aim."""
        seeded = self._seeded.copy()
        seeded.update(text.encode())
        return int.from_bytes(seeded.digest()) >> 1

    def load(self, connection: sqlite3.Connection, oldest_event: int) -> None:
        """Read the filters of all groups with an event from `oldest_event` on."""
        last = connection.execute(f"SELECT max(bucket) FROM {self._table}").fetchone()[0]  # noqa: S608
        if last is None:
            return
        self._bucket = last
        self._room = max(0, BUCKET_KEYS - self._count(connection, last))
        for group in range(last // GROUP_BUCKETS, -1, -1):
            if not self._reaches(connection, group, oldest_event):
                break
            self._groups[group] = self._load_group(connection, group)

    def _count(self, connection: sqlite3.Connection, bucket: int) -> int:
        count: int = connection.execute(
            f"SELECT count(*) FROM {self._table} WHERE bucket = ?",  # noqa: S608
            (bucket,),
        ).fetchone()[0]
        return count

    def _reaches(self, connection: sqlite3.Connection, group: int, event: int) -> bool:
        """Whether the group's last bucket holds an event as new as `event`."""
        bucket = connection.execute(
            f"SELECT max(bucket) FROM {self._table} WHERE bucket BETWEEN ? AND ?",  # noqa: S608
            (group * GROUP_BUCKETS, (group + 1) * GROUP_BUCKETS - 1),
        ).fetchone()[0]
        if bucket is None:
            return False
        newest: int = connection.execute(
            f"SELECT max(event) FROM {self._table} WHERE bucket = ?",  # noqa: S608
            (bucket,),
        ).fetchone()[0]
        return newest >= event

    def _load_group(self, connection: sqlite3.Connection, group: int) -> "array[int]":
        row = connection.execute(
            f"SELECT filter FROM {self._table}_filters WHERE id = ?",  # noqa: S608
            (group,),
        ).fetchone()
        slices = array("Q")
        if row is not None:
            slices.frombytes(row[0])
            return slices
        slices.frombytes(bytes(8 * _SLICES))
        for bucket in range(group * GROUP_BUCKETS, (group + 1) * GROUP_BUCKETS):
            bit = 1 << (bucket % GROUP_BUCKETS)
            for (value,) in connection.execute(
                f"SELECT hash FROM {self._table} WHERE bucket = ?",  # noqa: S608
                (bucket,),
            ):
                slices[value & _MASK] |= bit
                slices[value >> _SLICE_BITS & _MASK] |= bit
                slices[value >> 2 * _SLICE_BITS & _MASK] |= bit
                slices[value >> _LAST_SHIFT] |= bit
        return slices

    def find(self, connection: sqlite3.Connection, hashes: Collection[int]) -> list[int]:
        """The events that may have come with these hashes; the caller compares the texts."""
        asked: list[int] = []
        for value in hashes:
            first = value & _MASK
            second = value >> _SLICE_BITS & _MASK
            third = value >> 2 * _SLICE_BITS & _MASK
            for group, slices in self._groups.items():
                hits = slices[first] & slices[second] & slices[third]
                if hits:
                    hits &= slices[value >> _LAST_SHIFT]
                while hits:
                    bit = hits & -hits
                    hits ^= bit
                    asked += (group * GROUP_BUCKETS + bit.bit_length() - 1, value)
        return [event for (event,) in self._probe.fetch(connection, asked)] if asked else []

    def find_anywhere(self, connection: sqlite3.Connection, text: str) -> list[int]:
        """The events that may have come with `text`, in all that is stored; for lookups by hand."""
        return find_anywhere(connection, self._table, self.hash(text))

    def add(self, connection: sqlite3.Connection, pairs: list[tuple[int, int]]) -> None:
        """Write `(hash, event)` pairs, in the order of events, and remember them in the filter."""
        rows: list[tuple[int, int, int]] = []
        for value, event in pairs:
            if self._room == 0:
                self._next_bucket(connection)
            self._room -= 1
            bit = 1 << (self._bucket % GROUP_BUCKETS)
            slices = self._groups.get(self._bucket // GROUP_BUCKETS)
            if slices is None:
                slices = array("Q")
                slices.frombytes(bytes(8 * _SLICES))
                self._groups[self._bucket // GROUP_BUCKETS] = slices
            slices[value & _MASK] |= bit
            slices[value >> _SLICE_BITS & _MASK] |= bit
            slices[value >> 2 * _SLICE_BITS & _MASK] |= bit
            slices[value >> _LAST_SHIFT] |= bit
            rows.append((self._bucket, value, event))
        rows.sort()  # in the table's order it is twice as fast
        self._insert.run(connection, list(itertools.chain.from_iterable(rows)))

    def _next_bucket(self, connection: sqlite3.Connection) -> None:
        full = self._groups.get(self._bucket // GROUP_BUCKETS)
        self._bucket += 1
        self._room = BUCKET_KEYS
        if self._bucket % GROUP_BUCKETS == 0 and full is not None:
            connection.execute(
                f"INSERT OR REPLACE INTO {self._table}_filters VALUES (?, ?)",  # noqa: S608
                (self._bucket // GROUP_BUCKETS - 1, full.tobytes()),
            )

    def forget(self, connection: sqlite3.Connection, oldest_event: int) -> int:
        """Delete the oldest bucket if no event from `oldest_event` on is in it.

        Returns how many rows went; 0 when nothing is left to do.
        """
        bucket = connection.execute(f"SELECT min(bucket) FROM {self._table}").fetchone()[0]  # noqa: S608
        if bucket is None or bucket >= self._bucket:
            return 0
        newest = connection.execute(
            f"SELECT max(event) FROM {self._table} WHERE bucket = ?",  # noqa: S608
            (bucket,),
        ).fetchone()[0]
        if newest >= oldest_event:
            return 0
        deleted = connection.execute(
            f"DELETE FROM {self._table} WHERE bucket = ?",  # noqa: S608
            (bucket,),
        ).rowcount
        connection.execute(
            f"DELETE FROM {self._table}_filters WHERE id < ?",  # noqa: S608
            (bucket // GROUP_BUCKETS,),
        )
        return deleted

    def drop_filters(self, connection: sqlite3.Connection, oldest_event: int) -> None:
        """Give up the memory of groups whose keys are all older than the dedup window."""
        for group in sorted(self._groups):
            if group == self._bucket // GROUP_BUCKETS or self._reaches(
                connection, group, oldest_event
            ):
                return
            del self._groups[group]


def find_anywhere(connection: sqlite3.Connection, table: str, value: int) -> list[int]:
    """The events under a hash in all buckets, one look into each, newest first."""
    rows = connection.execute(
        f"""WITH RECURSIVE buckets (bucket) AS (
              SELECT max(bucket) FROM {table}
              UNION ALL
              SELECT bucket - 1 FROM buckets
              WHERE bucket > (SELECT min(bucket) FROM {table}))
            SELECT found.event FROM buckets CROSS JOIN {table} AS found
            ON found.bucket = buckets.bucket AND found.hash = ?""",  # noqa: S608
        (value,),
    ).fetchall()
    return [event for (event,) in rows]

"""Finding the event that a supplied key or id came with, however many random ones there are.

One index over random keys costs a page write for nearly every key once it outgrows the cache
(batches of 200 fell to a quarter of their speed at two million). So hashes go into buckets of a
few thousand: only the newest bucket, some twenty pages, is ever written to. Which of the older
buckets may hold a hash is asked of filters in memory (`bucket_filters`). What they know of a full
group of buckets is kept beside the keys, so that a restart needn't read them.
"""

import hashlib
import itertools
import sqlite3
from collections.abc import Collection
from typing import Final

from prynt_relay.store.bucket_filters import GROUP_BUCKETS, SUMMARY_GROUPS, BucketFilters
from prynt_relay.store.rows import RowStatement, insert

BUCKET_KEYS: Final = 4096


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
        self._filters = BucketFilters()
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
        newest = last // GROUP_BUCKETS
        oldest = newest
        while oldest > 0 and self._reaches(connection, oldest - 1, oldest_event):
            oldest -= 1
        for number in range(oldest // SUMMARY_GROUPS, newest // SUMMARY_GROUPS + 1):
            row = connection.execute(
                f"SELECT covered, summary FROM {self._table}_summaries WHERE id = ?",  # noqa: S608
                (number,),
            ).fetchone()
            if row is not None:
                self._filters.load_summary(number, *row)
        for group in range(oldest, newest + 1):
            self._load_group(connection, group)
        self._filters.keep(oldest)

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

    def _load_group(self, connection: sqlite3.Connection, group: int) -> None:
        row = connection.execute(
            f"SELECT filter FROM {self._table}_filters WHERE id = ?",  # noqa: S608
            (group,),
        ).fetchone()
        if row is not None:
            self._filters.load_group(group, row[0])
            return
        for bucket in range(group * GROUP_BUCKETS, (group + 1) * GROUP_BUCKETS):
            values = connection.execute(
                f"SELECT hash FROM {self._table} WHERE bucket = ?",  # noqa: S608
                (bucket,),
            )
            self._filters.add(bucket, (value for (value,) in values))

    def find(self, connection: sqlite3.Connection, hashes: Collection[int]) -> list[int]:
        """The events that may have come with these hashes; the caller compares the texts."""
        asked = self._filters.candidates(hashes)
        return [event for (event,) in self._probe.fetch(connection, asked)] if asked else []

    def find_anywhere(self, connection: sqlite3.Connection, text: str) -> list[int]:
        """The events that may have come with `text`, in all that is stored; for lookups by hand."""
        return find_anywhere(connection, self._table, self.hash(text))

    def add(self, connection: sqlite3.Connection, pairs: list[tuple[int, int]]) -> None:
        """Write `(hash, event)` pairs, in the order of events, and remember them in the filter."""
        rows: list[tuple[int, int, int]] = []
        done = 0
        while done < len(pairs):
            if self._room == 0:
                self._next_bucket(connection)
            bucket = self._bucket
            part = pairs[done : done + self._room]
            self._filters.add(bucket, [value for value, _ in part])
            rows += [(bucket, value, event) for value, event in part]
            self._room -= len(part)
            done += len(part)
        rows.sort()  # in the table's order it is twice as fast
        self._insert.run(connection, list(itertools.chain.from_iterable(rows)))

    def _next_bucket(self, connection: sqlite3.Connection) -> None:
        self._bucket += 1
        self._room = BUCKET_KEYS
        if self._bucket % GROUP_BUCKETS == 0:
            self._keep_filters(connection, self._bucket // GROUP_BUCKETS - 1)

    def _keep_filters(self, connection: sqlite3.Connection, group: int) -> None:
        kept = self._filters.stored_group(group)
        if kept is None:
            return
        connection.execute(
            f"INSERT OR REPLACE INTO {self._table}_filters VALUES (?, ?)",  # noqa: S608
            (group, kept),
        )
        number = group // SUMMARY_GROUPS
        connection.execute(
            f"INSERT OR REPLACE INTO {self._table}_summaries VALUES (?, ?, ?)",  # noqa: S608
            (number, *self._filters.stored_summary(number)),
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
        connection.execute(
            f"DELETE FROM {self._table}_summaries WHERE id < ?",  # noqa: S608
            (bucket // GROUP_BUCKETS // SUMMARY_GROUPS,),
        )
        return deleted

    def drop_filters(self, connection: sqlite3.Connection, oldest_event: int) -> None:
        """Give up the memory of groups whose keys are all older than the dedup window."""
        groups = self._filters.groups
        newest = self._bucket // GROUP_BUCKETS
        oldest = next(
            (
                group
                for group in groups
                if group >= newest or self._reaches(connection, group, oldest_event)
            ),
            newest,
        )
        if groups and groups[0] < oldest:
            self._filters.keep(oldest)


def find_anywhere(connection: sqlite3.Connection, table: str, value: int) -> list[int]:
    """The events under a hash in all buckets, one look into each, in no order."""
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

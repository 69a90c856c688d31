"""Which buckets may hold a hash: Bloom filters in memory, on two levels.

A group of 64 buckets has a bit-sliced filter: four lookups answer for all of them at once, with
about one wrong guess per 4,000 buckets. Asking every group of a long window would still take
Python a microsecond each (30 us a key at 8.6 million keys), so eight groups share a summary, a
byte for each place with a bit for each group, which a hash that was never seen passes for one group
in thirty. A group takes 1 MiB and its share of a summary 256 KiB: 5 bytes for each key.
"""

from array import array
from collections.abc import Collection, Iterable
from typing import Final

GROUP_BUCKETS: Final = 64
SUMMARY_GROUPS: Final = 8

_SLICE_BITS: Final = 17
_SLICES: Final = 1 << _SLICE_BITS
_SLICE: Final = _SLICES - 1
_HASH_BITS: Final = 63
_LAST_SHIFT: Final = _HASH_BITS - _SLICE_BITS
"""The fourth place in a group comes from the highest bits, five of which the third has as well."""

_PLACE_BITS: Final = 21
_PLACES: Final = 1 << _PLACE_BITS
_PLACE: Final = _PLACES - 1


class _Summary:
    """What eight neighbouring groups hold; those not in `covered` have to be asked themselves."""

    __slots__ = ("covered", "not_covered", "places")

    def __init__(self, covered: int = 0, places: bytes | None = None) -> None:
        self.covered = covered
        self.not_covered = 0
        self.places = bytearray(_PLACES) if places is None else bytearray(places)

    def keep(self, groups: int) -> None:
        """Only `groups`, a bit each, are there: whatever else the summary knows is old."""
        self.not_covered = groups & ~self.covered
        self.covered &= groups
        self.places = self.places.translate(bytes(byte & self.covered for byte in range(256)))


class BucketFilters:
    """The filters of all buckets that are of interest.

    A filter may know hashes that the table lacks, of a transaction that was rolled back: each
    costs one needless look.
    """

    def __init__(self) -> None:
        self._groups: dict[int, array[int]] = {}
        self._summaries: dict[int, _Summary] = {}

    @property
    def groups(self) -> list[int]:
        """The groups that are known, oldest first."""
        return sorted(self._groups)

    def candidates(self, hashes: Collection[int]) -> list[int]:
        """Buckets to look into: `bucket, hash, bucket, hash, ...`."""
        groups = self._groups
        summaries = [
            (number * SUMMARY_GROUPS, summary.places, summary.not_covered)
            for number, summary in self._summaries.items()
        ]
        asked: list[int] = []
        for value in hashes:
            first = value & _PLACE
            second = value >> _PLACE_BITS & _PLACE
            third = value >> 2 * _PLACE_BITS
            for oldest, places, not_covered in summaries:
                maybe = places[first] & places[second] & places[third] | not_covered
                while maybe:
                    low = maybe & -maybe
                    maybe ^= low
                    group = oldest + low.bit_length() - 1
                    _ask(groups[group], group, value, asked)
        return asked

    def add(self, bucket: int, hashes: Iterable[int]) -> None:
        """Remember that `bucket` holds these hashes."""
        group = bucket // GROUP_BUCKETS
        slices = self._groups.get(group)
        if slices is None:
            slices = self._new_group(group)
        places = self._summaries[group // SUMMARY_GROUPS].places
        bit = 1 << bucket % GROUP_BUCKETS
        group_bit = 1 << group % SUMMARY_GROUPS
        for value in hashes:
            slices[value & _SLICE] |= bit
            slices[value >> _SLICE_BITS & _SLICE] |= bit
            slices[value >> 2 * _SLICE_BITS & _SLICE] |= bit
            slices[value >> _LAST_SHIFT] |= bit
            places[value & _PLACE] |= group_bit
            places[value >> _PLACE_BITS & _PLACE] |= group_bit
            places[value >> 2 * _PLACE_BITS] |= group_bit

    def _new_group(self, group: int) -> "array[int]":
        slices = array("Q")
        slices.frombytes(bytes(8 * _SLICES))
        self._groups[group] = slices
        summary = self._summaries.setdefault(group // SUMMARY_GROUPS, _Summary())
        summary.covered |= 1 << group % SUMMARY_GROUPS
        return slices

    def stored_group(self, group: int) -> bytes | None:
        """A group's filter, to be kept; None if nothing is known of it."""
        slices = self._groups.get(group)
        return None if slices is None else slices.tobytes()

    def stored_summary(self, number: int) -> tuple[int, bytes]:
        """Which groups a summary covers, a bit each, and the summary, to be kept."""
        summary = self._summaries[number]
        return summary.covered, bytes(summary.places)

    def load_group(self, group: int, kept: bytes) -> None:
        """Take up a filter that was kept. Its summary has to be there, if there is one."""
        slices = array("Q")
        slices.frombytes(kept)
        self._groups[group] = slices
        summary = self._summaries.setdefault(group // SUMMARY_GROUPS, _Summary())
        summary.not_covered |= ~summary.covered & 1 << group % SUMMARY_GROUPS

    def load_summary(self, number: int, covered: int, kept: bytes) -> None:
        """Take up a summary that was kept, before its groups."""
        self._summaries[number] = _Summary(covered, kept)

    def keep(self, oldest: int) -> None:
        """Give up the memory of groups older than `oldest`."""
        for group in [group for group in self._groups if group < oldest]:
            del self._groups[group]
        present: dict[int, int] = {}
        for group in self._groups:
            number, bit = divmod(group, SUMMARY_GROUPS)
            present[number] = present.get(number, 0) | 1 << bit
        for number in list(self._summaries):
            if number in present:
                self._summaries[number].keep(present[number])
            else:
                del self._summaries[number]


def _ask(slices: "array[int]", group: int, value: int, asked: list[int]) -> None:
    hits = (
        slices[value & _SLICE]
        & slices[value >> _SLICE_BITS & _SLICE]
        & slices[value >> 2 * _SLICE_BITS & _SLICE]
    )
    if hits:
        hits &= slices[value >> _LAST_SHIFT]
    while hits:
        bit = hits & -hits
        hits ^= bit
        asked += (group * GROUP_BUCKETS + bit.bit_length() - 1, value)

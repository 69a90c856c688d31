import random

from prynt_relay.store.bucket_filters import GROUP_BUCKETS, SUMMARY_GROUPS, BucketFilters

GROUPS = 2 * SUMMARY_GROUPS + 1


def hashes(count: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.getrandbits(63) for _ in range(count)]


def filled(per_group: int = 50) -> tuple[BucketFilters, dict[int, int]]:
    """Filters of two summaries and a bit, with the bucket of each hash."""
    filters = BucketFilters()
    buckets: dict[int, int] = {}
    for group in range(GROUPS):
        for n, value in enumerate(hashes(per_group, group)):
            buckets[value] = group * GROUP_BUCKETS + n % GROUP_BUCKETS
            filters.add(buckets[value], [value])
    return filters, buckets


def pairs(asked: list[int]) -> list[tuple[int, int]]:
    return list(zip(asked[0::2], asked[1::2], strict=True))


def test_every_hash_is_looked_for_where_it_is() -> None:
    """A bucket that holds a hash is always among those to look into."""
    filters, buckets = filled()
    assert set(pairs(filters.candidates(buckets))) >= {(b, value) for value, b in buckets.items()}


def test_the_extreme_hashes_have_places() -> None:
    """The lowest and the highest hash of 63 bits can be remembered and found."""
    filters = BucketFilters()
    filters.add(0, [0])
    filters.add(1, [(1 << 63) - 1])
    assert pairs(filters.candidates([0, (1 << 63) - 1])) == [(0, 0), (1, (1 << 63) - 1)]


def test_a_full_group_lets_few_others_pass() -> None:
    """As full as a group gets, one in fifty hashes that were never seen costs a look."""
    filters = BucketFilters()
    for bucket in range(GROUP_BUCKETS):
        filters.add(bucket, hashes(4096, bucket))
    asked = pairs(filters.candidates(hashes(10_000, 1000)))
    assert len(asked) < 200
    summary = filters._summaries[0].places
    assert 0.25 < sum(map(bool, summary)) / len(summary) < 0.35


def test_old_groups_are_given_up() -> None:
    """Groups that aren't kept name no bucket, those that are go on, and summaries go when empty."""
    filters, buckets = filled()
    oldest = SUMMARY_GROUPS + 3
    filters.keep(oldest)
    assert filters.groups == list(range(oldest, GROUPS))
    assert list(filters._summaries) == [1, 2]
    asked = pairs(filters.candidates(buckets))
    assert min(bucket for bucket, _ in asked) >= oldest * GROUP_BUCKETS
    young = {(b, value) for value, b in buckets.items() if b >= oldest * GROUP_BUCKETS}
    assert set(asked) >= young
    filters.keep(GROUPS)
    assert filters.groups == []
    assert filters.candidates(buckets) == []


def test_groups_without_a_summary_are_asked_themselves() -> None:
    """Filters kept by a version without summaries work beside new groups of the same eight."""
    filters, buckets = filled()
    loaded = BucketFilters()
    for group in range(3):
        kept = filters.stored_group(group)
        assert kept is not None
        loaded.load_group(group, kept)
    new = hashes(10, 99)
    loaded.add(3 * GROUP_BUCKETS, new)
    loaded.keep(1)
    asked = set(pairs(loaded.candidates([*buckets, *new])))
    assert asked >= {(b, v) for v, b in buckets.items() if 1 <= b // GROUP_BUCKETS < 3}
    assert asked >= {(3 * GROUP_BUCKETS, value) for value in new}
    assert loaded.stored_summary(0)[0] == 0b1000


def test_a_summary_that_was_kept_covers_its_groups() -> None:
    """What was kept answers as before, and only for groups that are there."""
    filters, buckets = filled()
    loaded = BucketFilters()
    loaded.load_summary(1, *filters.stored_summary(1))
    for group in (10, 11):
        kept = filters.stored_group(group)
        assert kept is not None
        loaded.load_group(group, kept)
    loaded.keep(10)
    assert loaded.stored_summary(1)[0] == 0b1100
    assert loaded._summaries[1].not_covered == 0
    asked = set(pairs(loaded.candidates(buckets)))
    assert asked >= {(b, v) for v, b in buckets.items() if b // GROUP_BUCKETS in (10, 11)}
    assert {bucket // GROUP_BUCKETS for bucket, _ in asked} == {10, 11}


def test_nothing_is_kept_of_a_group_that_is_not_known() -> None:
    """A group that was given up has nothing to be kept."""
    assert BucketFilters().stored_group(0) is None

"""Nobody stands in two splits."""

import pytest

from octshard.dataset.splits import check_disjoint, split_overlaps
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError


def rows(**splits: str) -> list[SampleRow]:
    """One row for each letter: participant -> the initials of its splits."""
    names = {"t": "train", "v": "val", "e": "test"}
    return [
        SampleRow(f"{person}-{i}", person, "d", "", "", "", "", "L", names[letter], f"{person}{i}.dcm")
        for person, letters in splits.items()
        for i, letter in enumerate(letters)
    ]


def test_people_in_one_split_pass_however_many_scans_they_have() -> None:
    assert split_overlaps(rows(a="ttt", b="v", c="ee")) == {}
    check_disjoint(rows(a="ttt", b="v", c="ee"), "data.shards")


def test_people_in_two_splits_are_counted_and_the_first_is_named() -> None:
    assert split_overlaps(rows(b="tv", a="t", c="tve")) == {
        "b": ("train", "val"),
        "c": ("test", "train", "val"),
    }
    with pytest.raises(
        UsageError, match=r"data\.shards: 2 participants .* the first is b, in train and val; build"
    ):
        check_disjoint(rows(b="tv", a="t", c="tve"), "data.shards")

"""Volumes by key: in the order asked for, each once; what is wrong with other keys."""

import pytest

from octshard.dataset.stored_volumes import by_keys, stored_volumes
from octshard.dataset.tables import Dataset, SampleRow
from octshard.errors import UsageError


def row(key: str, offset: int = 0, **more: str) -> SampleRow:
    return SampleRow(key, "1", "d", "", "", "", "", "", "train", "", shard="a.tar", offset=offset, **more)


def dataset(url: str, *rows: SampleRow) -> Dataset:
    return Dataset(url, {}, rows, ())


ONE = dataset(
    "one", row("b-2", 9), row("a-1", 0), row("bad", status="refused", reason="blank", detail="all 0")
)
TWO = dataset("two", row("a-1"), row("c-3"))


def test_they_come_as_they_lie_or_as_they_are_asked_for():
    assert [volume.row.key for volume in stored_volumes([ONE, TWO])] == ["a-1", "b-2", "a-1", "c-3"]
    volumes = by_keys([ONE, TWO], ["c-3", "b-2", "c-3"], "S")
    assert [(volume.folder, volume.row.key) for volume in volumes] == [("two", "c-3"), ("one", "b-2")]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a-1", "S: 1 volumes stand in more than one folder"),
        ("bad", r"S: bad was refused: blank \(all 0\)"),
        ("b-22", "S: no volume 'b-22'; did you mean b-2"),
        ("zzzzzz", "S: no volume 'zzzzzz'; the keys stand in samples.parquet, as a-1"),
    ],
)
def test_what_is_wrong_with_a_key(key, text):
    with pytest.raises(UsageError, match=text):
        by_keys([ONE, TWO], [key], "S")


def test_nothing_is_stored():
    with pytest.raises(UsageError, match="no volume 'a', and none is stored"):
        by_keys([dataset("one")], ["a"], "S")

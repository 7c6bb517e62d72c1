"""Notes on the people of test: few of a class, few with a number, and what is left out."""

import pytest

from octshard.dataset.splits import SPLITS
from octshard.eval import notes
from octshard.probes.labels import LabelledScans, SplitCounts


def scans_of(people: int, of_class: dict[str, int], **more: object) -> LabelledScans:
    counts = tuple(SplitCounts(split, 2 * people, people, of_class) for split in SPLITS)
    return LabelledScans(tuple(of_class), {}, counts, more.pop("dropped", {}), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scans", "words"),
    [
        (scans_of(19, {"a": 9, "b": 10}), ["too narrow: a (9)."]),
        (scans_of(20, {"a": 10, "b": 10}), []),
        (scans_of(19, {}, kind="numbers"), ["too narrow: with a number of age (19)."]),
        (scans_of(20, {}, kind="numbers"), []),
        (
            scans_of(40, {"a": 20, "b": 20}, dropped={"eye not known": 3, "no value in the column": 0}),
            ["Scans left out: 3, eye not known."],
        ),
        (
            scans_of(40, {"a": 20, "b": 20}, unused=("7", "8")),
            ["The table of labels names 2 that no scan is about: 7, 8."],
        ),
    ],
)
def test_notes(scans: LabelledScans, words: list[str]) -> None:
    said = notes.of_labels(scans, "age")
    assert len(said) == len(words)
    assert all(text.endswith(end) for text, end in zip(said, words, strict=True))

"""Notes on the people of test, on what is left out, and on fits that would have gone on or further."""

import pytest

from octshard.dataset.splits import SPLITS
from octshard.eval import notes
from octshard.eval.probe_result import Arm
from octshard.probes.head import Trial
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


def arm(choice: dict[str, float], scores: dict[float, float], *, converged: bool = True) -> Arm:
    (key,) = choice
    trials = tuple(Trial({key: value}, score) for value, score in scores.items())
    return Arm("one", 8, choice, trials, converged, score=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "scores", "words"),
    [
        ({"lr": 0.1}, {0.01: 0.7, 0.1: 0.8}, "The best lr of the mlp head is the highest of its grid"),
        ({"C": 0.01}, {0.01: 0.8, 0.1: 0.7}, "The best C of the mlp head is the lowest of its grid"),
        ({"lr": 0.1}, {0.01: 0.795, 0.1: 0.8}, ""),  # no more than noise
        ({"lr": 0.1}, {0.01: 0.7, 0.1: 0.8, 1.0: 0.7}, ""),  # in the middle
        ({"lr": 0.1}, {0.1: 0.8}, ""),  # no grid
        ({"neighbours": 5}, {5: 0.9, 10: 0.7}, ""),
    ],
)
def test_the_best_at_the_end_of_its_grid_is_said(
    choice: dict[str, float], scores: dict[float, float], words: str
) -> None:
    said = notes.of_fits([arm(choice, scores)], "mlp")
    assert len(said) == bool(words)
    assert all(text.startswith(words) and text.endswith("try a wider one: one.") for text in said)


def test_a_fit_that_would_have_gone_on_is_said() -> None:
    slow = arm({"C": 1.0}, {1.0: 0.7}, converged=False)
    assert notes.of_fits([slow]) == ("The fit had not converged when it stopped: one.",)

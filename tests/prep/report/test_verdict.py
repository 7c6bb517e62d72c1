"""The verdict on shards: its colour by the rule, its words by the counts."""

import dataclasses
import re

import pytest

from octshard.dataset.tables import Dataset, SampleRow
from octshard.prep.report.content import Shards
from octshard.prep.report.verdict import verdict

ROW = SampleRow("k", "p", "d", "", "", "often", "", "L", "train", "s")
TRUNCATED, SPOKES, ODD = "truncated", "geometry_radial", "unreadable"


def shards(
    stored: int, *refused: str, flags: tuple[str, ...] = (), unfinished: tuple[str, ...] = ()
) -> Shards:
    rows = [dataclasses.replace(ROW, key=f"k{i}", participant=f"p{i}", flags=flags) for i in range(stored)]
    rows += [dataclasses.replace(ROW, status="refused", reason=reason) for reason in refused]
    return Shards((Dataset("", {}, tuple(rows), ()),), ({},), unfinished)


@pytest.mark.parametrize(
    ("content", "tone", "text"),
    [
        (shards(3), "good", "None of 3 files was refused."),
        (shards(1, SPOKES, SPOKES), "good", "2 of 3 files refused: all explained (2 with nothing to store)."),
        (
            shards(98, TRUNCATED, SPOKES),
            "good",
            "2 of 100 files refused: all explained (1 damaged or missing, 1 with nothing to store).",
        ),
        (
            shards(97, TRUNCATED, TRUNCATED),
            "unsure",
            "2 of 99 files refused: all explained (2 damaged or missing). More than 1 % are damaged",
        ),
        (shards(9, TRUNCATED), "unsure", "More than 1 % are damaged or missing."),
        (shards(8, TRUNCATED), "bad", "More than 10 % are damaged or missing."),
        (
            shards(99, "missing_library"),
            "unsure",
            "all explained (1 of formats whose library is not installed).",
        ),
        (shards(999, ODD), "bad", "1 of 1 000 files refused: 1 not explained."),
        (shards(1, "of tomorrow", SPOKES), "bad", "2 of 3 files refused: 1 not explained (1 with nothing to"),
        (
            shards(0, SPOKES),
            "bad",
            "1 of 1 file refused: all explained (1 with nothing to store). Nothing is",
        ),
        (shards(0), "bad", "No file is listed. Nothing is stored."),
        (shards(2, flags=("slow_axis_flipped",)), "good", "None of 2 files was refused."),
        (shards(1, flags=("saturated",)), "unsure", "1 of 1 stored volume has a flag that asks for a look."),
        (
            shards(2, flags=("saturated",)),
            "unsure",
            "2 of 2 stored volumes have a flag that asks for a look.",
        ),
        (shards(2, unfinished=("zeiss_cirrus",)), "unsure", "Not finished: zeiss_cirrus."),
    ],
)
def test_the_rule(content: Shards, tone: str, text: str) -> None:
    result = verdict(content)
    assert result.tone == tone
    said = " ".join((result.headline, *result.others)).replace("\u202f", " ")
    assert text in said


def test_a_person_in_two_splits_is_grave() -> None:
    rows = [ROW, dataclasses.replace(ROW, key="other", split="test")]
    result = verdict(Shards((Dataset("", {}, tuple(rows), ()),), ({},), ()))
    assert result.tone == "bad"
    assert result.others == ("1 person in more than one split.",)


def test_the_box_says_its_colour_in_words_and_has_the_rule() -> None:
    box, rule = verdict(shards(98, TRUNCATED, SPOKES)).parts()
    assert re.fullmatch(r'<p class="banner good"><b>In order:</b> 2 of 100 files .*</p>', box.markup)  # type: ignore[union-attr]
    assert rule.markup.count("<li>") == 3  # type: ignore[union-attr]

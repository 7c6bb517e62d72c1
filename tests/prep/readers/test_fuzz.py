"""Damaged files of every format: each is refused, or gives frames of the shape that it declares.

The seed makes the damage, so a failure can be repeated: `scan_files.case(format, seed, i)` is the very file.
`OCTSHARD_FUZZ_REPORT=FILE` writes what became of each kind of damage.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from octshard.prep.readers import recognise
from tests.support import every_format
from tests.support.damage import fuzz
from tests.support.damage.case import OK
from tests.support.damage.scan_judge import ScanJudge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it, too, notices the damage
SEED = 0
QUICK, WHOLE = 100, 1000  # damaged copies of one file
MOST_BYTES = 600_000_000  # of a process with all libraries, which alone take half of it
REPORT = os.environ.get("OCTSHARD_FUZZ_REPORT", "")


def test_every_reader_is_tried() -> None:
    assert every_format.scans().keys() == recognise.READERS.keys()


@pytest.mark.parametrize("form", recognise.READERS)
def test_damage_is_refused_or_does_no_harm(form: str, tmp_path: Path) -> None:
    judge = ScanJudge(form, tmp_path)
    verdicts = [judge.judge(SEED, i) for i in range(QUICK)]
    faults = [f"{one.recipe} -> {one.outcome}: {one.faults}" for one in verdicts if one.faults]
    assert not faults, "\n".join(faults[:20])
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    assert 0 < outcomes[OK] < QUICK  # or the damage is idle
    assert len(outcomes) > 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", recognise.READERS)
def test_a_thousand_damaged_copies_of_each_file_stay_within_bounds(form: str, tmp_path: Path) -> None:
    tally = fuzz.run(form, range(WHOLE * len(every_format.scans()[form])), SEED, tmp_path, {})
    text = tally.text(form)
    print(text)  # noqa: T201
    if REPORT:
        with Path(REPORT).open("a") as file:
            file.write(text + "\n")
    assert not tally.faults, "\n".join(tally.faults[:20])
    assert 10**7 < tally.peak < MOST_BYTES

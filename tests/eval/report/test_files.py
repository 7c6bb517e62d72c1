"""What lies in the folder of a report: nothing of an earlier one, and nothing of the user's goes."""

import json
from pathlib import Path

from octshard.eval.report import files


def test_only_files_that_the_last_report_names_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("roc-old.svg", "mine.svg"):
        (tmp_path / "figures" / name).touch()
    assert files.figure_names(str(tmp_path)) == []
    (tmp_path / files.JSON).write_text(json.dumps({"files": ["roc-old.svg", "gone.svg", "../mine.svg"]}))
    assert files.figure_names(str(tmp_path)) == ["roc-old.svg"]
    for damaged in ("{", "[]", '{"files": 3}', "null"):
        (tmp_path / files.JSON).write_text(damaged)
        assert files.figure_names(str(tmp_path)) == []

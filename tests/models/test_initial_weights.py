"""Weights to begin with: what an export says of its people goes along."""

from pathlib import Path

from octshard.models.initial_weights import read_weights
from tests.models.test_exported_encoder import MORE, written


def test_the_people_of_an_export_go_along_where_it_names_them(tmp_path: Path) -> None:
    _, export = written(tmp_path, people=True, **MORE)
    weights = read_weights(export)
    assert weights.participants is not None
    assert weights.participants.members(["1001", "1002", "1003"]) == {"1001", "1002"}
    assert weights.origin()["participants"] == "known"
    _, silent = written(tmp_path / "silent", **MORE)
    assert read_weights(silent).participants is None

"""docs/export.md and its notebook: the same code, run from an export and shards to a table."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import octshard
from tests.support.tiny_run import config_for, write_checkpoint, write_dataset

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "export.md").read_text(), re.DOTALL)
NOTEBOOK = json.loads((DOCS / "notebooks" / "own_labels.ipynb").read_text())
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
PREPARATION = {"target_spacing": [0.05, 0.02, 0.02], "image_size": [8, 32, 16], "fit": "crop_pad"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page needs: export, shards and labels.csv."""
    cfg = config_for("none", "none", "model.image_size=[8,32,32]", "model.patch=[2,16,16]")
    run = write_checkpoint(tmp_path / "run", cfg, PREPARATION)
    octshard.load_encoder(run).save_pretrained(tmp_path / "export")
    write_dataset(tmp_path / "shards" / "device", {"train": 8, "val": 2, "test": 6})
    people = [f"{split}{i:03}" for split, count in (("train", 7), ("test", 6)) for i in range(count)]
    lines = [f"{person},{int(person[-1]) % 2}" for person in people]
    (tmp_path / "labels.csv").write_text("\n".join(["participant,label", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_notebook_gives_a_table_of_the_people_of_test(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for cell in CELLS:
        exec(compile(cell, "own_labels.ipynb", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "13 of 16 scans have a label and are in train or test"
    assert said[1].startswith("6 people of test: AUROC ")
    with open(folder / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["participant"] for row in table] == [f"test{i:03}" for i in range(6)]
    assert [int(row["label"]) for row in table] == [0, 1, 0, 1, 0, 1]
    pairs = [(a, b) for a in table[1::2] for b in table[0::2]]  # of AUROC, by its definition
    wins = [float(a["probability"]) > float(b["probability"]) for a, b in pairs]
    assert names["auroc"] == pytest.approx(sum(wins) / len(wins))


def test_the_page_and_the_notebook_say_the_same(folder: Path) -> None:
    first, *others = BLOCKS
    assert [block.strip("\n") for block in others] == CELLS
    exec(compile(first, "export.md", "exec"), {})


def test_the_notebook_is_a_notebook_without_results() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in NOTEBOOK["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None

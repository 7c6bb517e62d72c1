"""docs/fairvision.md: its commands name what is there, and its other data sets come in as written."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import savemat

from octshard.cli.main import cli
from octshard.prep.release import aireadi
from tests.support import array_files
from tests.support.scan_folder import write

PAGE = (Path(__file__).parents[2] / "docs/fairvision.md").read_text()
CONFIGS = Path(__file__).parents[2] / "configs"


def entries() -> list[aireadi.Entry]:
    return aireadi.parse_manifest(Path("manifest.tsv").read_text(), "manifest.tsv")


def index(folder: str) -> str:
    (line,) = re.findall(rf"^octshard (prep index {folder} .*)$", PAGE, re.MULTILINE)
    result = CliRunner().invoke(cli, [word.strip("'") for word in line.split()])
    assert result.exit_code == 0, result.output
    return result.output


def test_configs_of_the_page_are_shipped() -> None:
    assert set(re.findall(r"--config (\w+)", PAGE)) == {"fairvision", "pretrain_vjepa_fairvision"}
    assert (CONFIGS / "prep/fairvision.yaml").exists()
    assert (CONFIGS / "pretrain_vjepa_fairvision.yaml").exists()


def test_retouch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    voxels = np.zeros((3, 8, 9), np.uint8)
    (data,) = array_files.metaimage(voxels, (0.047, 0.002, 0.012)).values()
    folders = ("RETOUCH-TrainingSet-Cirrus/TRAIN001", "RETOUCH-TestSet-Topcon/TEST015")
    write(
        Path("RETOUCH"), {f"{place}/{name}.mhd": data for place in folders for name in ("oct", "reference")}
    )
    assert "4 files, 2 scans of 2 people" in index("RETOUCH")
    assert [(entry.participant, entry.device) for entry in entries()] == [
        ("TEST015", "topcon"),
        ("TRAIN001", "cirrus"),
    ]


def test_duke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)  # depth, A-scans, B-scans
    Path("duke/AMD").mkdir(parents=True)
    for group in ("AMD", "Control"):
        savemat(f"duke/AMD/Farsiu_Ophthalmology_2013_{group}_Subject_1001.mat", {"images": images})
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert np.load("duke_npy/AMD-1001.npy")[2, 1].tolist() == images[1, :, 2].tolist()
    assert "2 scans of 2 people" in index("duke_npy")
    labels = "person_id\tgroup\nAMD-1001\tAMD\nControl-1001\tControl\n"
    assert Path("duke_labels.tsv").read_text() == labels
    assert [entry.participant for entry in entries()] == ["AMD-1001", "Control-1001"]

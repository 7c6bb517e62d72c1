"""docs/fairvision.md: its commands name what is there, and its other data sets come in as written."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from tests.support import array_files, b_scan_sets
from tests.support.array_files import Files
from tests.support.scan_folder import write

PAGE = (Path(__file__).parents[2] / "docs/fairvision.md").read_text()
CONFIGS = Path(__file__).parents[2] / "configs"


def entries() -> list[Entry]:
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


@pytest.mark.parametrize(
    ("folder", "files", "counts"),
    [
        ("OCTA-500", b_scan_sets.octa_500, "6 scans of 6 people"),
        ("OLIVES", b_scan_sets.olives, "4 scans of 2 people"),
        ("OCTDL", b_scan_sets.octdl, "5 scans of 3 people"),
        ("Duke2013", b_scan_sets.duke_2013, "3 scans of 3 people"),
    ],
)
def test_data_sets_of_b_scans(
    folder: str, files: Callable[[], Files], counts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(folder), dict(files()))
    assert counts in index(folder)
    assert Path("participants.tsv").exists()

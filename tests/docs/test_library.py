"""The Python of README.md and docs/library.md, run where there are shards, a run and a scan to look at."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.made_release import sound, unpacked
from tests.support.tiny_run import SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/library.md")}
EXAMPLES = [
    (name, code)
    for name, page in PAGES.items()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    release = unpacked(
        root / "dicom", [sound(i, str(i)) for i in range(1, 6)], dict.fromkeys("12345", "train")
    )
    shutil.copy(next(release.rglob("*.dcm")), root / "scan.dcm")
    (root / "prep.yaml").write_text(
        "target_spacing: [0.05, 0.02, 0.02]\nimage_size: [8, 32, 16]\nworkers: 1\n"
    )
    (root / "train.yaml").write_text("{}\n")
    train = [*SETTINGS, "data.shards=[shards/topcon_triton]", "run.out=runs/triton", "run.samples_budget=4"]
    for words in (
        ["prep", "shard", "dicom", "shards", "--device", "all", "--config", "prep.yaml"],
        ["train", "--config", "train.yaml", *train],
    ):
        subprocess.run([sys.executable, "-m", "octshard", *words], cwd=root, check=True, capture_output=True)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for _, code in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_every_example_runs(folder: Path, code: str) -> None:
    if "monai" in code:
        pytest.importorskip("monai")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    assert "Error" not in done.stdout


def test_the_front_door_has_an_example_of_each_of_its_names() -> None:
    for name in ("load_encoder", "ShardDataset", "webdataset.decoder", "open_volume"):
        assert {page for page, code in EXAMPLES if f"octshard.{name}" in code} == PAGES.keys()

"""The example of manifests/README.md is the row that the demo makes: its scan is made and converted again."""

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.demo import run
from octshard.phantom import cohort, release
from octshard.phantom.release import ReleaseSpec
from octshard.prep.convert import scan_file

TEXT = (Path(__file__).parents[2] / "manifests" / "README.md").read_text()
PEOPLE = 144  # of the demo


def example() -> dict[str, str]:
    """Column -> the cell of the stored scan."""
    table = TEXT.split("## Example", 1)[1]
    return dict(re.findall(r"^\| (\w+) \| ([^|]*) \| [^|]* \|$", table, re.MULTILINE))


def test_the_example_has_every_column() -> None:
    assert set(example()) - {"column"} == {field.name for field in dataclasses.fields(SampleRow)}


def test_the_example_is_the_scan_that_the_demo_makes(tmp_path: Path) -> None:
    cells = example()
    spec = ReleaseSpec(PEOPLE, 0, run.SCALE, defects=True)
    persons = [one.person for one in cohort.sample_cohort(PEOPLE, spec.seed)]
    (job,) = (job for job in release.jobs(persons, spec) if job.uid == cells["sop_instance_uid"])
    data, _ = release.make(job)
    assert len(data) == int(cells["source_bytes"])
    path = tmp_path / "scan.dcm"
    path.write_bytes(data)
    cfg = load(PrepConfig, [run.CONFIG])
    volume = scan_file.stored_volume(scan_file.open_scan(path, cfg), cfg)
    voxels = volume.voxels_DHW
    assert str(list(voxels.shape)) == cells["shape_out"]
    digest = hashlib.sha256(voxels.tobytes()).hexdigest()
    begin, end = cells["sha256"].split("...")
    assert digest.startswith(begin)
    assert digest.endswith(end)
    assert float(cells["mean"]) == pytest.approx(voxels.mean(), rel=1e-5)
    assert float(cells["std"]) == pytest.approx(voxels.std(), rel=1e-5)

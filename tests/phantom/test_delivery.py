"""Practice folders: prep takes their files for the scans that were made, and their tables name the people."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from octshard import delimited
from octshard.cli.main import cli
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.phantom import delivery
from octshard.phantom.delivery import DeliverySpec
from octshard.phantom.device import PROTOCOLS
from octshard.phantom.eye import Person
from tests.support.device_files import conversion

SCALE = 0.05
PERSON = Person("1200", "fluid", 0.8, 60)  # of a fourth and of a fifth: two visits, and a line
COARSE = dataclasses.replace(conversion.CFG, target_spacing=[0.5, 0.1, 0.1])
RASTER = {p.device: p for p in reversed(PROTOCOLS) if p.share == 1.0}


def files(form: str) -> dict[str, bytes]:
    return dict(delivery.FORMS[form](PERSON, DeliverySpec(form, 1, 0, SCALE)))


def check(row: SampleRow, device: str, eye: str, geometry: str = "raster") -> None:
    assert (row.status, row.eye, row.geometry) == ("ok", eye, geometry), row.detail
    extent = np.multiply(row.spacing_in, (row.frames, row.rows, row.cols))
    assert extent == pytest.approx(RASTER[device].extent_mm, rel=1e-4)


def test_e2e_holds_both_eyes_two_visits_and_a_line() -> None:
    ((name, data),) = files("e2e").items()
    assert name == "1200.E2E"
    for series, eye in ((10, "R"), (11, "L"), (12, "R"), (13, "L")):
        check(conversion.row_of(f"{name}#{series}", data, cfg=COARSE), "heidelberg_spectralis", eye)
    assert conversion.row_of(f"{name}#14", data, cfg=COARSE).reason == "geometry_line"
    assert conversion.row_of(name, data, cfg=COARSE).reason == "several_volumes"


def test_nifti_tells_the_spacing_and_tiff_does_not() -> None:
    for name, data in files("nifti").items():
        assert name in ("sub-1200_OD.nii.gz", "sub-1200_OS.nii.gz")
        check(conversion.row_of(name, data, cfg=COARSE), "topcon_triton", "", "unknown")
    for name, data in files("tiff").items():
        row = conversion.row_of(name, data, cfg=COARSE)
        assert (row.status, row.assumed_spacing, row.frames) == ("ok", 1, 16)


def test_the_scans_of_a_study_stand_among_other_objects() -> None:
    made = files("dicom")
    rows = [conversion.row_of(name, data, cfg=COARSE, participant="1200") for name, data in made.items()]
    assert [row.reason for row in rows] == ["", "not_oct", "", "not_oct", "not_oct"]
    device = "zeiss_cirrus" if rows[0].manufacturer == "Zeiss" else "topcon_maestro2"
    check(rows[0], device, "R")
    check(rows[2], device, "L")


@pytest.mark.parametrize("form", list(delivery.FORMS))
def test_a_delivery_names_the_same_people_in_files_and_labels(form: str, tmp_path: Path) -> None:
    spec = [str(tmp_path), "--as", form, "--participants", "3", "--scale", "0.02"]
    result = CliRunner().invoke(cli, ["phantom", *spec])
    assert result.exit_code == 0, result.output
    assert "of 3 people" in result.output
    table = delimited.parse((tmp_path / delivery.LABELS).read_text(encoding="utf-8-sig"), "labels.csv")
    people = {cells[0] for _, cells in table.rows}
    paths = [str(path.relative_to(tmp_path / delivery.SCANS)) for path in tmp_path.glob("scans/**/*.*")]
    paths += [str(path.relative_to(tmp_path / delivery.SCANS)) for path in tmp_path.glob("scans/*/*/IM*")]
    assert len(people) == 3
    assert {next(person for person in people if person in path) for path in paths} == people
    labels = [cells[2] for _, cells in table.rows]
    assert len(set(labels)) == 2
    for person in people:
        assert len({cells[2] for _, cells in table.rows if cells[0] == person}) == 1


def test_what_cannot_be_delivered_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="want 1 to 450"):
        delivery.write(str(tmp_path), DeliverySpec("e2e", 451, 0, 0.1))
    assert not list(tmp_path.iterdir())
    for option in (["--maps"], ["--no-defects"], ["--defects"], ["--workers", "1"]):
        result = CliRunner().invoke(cli, ["phantom", str(tmp_path / "x"), "--as", "tiff", *option])
        assert isinstance(result.exception, UsageError)
        assert "is of a release; leave out one of the two" in str(result.exception)


def test_a_folder_holds_one_delivery(tmp_path: Path) -> None:
    out, spec = str(tmp_path / "out"), DeliverySpec("tiff", 2, 0, 0.02)
    delivery.write(out, spec)
    scans = {path: path.read_bytes() for path in (tmp_path / "out/scans").rglob("*.tif")}
    assert delivery.write(out, spec).files == len(scans)  # the same again goes on, as after a kill
    for other in ({"participants": 1}, {"seed": 1}, {"form": "e2e"}, {"scale": 0.03}):
        with pytest.raises(
            UsageError, match=r"holds form tiff, .* want form .*; choose another folder or remove it"
        ):
            delivery.write(out, dataclasses.replace(spec, **other))
    assert {path: path.read_bytes() for path in scans} == scans
    result = CliRunner().invoke(cli, ["phantom", out, "--participants", "1", "--scale", "0.02"])
    assert "holds practice scans" in str(result.exception)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, and no practice scans; want an empty or a new"):
        delivery.write(str(tmp_path / "mine"), spec)
    (tmp_path / "out/delivery.json").write_text("{")
    with pytest.raises(UsageError, match="choose another folder or remove"):
        delivery.write(out, spec)

"""Public data sets of B-scans as they are delivered: from index to shards, with people, splits and labels."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from octshard import tsv
from octshard.cli import index as cli_index
from octshard.cli.main import cli
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.prep.index import b_scan_set, layout_names
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from tests.support import b_scan_sets
from tests.support.scan_folder import write


def index(name: str, files: Mapping[str, bytes], home: Path, *options: str) -> Result:
    root = write(home / "data", dict(files))
    args = ["prep", "index", str(root), "--out", str(home / "manifest.tsv"), "--layout", name, *options]
    return CliRunner().invoke(cli, args)


def entries(home: Path) -> list[Entry]:
    return aireadi.parse_manifest((home / "manifest.tsv").read_text(), "")


def rows_of(path: Path) -> list[dict[str, str]]:
    table = tsv.parse(path.read_text(), "")
    return [dict(zip(table.columns, cells, strict=True)) for _, cells in table.rows]


def shard(home: Path, *options: str) -> list[SampleRow]:
    args = [
        "prep",
        "shard",
        str(home / "data"),
        str(home / "shards"),
        "--manifest",
        str(home / "manifest.tsv"),
    ]
    sizes = ["--set", "target_spacing=[0.08,0.04,0.04]", "--set", "image_size=[4,8,8]", "--workers", "1"]
    result = CliRunner().invoke(cli, [*args, *sizes, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (folder,) = [path for path in (home / "shards").iterdir() if path.is_dir()]
    return list(tables.open_dataset(str(folder)).rows)


def test_octa_500_has_its_published_spacing_splits_and_labels(tmp_path: Path) -> None:
    result = index("octa-500", b_scan_sets.octa_500(), tmp_path, "--device", "octa500")
    assert result.exit_code == 0, result.output
    found = {e.participant: (e.path, e.eye, e.protocol, e.pixel_mm, e.slice_mm) for e in entries(tmp_path)}
    assert list(found) == ["10301", "10445", "10500", "10001", "10190", "10300"]
    assert found["10001"] == ("OCTA_6mm/OCT/10001/", "R", "6mm", (0.003125, 0.015), 0.015)
    assert found["10500"] == ("OCTA_3mm/OCT/10500/", "L", "3mm", (0.003125, 0.009868), 0.009868)
    people = rows_of(tmp_path / "participants.tsv")
    assert {row["person_id"]: row["recommended_split"] for row in people} == {
        "10001": "train", "10190": "val", "10300": "test", "10301": "train", "10445": "val", "10500": "test",
    }  # fmt: skip
    assert people[0] == {
        "person_id": "10301", "recommended_split": "train", "sex": "F", "age": "44", "disease": "CNV",
    }  # fmt: skip
    rows = shard(tmp_path)
    assert {(row.format, row.status, row.assumed_spacing) for row in rows} == {("images", "ok", 0)}
    assert len({row.sha256 for row in rows}) == 6  # and none of angiography


def test_a_spacing_that_is_given_is_believed_before_the_published_one(tmp_path: Path) -> None:
    files = {path: data for path, data in b_scan_sets.octa_500().items() if "OCTA_6mm/OCT/10001/" in path}
    assert index("octa-500", files, tmp_path, "--spacing", "0.02,0.003,0.01").exit_code == 0
    assert [(e.pixel_mm, e.slice_mm, e.default_mm) for e in entries(tmp_path)] == [
        (None, None, (0.02, 0.003, 0.01))
    ]


def test_a_csv_is_read_before_a_workbook_and_a_changed_table_makes_another_manifest(tmp_path: Path) -> None:
    files = {path: data for path, data in b_scan_sets.octa_500().items() if "OCTA_6mm/OCT/10001/" in path}
    assert index("octa-500", files, tmp_path).exit_code == 0
    assert entries(tmp_path)[0].eye == ""
    table = {"Text Labels.csv": b"ID,OS/OD\n10001,OS\n", "Text labels.xlsx": b"PK\3\4 no workbook"}
    assert index("octa-500", {**files, **table}, tmp_path).exit_code == 0
    assert entries(tmp_path)[0].eye == "L"
    (tmp_path / "data/Text Labels.csv").unlink()
    with pytest.raises(UsageError, match=r"Text labels.xlsx: no workbook that can be read \(BadZipFile\)"):
        b_scan_set.of("octa-500", str(tmp_path / "data"))


def test_a_zip_is_a_folder_whose_table_lies_beside_it(tmp_path: Path) -> None:
    images = {path: data for path, data in b_scan_sets.octa_500().items() if path.endswith(".bmp")}
    with zipfile.ZipFile(tmp_path / "octa.zip", "w") as archive:
        for path, data in images.items():
            archive.writestr(path, data)
    (tmp_path / "Text labels.csv").write_bytes(b_scan_sets.csv(b_scan_sets.OCTA_ROWS))
    args = [
        "prep",
        "index",
        str(tmp_path / "octa.zip"),
        "--out",
        str(tmp_path / "manifest.tsv"),
        "--layout",
        "octa-500",
    ]
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
    assert {e.participant: (e.path, e.eye) for e in entries(tmp_path)}["10190"] == (
        "octa.zip/OCTA_6mm/OCT/10190/",
        "L",
    )
    assert len(entries(tmp_path)) == len(rows_of(tmp_path / "participants.tsv")) == 6


def test_olives_eyes_of_a_visit_are_scans_and_a_person_may_have_two_study_eyes(tmp_path: Path) -> None:
    result = index("olives", b_scan_sets.olives(), tmp_path, "--device", "olives")
    assert result.exit_code == 0, result.output
    assert [(e.participant, e.eye, e.protocol, e.path) for e in entries(tmp_path)] == [
        ("prime-01-001", "R", "W0", "OLIVES/Prime_FULL/01-001/W0/OD/"),
        ("prime-01-001", "R", "W4", "OLIVES/Prime_FULL/01-001/W4/OD/"),
        ("trex-0201", "R", "V1", "OLIVES/TREX DME/GILA/0201GOD/V1/OD/"),
        ("trex-0201", "L", "V1", "OLIVES/TREX DME/TREX/0201TOS/V1/OS/"),
    ]
    assert "no splits are published: give prep shard --split hash" in result.output
    assert "others for another scan of one person, so empty here: bcva 1" in result.output
    by_scan = {row["source"]: row for row in rows_of(tmp_path / "labels.tsv")}
    first = by_scan["OLIVES/Prime_FULL/01-001/W0/OD/"]
    assert first == {
        "source": "OLIVES/Prime_FULL/01-001/W0/OD/",
        "drt/me": "1", "fluid (irf)": "0", "bcva": "70", "cst": "300",
    }  # fmt: skip
    assert by_scan["OLIVES/TREX DME/TREX/0201TOS/V1/OS/"]["bcva"] == ""
    person = rows_of(tmp_path / "participants.tsv")[0]
    assert (person["bcva"], person["cst"], person["recommended_split"]) == ("", "300", "")
    rows = shard(tmp_path, "--split", "hash")
    assert {(row.format, row.status, row.frames) for row in rows} == {("images", "ok", 6)}
    assert all("images_left_out" in row.flags for row in rows)
    assert {row.source for row in rows} == by_scan.keys()


def test_octdl_has_single_b_scans_whose_people_stand_in_its_table(tmp_path: Path) -> None:
    result = index("octdl", b_scan_sets.octdl(), tmp_path, "--device", "octdl")
    assert result.exit_code == 0, result.output
    assert (
        "not listed, 1: the pattern finds no person in the path: OCTDL/NO/unlisted_1_1.jpg" in result.output
    )
    assert [(e.participant, e.eye) for e in entries(tmp_path)] == [
        ("7", "R"),
        ("7", "R"),
        ("12", "R"),
        ("7", "R"),
        ("15", "R"),
    ]
    people = {row["person_id"]: row["disease"] for row in rows_of(tmp_path / "participants.tsv")}
    assert people == {"7": "", "12": "DME", "15": "NO"}
    assert [row["disease"] for row in rows_of(tmp_path / "labels.tsv")] == ["AMD", "AMD", "DME", "NO", "NO"]
    rows = shard(tmp_path, "--split", "hash", "--set", "include_geometry=[line]")
    assert {(row.format, row.status, row.geometry, row.frames) for row in rows} == {
        ("image", "ok", "line", 1)
    }


def test_the_same_again_writes_the_same_and_a_table_of_somebody_else_stays(tmp_path: Path) -> None:
    names = ("manifest.tsv", "participants.tsv", "labels.tsv")
    assert index("olives", b_scan_sets.olives(), tmp_path).exit_code == 0
    before = [(tmp_path / name).read_bytes() for name in names]
    assert index("olives", b_scan_sets.olives(), tmp_path).exit_code == 0
    assert [(tmp_path / name).read_bytes() for name in names] == before
    (tmp_path / "labels.tsv").write_text("mine")
    result = index("olives", b_scan_sets.olives(), tmp_path)
    assert "labels.tsv: it was changed since prep index wrote it" in str(result.exception)
    assert (tmp_path / "labels.tsv").read_text() == "mine"


def test_octdl_without_its_table_has_no_people(tmp_path: Path) -> None:
    files = {path: data for path, data in b_scan_sets.octdl().items() if not path.endswith(".csv")}
    result = index("octdl", files, tmp_path)
    assert "no octdl_labels.csv, which says whose image is whose" in str(result.exception)


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("duke-2013", {"AMD-1001": "amd", "AMD-1002": "amd", "Control-1001": "control"}),
        ("duke-2014", {"AMD1": "amd", "DME1": "dme", "NORMAL2": "normal"}),
    ],
)
def test_dukes_groups_stand_in_paths(tmp_path: Path, name: str, people: dict[str, str]) -> None:
    files = {"duke-2013": b_scan_sets.duke_2013, "duke-2014": b_scan_sets.duke_2014}[name]()
    result = index(name, files, tmp_path, "--device", "duke")
    assert result.exit_code == 0, result.output
    assert {row["person_id"]: row["group"] for row in rows_of(tmp_path / "participants.tsv")} == people
    assert not (tmp_path / "labels.tsv").exists()
    rows = shard(tmp_path, "--split", "hash")
    assert {(row.status, row.frames, row.rows, row.cols) for row in rows} == {("ok", 6, 20, 24)}
    assert len(rows) == 3


def test_pseudonyms_are_in_all_tables(tmp_path: Path) -> None:
    salt = tmp_path / "salt"
    salt.write_bytes(bytes(range(32)))
    result = index("olives", b_scan_sets.olives(), tmp_path, "--pseudonymise", str(salt))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "participants.tsv").read_text() + (tmp_path / "labels.tsv").read_text()
    assert "01-001" not in text
    assert "0201" not in text
    assert {e.source for e in entries(tmp_path)} == {
        row["source"] for row in rows_of(tmp_path / "labels.tsv")
    }


def test_the_command_knows_every_layout() -> None:
    assert tuple(b_scan_set.KINDS) == layout_names.OF_B_SCANS
    (option,) = [option for option in cli_index.index.params if option.name == "layout"]
    assert tuple(option.type.choices) == layout_names.ALL

"""Public data sets as they are delivered: people, splits and labels, from index to shards that verify."""

import shlex
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from octshard import tsv
from octshard.cli.main import cli
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.prep.readers import npz
from tests.support import fairvision_folder
from tests.support.scan_folder import write


def index(folder: Path, out: Path, *options: str) -> Result:
    args = ["prep", "index", str(folder), "--out", str(out), "--layout", "fairvision", *options]
    return CliRunner().invoke(cli, args)


def participants(out: Path) -> list[dict[str, str]]:
    table = tsv.parse((out.parent / "participants.tsv").read_text(), "")
    return [dict(zip(table.columns, cells, strict=True)) for _, cells in table.rows]


def problem(result: Result) -> str:
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


@pytest.mark.parametrize("place", ["Glaucoma/ReadMe", "Glaucoma", "."])
def test_labels_and_splits_of_a_table(place: str, tmp_path: Path) -> None:
    root = write(
        tmp_path / "FairVision",
        {f"Glaucoma/{path}": data for path, data in fairvision_folder.people().items()}
        | {f"{place}/data_summary_glaucoma.csv": fairvision_folder.table().encode()},
    )
    result = index(root, tmp_path / "out" / "manifest.tsv")
    assert result.exit_code == 0, result.output
    assert "10 people; split: test 2, train 6, val 2" in result.output
    assert "glaucoma: 0 5, 1 5" in result.output
    rows = participants(tmp_path / "out" / "manifest.tsv")
    assert [row["recommended_split"] for row in rows] == ["test"] * 2 + ["train"] * 6 + ["val"] * 2
    assert rows[0] == {
        "person_id": "glaucoma-00009",
        "recommended_split": "test",
        "age": "50.5",
        "gender": "male",
        "race": "asian",
        "ethnicity": "non-hispanic",
        "language": "english",
        "maritalstatus": "single",
        "md": "-1",
        "glaucoma": "1",
    }


def test_files_tell_what_no_table_tells(tmp_path: Path) -> None:
    root = write(tmp_path / "Glaucoma", fairvision_folder.people())
    assert index(root, tmp_path / "out" / "manifest.tsv").exit_code == 0
    rows = {row["person_id"]: row for row in participants(tmp_path / "out" / "manifest.tsv")}
    assert rows["glaucoma-00003"] == {
        "person_id": "glaucoma-00003",
        "recommended_split": "train",
        "glaucoma": "1",
        "race": "asian",
        "gender": "male",
        "age": "50.5",
    }


def test_files_in_zips_tell_as_much(tmp_path: Path) -> None:
    """By the names of their ZIPs, too."""
    write(tmp_path / "in", {})
    bare = write(tmp_path / "bare/Glaucoma", fairvision_folder.people())
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "Glaucoma.zip", "w") as archive:
        for path, data in fairvision_folder.people().items():
            archive.writestr(path, data)
    tables = []
    for folder in (tmp_path / "in", tmp_path / "in" / "Glaucoma.zip", bare.parent):
        out = tmp_path / f"out {len(tables)}" / "manifest.tsv"
        result = index(folder, out)
        assert result.exit_code == 0, result.output
        tables.append((out.parent / "participants.tsv").read_bytes())
    assert tables[0] == tables[1] == tables[2]
    assert b"glaucoma-00003\ttrain\t" in tables[0]


def test_people_of_two_diseases_are_not_one(tmp_path: Path) -> None:
    """All three parts number their people from 1; older files of AMD call the condition dr_subtype."""
    scan = fairvision_folder.scan
    files = {
        "AMD/train/data_00001.npz": scan(1, dr_subtype="wet.amd.inactive.scar", race=-1),
        "DR/test/data_00001.npz": scan(2, dr_subtype="moderate.npdr"),
        "Glaucoma/val/data_00001.npz": scan(3, glaucoma=1),
        "AMD/val/data_00002.npz": scan(4, amd_condition="early.dry"),
    }
    assert index(write(tmp_path / "all", files), tmp_path / "out" / "manifest.tsv").exit_code == 0
    rows = {row["person_id"]: row for row in participants(tmp_path / "out" / "manifest.tsv")}
    assert {who: (row["recommended_split"], row["amd"], row["dr"]) for who, row in rows.items()} == {
        "amd-00001": ("train", "3", ""),
        "amd-00002": ("val", "1", ""),
        "dr-00001": ("test", "", "0"),
        "glaucoma-00001": ("val", "", ""),
    }
    assert rows["amd-00001"]["race"] == ""


def test_harvard_dr_names_its_splits_in_front_of_the_numbers(tmp_path: Path) -> None:
    """Each split may number its people anew; groups come out in words, grades as they are."""
    scan, out = fairvision_folder.scan, tmp_path / "out" / "manifest.tsv"
    files = {
        "train_0001.npz": scan(1, dr_class=2, age=61.5, race=1, male=0, hispanic=0),
        "Val/val_0001.npz": scan(2, dr_class=1, age=50, race=0, male=1, ethnicity=1),
        "test_0001.npz": scan(3, dr_class=0, age=70, race=2, male=1, hispanic=-1),
        "dr/test/data_0002.npz": scan(4, dr_class=0),
        "train_list.npz": scan(5),
    }
    result = index(write(tmp_path / "HarvardDR", files), out, "--layout", "harvard-dr")
    assert "dr_class: 0 2, 1 1, 2 1" in result.output
    assert "not listed, 1: its path is not of the form" in result.output
    columns = ("recommended_split", "dr_class", "age", "race", "gender", "ethnicity")
    assert {row["person_id"]: tuple(row[name] for name in columns) for row in participants(out)} == {
        "val-0001": ("val", "1", "50", "asian", "male", "hispanic"),
        "dr-0002": ("test", "0", "", "", "", ""),
        "test-0001": ("test", "0", "70", "white", "male", ""),
        "train-0001": ("train", "2", "61.5", "black", "female", "non-hispanic"),
    }


def test_errors_and_counts(tmp_path: Path) -> None:
    scan, out = fairvision_folder.scan, tmp_path / "out" / "manifest.tsv"
    torn = scan(2, glaucoma=1)[:-40]
    pickled = scan(3, glaucoma=None, age=61)  # an array of an object is not read
    files = {"train/data_1.npz": scan(1, glaucoma=0), "test/data_2.npz": torn, "test/data_3.npz": pickled}
    root = write(tmp_path / "gf", files)
    assert "without any label: 1" in index(root, out).output
    assert {row["person_id"]: row["glaucoma"] for row in participants(out)} == {"1": "0", "2": "", "3": ""}
    again = index(root, out)
    assert again.exit_code == 0, again.output
    (root / "data_summary.csv").write_text(",filename,use,glaucoma\n0,train/data_1.npz,test,yes\n")
    result = index(root, out)
    assert "in another split by the table than by their folder, which is believed: 1" in result.output
    assert participants(out)[-1]["recommended_split"] == "train"
    write(root, {"test/data_1.npz": scan(1, glaucoma=0)})
    assert "1 is in test by test/data_1.npz and in train" in problem(index(root, out))
    (root / "test/data_1.npz").unlink()
    (root / "data_summary.csv").write_text("file,use\ndata_1.npz,test\n")
    assert "no column filename" in problem(index(root, out))
    (root / "data_summary.csv").unlink()
    (out.parent / "participants.tsv").write_text("person_id\tage\n1\t40\n")
    assert "participants.tsv: it was changed since" in problem(index(root, out))
    assert "leave out --pattern" in problem(index(root, out, "--pattern", "{person}/x.npz"))


def test_pseudonyms_and_folders_above(tmp_path: Path) -> None:
    """A disease or a split that is a folder above the data set says nothing."""
    root = write(tmp_path / "dr/test/gf", {"val/data_0007.npz": fairvision_folder.scan(7, glaucoma=1)})
    (tmp_path / "salt").write_bytes(bytes(range(32)))
    out = tmp_path / "out/manifest.tsv"
    assert index(root, out).exit_code == 0
    assert [(row["person_id"], row["recommended_split"]) for row in participants(out)] == [("0007", "val")]
    assert index(root, out, "--pseudonymise", str(tmp_path / "salt")).exit_code == 0
    (row,) = participants(out)
    assert row["person_id"].startswith("p")
    assert row["glaucoma"] == "1"


@pytest.mark.slow
def test_from_a_folder_to_verified_shards(tmp_path: Path) -> None:
    """docs/fairvision.md, the part without training."""
    root = write(
        tmp_path / "FairVision/Glaucoma",
        fairvision_folder.people() | {"ReadMe/data_summary_glaucoma.csv": fairvision_folder.table().encode()},
    )
    out, shards = tmp_path / "manifest.tsv", tmp_path / "shards"
    assert index(root, out, "--device", "fairvision_glaucoma").exit_code == 0
    lines = [
        f"prep shard {root} {shards} --manifest {out} --workers 1 "
        "--config fairvision --set image_size=[20,40,40]",
        f"prep verify {shards}/fairvision_glaucoma --deep",
    ]
    for line in lines:
        result = CliRunner().invoke(cli, shlex.split(line))
        assert result.exit_code == 0, result.output
    table = tables.read_table(str(shards / "fairvision_glaucoma/samples.parquet"))
    assert table["status"] == ["ok"] * 10
    assert table["assumed_spacing"] == [1] * 10
    assert table["shape_out"] == [[20, 40, 40]] * 10
    assert sorted(table["split"]) == ["test"] * 2 + ["train"] * 6 + ["val"] * 2
    assert set(table["split_source"]) == {"recommended"}


def test_the_same_again_reads_no_file_and_one_changed_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = write(tmp_path / "Glaucoma", fairvision_folder.people()), tmp_path / "out" / "manifest.tsv"
    opened: list[str] = []
    whole = npz.single_values
    monkeypatch.setattr(npz, "single_values", lambda file: opened.append("") or whole(file))
    first = index(root, out)
    before = participants(out)
    assert len(opened) == len(before) == 10
    again = index(root, out)
    assert (participants(out), len(opened)) == (before, 10)
    assert first.output.splitlines()[-4:] == again.output.splitlines()[-4:]
    write(root, {"Training/data_00001.npz": fairvision_folder.scan(1, glaucoma=0, race=2, male=0, age=33)})
    index(root, out)
    changed = [row for row in participants(out) if row not in before]
    assert [(row["person_id"], row["glaucoma"], row["age"]) for row in changed] == [
        ("glaucoma-00001", "0", "33")
    ]
    assert len(opened) == 11
    (root / "data_summary_glaucoma.csv").write_text(fairvision_folder.table())
    index(root, out)
    assert participants(out)[0]["language"] == "english"
    (root / "data_summary_glaucoma.csv").unlink()
    index(root, out)
    assert "language" not in participants(out)[0]
    (out.parent / "participants.tsv").unlink()
    index(root, out)
    assert len(participants(out)) == 10
    assert len(opened) == 11 + 10  # what a table told meanwhile was no longer kept

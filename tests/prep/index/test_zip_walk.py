"""ZIPs in an indexed folder: their members are rows, by one look at the first bytes of each."""

import dataclasses
import io
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.prep.build import inputs
from octshard.prep.build import run as build
from octshard.prep.index import companions, look, run
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import PersonRule
from octshard.prep.release import aireadi, zip_directory, zip_source
from octshard.prep.release.entry import Entry
from octshard.storage import store
from tests.support.array_files import npz, simple_itk
from tests.support.device_files import heidelberg_e2e, optovue_oct
from tests.support.made_release import Part, scan, zip_bytes
from tests.support.scan_folder import dicom, write
from tests.support.scan_parts import concatenation

FOLDERS = IndexOptions(PersonRule("", None, b""), workers=1)
SPACING = 0.04, 0.01, 0.02


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def files() -> dict[str, bytes]:
    """Of five people, in four formats, with companions, and a scan in two files."""
    parts = concatenation(scan(11), 2, 4)
    values = simple_itk("a.mhd", packed=False)(scan(3).voxels_DHW, SPACING)
    made = optovue_oct.text((6, 20, 24), SPACING)
    return {
        "P1/OD.dcm": dicom(number=1),
        "P1/deep/P4/x.dcm": dicom("4", number=5),
        **{f"P2/{name}": data for name, data in values.items()},
        "P3/a.OCT": optovue_oct.numbers(scan(4).voxels_DHW),
        "P3/a.txt": made,
        "P6/1.dcm": parts[0],
        "P6/2.dcm": parts[1],
        "P3/a.npz": next(iter(npz(scan(6).voxels_DHW, SPACING).values())),
    }


def entries(out: Path) -> list[Entry]:
    return aireadi.parse_manifest(out.read_text(), str(out))


def rows_of(src: Path, dst: Path, **values: object) -> dict[str, SampleRow]:
    cfg = PrepConfig(src=str(src), dst=str(dst), target_spacing=[0.08, 0.04, 0.04], workers=1, **values)  # type: ignore[arg-type]
    devices = [summary.device for summary in build.shard(cfg, ["all"])]
    rows = [row for device in devices for row in tables.open_dataset(str(dst / device)).rows]
    return {row.source: row for row in rows}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("remote", [False, True])
def test_members_are_rows_as_files_are(method: int, remote: bool, tmp_path: Path) -> None:
    data, out = zipped(files(), method), tmp_path / "m.tsv"
    bare = write(tmp_path / "bare", files())
    run.index(str(bare), str(tmp_path / "bare.tsv"), FOLDERS)
    root = "memory://zipped" if remote else str(tmp_path / "zipped")
    store.write(f"{root}/deep/visits.ZIP", data)
    store.write(f"{root}/P9/loose.dcm", dicom("9", number=9))
    found = run.index(root, str(out), FOLDERS)
    assert (found.scans, found.problems, found.others) == (7, {}, {companions.USED: 2})
    rows = {entry.path: entry for entry in entries(out)}
    loose = rows.pop("P9/loose.dcm")
    assert loose.participant == "P9"
    expected = {f"deep/visits.ZIP/{entry.path}": entry for entry in entries(tmp_path / "bare.tsv")}
    assert {path: dataclasses.replace(entry, device="") for path, entry in rows.items()} == {
        path: dataclasses.replace(entry, path=path, device="") for path, entry in expected.items()
    }
    assert {entry.device for entry in rows.values()} == {"topcon_triton", "optovue", "unknown"}


def content_of(src: Path, manifest: Path, **values: object) -> dict[str, bytes]:
    """What prep shard reads at each path of the manifest, the files of a scan and a text beside it."""
    release = aireadi.read_release(str(src), str(manifest))
    source = inputs.open_source(PrepConfig(src=str(src), **values), release)  # type: ignore[arg-type]
    source = pickle.loads(pickle.dumps(source))
    entries = [dataclasses.replace(entry, path=path) for entry in release.entries for path in entry.files]
    return {entry.path: bytes(source.read(entry)) for entry in entries if source.has(entry.path)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_scan_of_an_e2e_in_a_local_zip_is_a_row(
    method: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, lines = np.full((1, 8, 16), 0.5, np.float32), [(-1.0, 0.0, 1.0, 0.0)]
    scans = [heidelberg_e2e.Series(number, values, lines, eye) for number, eye in ((3, "L"), (9, "R"))]
    data = heidelberg_e2e.write(scans)
    root, out = write(tmp_path / "in", {"a.zip": zipped({"P1/exam.e2e": data}, method)}), tmp_path / "m.tsv"
    run.index(str(root), str(out), FOLDERS)
    listed = [(entry.path, entry.eye) for entry in entries(out)]
    assert listed == [("a.zip/P1/exam.e2e#3", "L"), ("a.zip/P1/exam.e2e#9", "R")]
    rows = rows_of(root, tmp_path / "dst", manifest=str(out))
    assert [(path, row.reason) for path, row in rows.items()] == [
        (path, "geometry_line") for path, _ in listed
    ]
    monkeypatch.setattr("octshard.prep.index.content.MOST_UNPACKED", len(data) - 1)
    run.index(str(root), str(tmp_path / "large.tsv"), FOLDERS)
    assert [e.path for e in entries(tmp_path / "large.tsv")] == ["a.zip/P1/exam.e2e"]


@pytest.mark.parametrize("from_zip", [False, True])
def test_members_and_files_beside_the_zips_are_read(from_zip: bool, tmp_path: Path) -> None:
    content = files()
    loose = {} if from_zip else {name: data for name, data in content.items() if name[:2] == "P3"}
    inside = {name: data for name, data in content.items() if name not in loose}
    root = write(tmp_path / "in", {"a.zip": zipped(inside), **loose})
    run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    read = content_of(root, tmp_path / "m.tsv", from_zip=from_zip)
    listed = {path.removeprefix("a.zip/"): data for path, data in read.items()}
    assert listed == {name: data for name, data in content.items() if not name.endswith((".txt", ".raw"))}


@pytest.mark.slow
def test_prep_shard_makes_the_shards_of_the_unpacked_folder(tmp_path: Path) -> None:
    """By its own index; the shards are those of the folder that the ZIPs hold."""
    content = files()
    root = write(
        tmp_path / "zipped",
        {
            "a.zip": zipped({name: data for name, data in content.items() if name[:2] == "P1"}),
            "more/b.zip": zipped(
                {f"x/{name}": data for name, data in content.items() if name[:2] in ("P2", "P6")}
            ),
            **{name: data for name, data in content.items() if name[:2] == "P3"},
        },
    )
    bare = write(tmp_path / "bare", content)
    for folder in (root, bare):
        run.index(str(folder), str(folder.with_suffix(".tsv")), FOLDERS)
    rows = rows_of(root, tmp_path / "a", manifest=str(root.with_suffix(".tsv")))
    expected = rows_of(bare, tmp_path / "b", manifest=str(bare.with_suffix(".tsv")))
    assert {row.status for row in rows.values()} == {"ok"}
    plain = {path.removeprefix("a.zip/").removeprefix("more/b.zip/x/"): row for path, row in rows.items()}
    assert {path: row.sha256 for path, row in plain.items()} == {
        path: row.sha256 for path, row in expected.items()
    }
    assert rows == rows_of(root, tmp_path / "a", manifest=str(root.with_suffix(".tsv")))


def test_a_zip_itself_is_a_folder(tmp_path: Path) -> None:
    path = write(
        tmp_path / "in", {"P7.zip": zipped({"scan.dcm": dicom("7"), "note.md": b"x"}), "other.dcm": dicom()}
    )
    out = tmp_path / "m.tsv"
    found = run.index(str(path / "P7.zip"), str(out), FOLDERS)
    (entry,) = entries(out)
    assert (found.scans, entry.participant, entry.path) == (1, "P7", "P7.zip/scan.dcm")
    assert content_of(path / "P7.zip", out) == {"P7.zip/scan.dcm": dicom("7")}
    with pytest.raises(UsageError, match=r"other\.dcm: a file, want a folder of scans, or a \.zip"):
        run.index(str(path / "other.dcm"), str(out), FOLDERS)


def test_only_the_first_bytes_of_a_member_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 10**6, dtype=np.uint8).tobytes()
    big = dicom() + noise
    root = write(
        tmp_path / "in",
        {"a.zip": zipped({"P1/a.dcm": big}, zipfile.ZIP_STORED), "b.zip": zipped({"P2/a.dcm": big})},
    )
    asked: list[tuple[int, int]] = []
    read_range = store.read_range

    def counted(url: str, start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return read_range(url, start, stop)

    monkeypatch.setattr(store, "read_range", counted)
    assert run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS).scans == 2
    sizes = [stop - start for start, stop in asked if stop - start > 1]
    assert sizes[:2] == [zip_directory.TAIL] * 2  # their directories
    assert len(sizes) == 4
    assert max(sizes[2:]) < look.HEAD + 1000


def test_an_unchanged_zip_is_not_looked_into_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "in", {"a.zip": zipped(files())})
    out = tmp_path / "m.tsv"
    first = run.index(str(root), str(out), FOLDERS)
    before = out.read_bytes()
    monkeypatch.setattr(zip_source, "chunks", None)  # no member is read
    again = run.index(str(root), str(out), FOLDERS)
    assert (again.reused, out.read_bytes()) == (first.files, before)
    (root / "a.zip").write_bytes(zipped(files(), zipfile.ZIP_STORED))  # the same files, packed anew
    assert run.index(str(root), str(out), FOLDERS).reused == first.files
    monkeypatch.undo()
    (root / "a.zip").write_bytes(zipped({**files(), "P1/OD.dcm": dicom(number=8)}))
    assert run.index(str(root), str(out), FOLDERS).reused == first.files - 1


def test_zips_in_zips_and_what_cannot_be_read_are_named(tmp_path: Path) -> None:
    parts = [
        Part("P1/a.dcm", dicom()),
        Part("P1/../../b.dcm", dicom(number=2)),
        Part("/c.dcm", dicom(number=2)),
        Part("P1/locked.dcm", dicom(number=2), central={"flags": 1}),
        Part("P1/link.dcm", b"../x", central={"attributes": 0o120777 << 16}),
        Part("P1/torn.dcm", dicom(number=2), packed=b"\xff" * 90),
        Part("P1/a.dcm", dicom(number=3)),
        Part(".git/d.dcm", dicom(number=2)),
        Part("./P1/e.dcm", dicom(number=2)),
        Part("P1/inner.zip", zipped({"P5/f.dcm": dicom(number=2)})),
        Part("P1/manifest.tsv", b"person_id\tfilepath\n"),
        Part("P1\\back.dcm", dicom(number=4)),
    ]
    files = {
        "a.zip": zip_bytes(parts),
        "b.zip": b"PK\3\4 torn",
        "c.zip": zip_bytes([]),
        "d.zip": b"",
        "e.bin": zipped({"x": b""}),
    }
    found = run.index(str(write(tmp_path / "in", files)), str(tmp_path / "m.tsv"), FOLDERS)
    assert [entry.path for entry in entries(tmp_path / "m.tsv")] == ["a.zip/P1/a.dcm", "a.zip/P1/back.dcm"]
    assert found.others == {"a ZIP archive inside a ZIP": 1, "an empty ZIP archive": 1, "a ZIP archive": 1}
    names = {problem: list(files.first) for problem, files in found.problems.items()}
    assert [path for problem, paths in names.items() for path in paths if "not a whole ZIP" in problem] == [
        "b.zip"
    ]
    assert names["climbing name"] == ["a.zip/P1/../../b.dcm"]
    assert names["absolute name"] == ["a.zip//c.dcm"]
    assert names["encrypted"] == ["a.zip/P1/locked.dcm"]
    assert names["symbolic link"] == ["a.zip/P1/link.dcm"]
    assert names["another member of its ZIP has the same name"] == ["a.zip/P1/a.dcm"]
    assert names["a hidden folder, which is not entered"] == ["a.zip/.git/d.dcm"]
    assert names["its name cannot stand in a table; rename the file"] == ["a.zip/./P1/e.dcm"]
    assert names["it has 0 bytes"] == ["d.zip"]
    assert any(problem.startswith("it cannot be read out of its ZIP: not deflated data") for problem in names)


def test_a_zip_that_is_damaged_or_gone_later_is_a_reason_of_its_rows(tmp_path: Path) -> None:
    root = write(
        tmp_path / "in",
        {
            name: zipped({f"P{name[0]}/a.dcm": dicom(name[0], number=ord(name[0]))})
            for name in ("1.zip", "2.zip", "3.zip")
        },
    )
    out = tmp_path / "m.tsv"
    run.index(str(root), str(out), FOLDERS)
    (root / "1.zip").write_bytes((root / "1.zip").read_bytes()[:-30])
    (root / "2.zip").unlink()
    rows = rows_of(root, tmp_path / "dst", manifest=str(out))
    assert {path: row.reason for path, row in rows.items()} == {
        "1.zip/P1/a.dcm": "unreadable_member",
        "2.zip/P2/a.dcm": "missing_file",
        "3.zip/P3/a.dcm": "",
    }
    assert "1.zip: not a whole ZIP" in rows["1.zip/P1/a.dcm"].detail


@pytest.mark.parametrize("remote", [False, True])
def test_a_zip_is_read_in_a_folder_that_is_called_like_one(remote: bool, tmp_path: Path) -> None:
    root, out = "memory://called" if remote else str(tmp_path / "in"), tmp_path / "m.tsv"
    files = {
        "old.zip/new.zip": zipped({"P1/a.dcm": dicom(number=1)}),
        "old.zip/P2/a.dcm": dicom(number=2),
        "a.zip/b.zip/c.ZIP": zipped({"d.zip/P3/a.dcm": dicom(number=3)}),
    }
    for name, data in files.items():
        store.write(f"{root}/{name}", data)
    assert run.index(root, str(out), FOLDERS).scans == 3
    release = aireadi.read_release(root, str(out))
    paths = ["a.zip/b.zip/c.ZIP/d.zip/P3/a.dcm", "old.zip/P2/a.dcm", "old.zip/new.zip/P1/a.dcm"]
    assert [entry.path for entry in release.entries] == paths
    source = inputs.open_source(PrepConfig(src=root, dst=str(tmp_path)), release)
    assert [bytes(source.read(entry)) for entry in release.entries] == [dicom(number=n) for n in (3, 2, 1)]
    assert source.fingerprint(paths[2]).crc32 is not None


def test_a_folder_that_is_called_like_a_zip_stays_a_folder(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"P1.zip/a.dcm": dicom(), ".zip": b"x"})
    out = tmp_path / "m.tsv"
    assert run.index(str(root), str(out), FOLDERS).scans == 1
    assert entries(out)[0].participant == "P1"
    assert content_of(root, out) == {"P1.zip/a.dcm": dicom()}
    shutil.move(root / "P1.zip", root / "P1")
    assert zip_directory.read(str(root / ".zip"))[1]

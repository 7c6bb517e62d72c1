"""An index as a whole: every file counted, the same bytes whatever happens, and hostile folders."""

import dataclasses
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from octshard.errors import OctshardError, UsageError
from octshard.prep.index import companions, journal, look, path_pattern, run
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import PersonRule
from octshard.prep.index.summary import Summary, text
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from octshard.storage import lock, remote, store
from tests.support.changed_dicom import changed, label
from tests.support.device_files import heidelberg_e2e, optovue_oct
from tests.support.made_release import scan
from tests.support.scan_folder import dicom, write

FOLDERS = IndexOptions(PersonRule("", None, b""), workers=1)
SPECTRALIS = "heidelberg_spectralis"
SALT = bytes(range(32))


def pattern(text: str, salt: bytes = b"") -> IndexOptions:
    return IndexOptions(PersonRule("pattern", path_pattern.parse(text), salt), workers=1)


def entries(out: Path) -> list[Entry]:
    return aireadi.parse_manifest(out.read_text(), str(out))


WORDS = (b"MRN", b"2023")  # of PatientID and of the dates


def all_text(out: Path) -> bytes:
    """What an index wrote: the manifest, and the journal beside it."""
    parts = out.with_name(f".{out.name}.index").iterdir()
    return out.read_bytes() + b"".join(part.read_bytes() for part in parts)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two people, two visits, and what is no scan."""
    return write(
        tmp_path / "scans",
        {
            "P1/2020-01-02/OD_cube.dcm": dicom(),
            "P1/2021-03-04/OD_cube.dcm": dicom(),
            "P2/2020-05-06/left_cube.dcm": dicom("7", "Spectralis OCT"),
            "P2/2020-05-06/notes.txt": b"seen twice",
            "P2/2020-05-06/empty.dcm": b"",
            "manifest.tsv": b"person_id\tfilepath\n",
            "P2/.git/x": dicom(),
        },
    )


def test_every_file_is_a_row_or_is_counted(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "manifest.tsv"
    result = run.index(str(scans), str(out), pattern("{person}/{date}/{eye}_{protocol}.dcm"))
    found = [(e.participant, e.device, e.eye, e.protocol, e.acquired, e.region, e.path) for e in entries(out)]
    assert found == [
        ("P1", "topcon_triton", "R", "cube", "2020-01-02", "Retina", "P1/2020-01-02/OD_cube.dcm"),
        ("P1", "topcon_triton", "R", "cube", "2021-03-04", "Retina", "P1/2021-03-04/OD_cube.dcm"),
        ("P2", SPECTRALIS, "L", "cube", "2020-05-06", "Retina", "P2/2020-05-06/left_cube.dcm"),
    ]  # fmt: skip
    assert (result.files, result.scans, result.others) == (6, 3, {"text": 1})
    assert {name: problem.first for name, problem in result.problems.items()} == {
        "it has 0 bytes": ["P2/2020-05-06/empty.dcm"],
        "a hidden folder, which is not entered": ["P2/.git/"],
    }
    assert "3 scans of 2 people" in text(result)
    assert "is that a person?" not in text(result)  # the folders are dates, and the pattern says so


def test_dates_as_folders_above_scans_are_not_taken_for_people(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"looks like a date, not like a person; give --pattern"):
        run.index(str(scans), str(tmp_path / "m.tsv"), FOLDERS)
    assert not (tmp_path / "m.tsv").exists()
    by_word = dataclasses.replace(FOLDERS, people=PersonRule("folder", None, b""))
    people = run.index(str(scans), str(tmp_path / "m.tsv"), by_word).people
    assert list(people) == ["2020-01-02", "2021-03-04", "2020-05-06"]


def test_a_patient_id_and_dates_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"a.dcm": dicom("MRN 7"), "b.dcm": dicom("MRN 8"), "c.npy": b"\x93NUMPY"})
    asked = IndexOptions(PersonRule("dicom", None, b""), dates=True)
    run.index(str(root), str(tmp_path / "m.tsv"), asked)
    told = [(e.participant, e.acquired) for e in entries(tmp_path / "m.tsv")]
    assert told == [("MRN 7", "2023-07-18"), ("MRN 8", "2023-07-18")]
    root = write(tmp_path / "other", {"P1/a.dcm": dicom("MRN 7")})
    run.index(str(root), str(tmp_path / "n.tsv"), FOLDERS)
    assert not [word for word in WORDS if word in all_text(tmp_path / "n.tsv")]


def test_pseudonyms_leave_neither_ids_nor_dates_in_the_manifest_or_beside_it(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"x/1.dcm": dicom("MRN 7"), "x/2.dcm": dicom("MRN 8")})
    out = tmp_path / "m.tsv"
    asked = IndexOptions(PersonRule("dicom", None, SALT), dates=True)
    run.index(str(root), str(out), asked)
    first, second = entries(out)
    assert first.participant != second.participant
    assert (first.acquired, second.acquired, first.protocol) == ("0", "0", "scan")
    assert not [word for word in WORDS if word in all_text(out)]
    other = dataclasses.replace(asked, people=PersonRule("dicom", None, SALT[::-1]))
    run.index(str(root), str(tmp_path / "o.tsv"), other)
    assert {e.participant for e in entries(tmp_path / "o.tsv")}.isdisjoint(
        {first.participant, second.participant}
    )


def test_days_count_from_the_first_visit_of_each_person(scans: Path, tmp_path: Path) -> None:
    run.index(str(scans), str(tmp_path / "m.tsv"), pattern("{person}/{date}/{eye}_{protocol}.dcm", SALT))
    assert [e.acquired for e in entries(tmp_path / "m.tsv")] == ["0", "427", "0"]  # 2020 was a leap year


def test_the_same_again_reads_nothing_and_a_changed_file_alone_is_read(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, by_path = tmp_path / "m.tsv", pattern("{person}/{date}/{eye}_{protocol}.dcm")
    run.index(str(scans), str(out), by_path)
    before = out.read_bytes()
    looked: list[str] = []
    monkeypatch.setattr(
        run, "look", lambda place, *rest: looked.append(Path(place.path).name) or look.look(place, *rest)
    )
    run.index(str(scans), str(out), by_path)
    assert (looked, out.read_bytes()) == ([], before)
    looked.clear()
    write(scans, {"P2/2020-05-06/left_cube.dcm": dicom("7", "Maestro2")})
    os.utime(scans / "P1/2020-01-02/OD_cube.dcm", ns=(1, 1))
    (scans / "P1/2021-03-04/OD_cube.dcm").unlink()
    assert run.index(str(scans), str(out), by_path).devices == {"topcon_triton": 1, "topcon_maestro2": 1}
    assert sorted(looked) == ["OD_cube.dcm", "left_cube.dcm"]


def test_one_thread_and_many_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "GROUP", 2)
    monkeypatch.setattr(journal, "PART_LINES", 3)
    root = write(tmp_path / "in", {f"P{i % 7}/{i}.dcm": dicom(model=f"M{i % 3}") for i in range(40)})
    for workers in (1, 4):
        run.index(str(root), str(tmp_path / f"{workers}.tsv"), dataclasses.replace(FOLDERS, workers=workers))
    assert (tmp_path / "1.tsv").read_bytes() == (tmp_path / "4.tsv").read_bytes()
    assert len(entries(tmp_path / "1.tsv")) == 40


KILLED = """
import os, signal, sys
from octshard.prep.index import journal, look, run
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import PersonRule
run.GROUP, run.AHEAD, journal.PART_LINES = 2, 1, 4
whole, looks = look.look, iter(range(30))
def killed(*rest):
    return whole(*rest) if next(looks, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
run.look = killed
run.index(sys.argv[1], sys.argv[2], IndexOptions(PersonRule("", None, b""), workers=1))
"""


def test_killed_in_the_middle_and_given_again_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {f"P{i % 7}/{i}.dcm": dicom() for i in range(60)})
    run.index(str(root), str(tmp_path / "whole.tsv"), FOLDERS)
    out, parts = tmp_path / "m.tsv", tmp_path / ".m.tsv.index"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    result = run.index(str(root), str(out), FOLDERS)
    assert 4 <= result.reused < 60
    assert out.read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert len(store.list_names(str(parts))) == 2  # one part of the last run, and what was written


def test_odd_names_links_and_pipes(tmp_path: Path) -> None:
    names = [
        'a"b.dcm', "tab\there.dcm", " blank.dcm", "new\nline.dcm", "back\\slash.dcm", "na", "é ü.dcm",
        "=1+1.dcm", "'quoted'.dcm", "100%.dcm", "dataset/x.dcm", "C:/x.dcm", "trailing .dcm",
    ]  # fmt: skip
    root = write(tmp_path / "in", {f"P1/{name}" if "/" not in name else name: dicom() for name in names})
    with open(os.fsencode(root / "P1") + b"/\xff.dcm", "wb") as file:
        file.write(dicom())
    os.mkfifo(root / "P1" / "pipe.dcm")
    (root / "P1" / "dangling.dcm").symlink_to("nothing")
    (root / "P1" / "linked.dcm").symlink_to("na")
    (root / "P1" / "round").symlink_to(root)
    (root / "P1" / "self").symlink_to("self")
    out = tmp_path / "m.tsv"
    result = run.index(
        str(root), str(out), dataclasses.replace(FOLDERS, people=PersonRule("folder", None, b""))
    )
    paths = {entry.path for entry in entries(out)}
    assert all((root / path).is_file() for path in paths)
    unnamed = {"P1/new\nline.dcm", "P1/back\\slash.dcm", "P1/\udcff.dcm"}
    assert paths == {f"P1/{n}" if "/" not in n else n for n in names} - unnamed | {"P1/linked.dcm"}
    problems = {name: set(problem.first) for name, problem in result.problems.items()}
    assert problems.pop("its name cannot stand in a table; rename the file") == unnamed
    assert r"P1/new\nline.dcm" in text(result)
    assert problems.pop("a pipe, a socket or a device") == {"P1/pipe.dcm"}
    assert problems.pop("a link that leads nowhere") == {"P1/dangling.dcm"}
    assert problems.pop("a link to a folder, which is not followed") == {"P1/round"}
    assert set().union(*problems.values()) == {"P1/self"}


def test_a_summary_stays_short_however_many_devices_and_problems_there_are() -> None:
    result = Summary("in", "m.tsv")
    for number in range(500):
        result.devices[f"d{number:03d}"] += 1 + (number == 400)
        for _ in range(1 + (number == 300)):
            result.add_problem(f"reason {number:03d}", f"{number}.dcm")
    lines = text(result).split("\n")
    devices = next(line for line in lines if line.startswith("  devices: "))
    assert (devices.count(","), devices[-24:]) == (29, "8 1, d400 2 and 470 more")
    problems = [line for line in lines if line.startswith("  not listed")]
    assert (len(problems), problems[-2:]) == (
        31,
        ["  not listed, 2: reason 300: 300.dcm, 300.dcm", "  not listed, 470: for 470 other reasons"],
    )


def test_a_folder_and_a_file_that_may_not_be_read_are_counted_and_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "in", {"P1/a.dcm": dicom(), "P2/b.dcm": dicom(), "P3/c.dcm": dicom()})
    scandir, read_range = os.scandir, store.read_range

    def shut_folder(path: Path) -> object:
        if Path(path).name == "P2":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def shut_file(url: str, start: int, stop: int) -> bytes:
        if url.endswith("c.dcm"):
            raise store.StoreError(f"{url}: Permission denied")
        return read_range(url, start, stop)

    monkeypatch.setattr(os, "scandir", shut_folder)
    monkeypatch.setattr(store, "read_range", shut_file)
    result = run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    reasons = {path: name for name, problem in result.problems.items() for path in problem.first}
    assert reasons == {
        "P2/": "the folder cannot be read: Permission denied",
        "P3/c.dcm": "it cannot be read: Permission denied",
    }
    monkeypatch.undo()
    assert run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS).scans == 3


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no file at all"),
        ({"P1/x.txt": b"x"}, "1 files of other kinds"),
        ({"a.dcm": dicom()}, "1: no folder above"),
    ],
)
def test_a_folder_without_a_scan_is_an_error_that_says_what_is_there(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    (tmp_path / "in").mkdir()
    root = write(tmp_path / "in", files)
    with pytest.raises(UsageError, match=f"no scan that could be listed; .*{words}"):
        run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    assert not (tmp_path / "m.tsv").exists()


def test_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, found in (("none", "nothing"), ("file", "a file")):
        with pytest.raises(UsageError, match=f"{name}: {found}, want a folder of scans"):
            run.index(str(tmp_path / name), str(tmp_path / "m.tsv"), FOLDERS)


@pytest.mark.parametrize("remains", [True, False])
def test_a_folder_that_goes_while_it_is_read_leaves_the_manifest_as_it_was(
    remains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a share is unmounted: then its place is empty."""
    root = write(tmp_path / "in", {f"P{i}/a.dcm": dicom() for i in range(5)})
    run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    before = (tmp_path / "m.tsv").read_bytes()
    write(root, {"P2/b.dcm": dicom()})

    def unmount(*rest: object) -> look.Finding:
        shutil.rmtree(root)
        if remains:
            root.mkdir()
        return look.look(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "look", unmount)
    with pytest.raises(store.StoreError, match=r"in: it went while it was read; no manifest was written"):
        run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    assert (tmp_path / "m.tsv").read_bytes() == before


@pytest.mark.parametrize("most_bytes", [100, 300, 1500])
def test_a_disk_that_takes_no_more_is_one_line_and_loses_nothing(
    most_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As full to the lock, to the journal, and to the manifest."""
    monkeypatch.setattr(journal, "PART_LINES", 4)
    root = write(tmp_path / "in", {f"P{i:02d}/a.dcm": dicom() for i in range(40)})
    run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    before = (tmp_path / "m.tsv").read_bytes()
    write(root, {"P00/b.dcm": dicom()})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        with pytest.raises(store.StoreError, match=r"^[^\n]+: larger than a file may be here; [^\n]+$"):
            run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "m.tsv").read_bytes() == before
    assert run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS).scans == 41


def test_one_manifest_has_one_run_at_a_time(scans: Path, tmp_path: Path) -> None:
    by_path, out = pattern("{person}/{date}/{eye}_{protocol}.dcm"), tmp_path / "m.tsv"
    with (
        lock.one_writer(str(tmp_path / ".m.tsv.lock"), str(out)),
        pytest.raises(OctshardError, match=r"m\.tsv\.lock: .* is writing here, want one writer"),
    ):
        run.index(str(scans), str(out), by_path)
    assert run.index(str(scans), str(out), by_path).scans == 3


def test_an_empty_folder_has_no_scan_and_leaves_the_manifest_as_it_was(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"P1/a.dcm": dicom()})
    run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    before = (tmp_path / "m.tsv").read_bytes()
    shutil.rmtree(root / "P1")
    with pytest.raises((UsageError, store.StoreError), match="in: "):
        run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    assert (tmp_path / "m.tsv").read_bytes() == before


def test_a_table_of_somebody_else_is_never_replaced(scans: Path, tmp_path: Path) -> None:
    by_path = pattern("{person}/{date}/{eye}_{protocol}.dcm")
    with pytest.raises(UsageError, match=r"it is not of prep index, and would be replaced"):
        run.index(str(scans), str(scans / "manifest.tsv"), by_path)
    out = tmp_path / "m.tsv"
    run.index(str(scans), str(out), by_path)
    out.write_text(out.read_text() + "P9\tx.dcm" + "\t" * 6 + "\n")
    with pytest.raises(UsageError, match=r"it was changed since prep index wrote it"):
        run.index(str(scans), str(out), by_path)
    other = write(tmp_path / "other", {"P1/a.dcm": dicom()})
    run.index(str(other), str(tmp_path / "o.tsv"), FOLDERS)
    with pytest.raises(UsageError, match=rf"o\.tsv: it lists {other}, not {scans}"):
        run.index(str(scans), str(tmp_path / "o.tsv"), by_path)


def test_a_remote_folder_is_indexed_as_a_local_one(tmp_path: Path) -> None:
    paths = {"P1/a.dcm": dicom(), "P1/b/c.dcm": dicom(), "P2/d.dcm": dicom()}
    root = write(tmp_path / "in", paths)
    for path, data in paths.items():
        store.write(f"memory://indexed/{path}", data)
    results: list[Summary] = []
    for folder, out in ((str(root), tmp_path / "l.tsv"), ("memory://indexed", tmp_path / "r.tsv")):
        results.append(run.index(folder, str(out), FOLDERS))
    assert (tmp_path / "l.tsv").read_bytes() == (tmp_path / "r.tsv").read_bytes()
    assert run.index("memory://indexed", str(tmp_path / "r.tsv"), FOLDERS).reused == 3
    run.index("memory://indexed", "memory://written/m.tsv", FOLDERS)
    assert store.read("memory://written/m.tsv") == (tmp_path / "r.tsv").read_bytes()


def test_of_a_remote_e2e_its_directory_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three scans of 60 B-scans each: a row for each, as of the local file, for a small part of its bytes."""
    values = np.full((60, 64, 96), 0.5, np.float32)
    lines = [(-5.0, y / 10, 5.0, y / 10) for y in range(60)]
    scans = [heidelberg_e2e.Series(n, values, lines, eye) for n, eye in ((3, "L"), (12, "R"), (40, "L"))]
    data = heidelberg_e2e.write(scans)
    root = write(tmp_path / "in", {"P1/exam.e2e": data})
    store.write("memory://remote-e2e/P1/exam.e2e", data)
    read: list[int] = []
    whole = remote.RemoteFile.readinto
    monkeypatch.setattr(
        remote.RemoteFile, "readinto", lambda self, into: read.append(n := whole(self, into)) or n
    )
    for folder, out in ((str(root), tmp_path / "l.tsv"), ("memory://remote-e2e", tmp_path / "r.tsv")):
        run.index(folder, str(out), FOLDERS)
    assert (tmp_path / "l.tsv").read_bytes() == (tmp_path / "r.tsv").read_bytes()
    listed = [(e.path, e.eye) for e in entries(tmp_path / "r.tsv")]
    assert listed == [("P1/exam.e2e#3", "L"), ("P1/exam.e2e#12", "R"), ("P1/exam.e2e#40", "L")]
    assert 0 < sum(read) < len(data) / 20
    store.write("memory://remote-e2e/P1/exam.e2e", data[: len(data) // 2])
    run.index("memory://remote-e2e", str(tmp_path / "r.tsv"), FOLDERS)
    assert [e.path for e in entries(tmp_path / "r.tsv")] == ["P1/exam.e2e"]  # prep shard says why


def test_what_a_run_that_was_killed_at_its_end_left_is_removed_by_the_next(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, by_path = tmp_path / "m.tsv", pattern("{person}/{date}/{eye}_{protocol}.dcm")
    run.index(str(scans), str(out), by_path)
    (scans / "P1/2020-01-02/OD_cube.dcm").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "forget_earlier", lambda self: None)
        run.index(str(scans), str(out), by_path)
    assert len(store.list_names(str(tmp_path / ".m.tsv.index"))) == 3
    run.index(str(scans), str(out), by_path)
    assert len(store.list_names(str(tmp_path / ".m.tsv.index"))) == 2


def test_a_manifest_in_the_folder_itself_is_no_file_of_it(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"P1/a.dcm": dicom()})
    first = run.index(str(root), str(root / "P1" / "list.txt"), FOLDERS)
    again = run.index(str(root), str(root / "P1" / "list.txt"), FOLDERS)
    assert (first.files, again.files, again.reused) == (1, 1, 1)


def test_a_folder_whose_path_is_too_long_is_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"P1/a.dcm": dicom()})
    handle = os.open(root, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=handle)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    result = run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    assert result.scans == 1
    assert result.problems["the folder cannot be read: File name too long"].count == 1


def test_one_person_in_two_spellings_is_counted_once_as_prep_shard_does(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"01001/a.dcm": dicom(), "1001/b.dcm": dicom(), "20200102/c.dcm": dicom()})
    result = run.index(str(root), str(tmp_path / "m.tsv"), FOLDERS)
    assert list(result.people) == ["1001", "20200102"]
    assert "is that a person? scans in a folder that looks like a date 1" in text(result)
    assert {entry.participant for entry in entries(tmp_path / "m.tsv")} == {"1001", "20200102"}


def test_every_scan_of_a_file_that_holds_several_is_a_row(tmp_path: Path) -> None:
    values, lines = np.full((2, 20, 24), 0.5), [(-5.0, float(i), 5.0, float(i)) for i in range(2)]
    exam = heidelberg_e2e.write(
        [heidelberg_e2e.Series(n, values, lines, eye=e) for n, e in ((3, "L"), (12, "R"))]
    )
    one = heidelberg_e2e.write([heidelberg_e2e.Series(4, values, lines)])
    files = {"P1/exam.E2E": exam, "P1/one.E2E": one, "P2/cut.E2E": exam[:-500], "P2/again.e2e": exam}
    out = tmp_path / "out.tsv"
    result = run.index(str(write(tmp_path / "scans", files)), str(out), pattern("{person}/*"))
    assert [(e.path, e.eye, e.device) for e in entries(out)] == [
        ("P1/exam.E2E#3", "L", SPECTRALIS),
        ("P1/exam.E2E#12", "R", SPECTRALIS),
        ("P1/one.E2E", "", SPECTRALIS),
        ("P2/again.e2e#3", "L", SPECTRALIS),
        ("P2/again.e2e#12", "R", SPECTRALIS),
        ("P2/cut.E2E", "", SPECTRALIS),  # prep shard will say why
    ]
    assert (result.files, result.scans) == (4, 6)
    assert run.index(str(tmp_path / "scans"), str(out), pattern("{person}/*")).reused == 4


@pytest.mark.parametrize("in_zip", [False, True])
def test_a_cube_is_what_the_text_beside_it_says_now(in_zip: bool, tmp_path: Path) -> None:
    """A text that comes, changes or goes makes the file another one."""
    cube, folder = b"\x9c" * (12 * 10 * 1024), tmp_path / "scans"
    for told, formats in (
        (b"a note", {"dicom": 1}),
        (b"A-scans: 12\nB-scans: 10\n", {"dicom": 1, "img": 1}),
        (b"", {"dicom": 1}),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        files = {"P1/cube.img": cube, "P1/a.dcm": dicom(), **({"P1/cube.txt": told} if told else {})}
        if in_zip:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            files = {"a.zip": file.getvalue()}
        write(folder, files)
        for path in folder.rglob("*"):
            os.utime(path, (10**9, 10**9))
        found = run.index(str(folder), str(tmp_path / "m.tsv"), FOLDERS)
        assert found.formats == formats
        assert (companions.USED in found.others) == ("img" in formats)
        assert found.reused == (0 if told == b"a note" else 1)


def test_a_file_of_optovue_is_a_scan_once_its_text_is_beside_it(tmp_path: Path) -> None:
    data = optovue_oct.numbers(scan().voxels_DHW)
    folder = write(tmp_path / "scans", {f"P1/{optovue_oct.OCT}": data, "P1/a.dcm": dicom()})
    found = run.index(str(folder), str(tmp_path / "m.tsv"), FOLDERS)
    assert (found.scans, found.problems[look.LONELY].count) == (1, 1)
    write(folder, {f"P1/{optovue_oct.TEXT}": optovue_oct.text((6, 20, 24), (0.04, 0.01, 0.02))})
    found = run.index(str(folder), str(tmp_path / "m.tsv"), FOLDERS)
    assert (found.formats["optovue"], found.devices["optovue"], found.problems) == (1, 1, {})
    assert found.others == {companions.USED: 1}


def test_a_dicom_file_of_several_volumes_has_a_row_for_each(tmp_path: Path) -> None:
    both_eyes = changed(scan(), lambda item, i: label(item, eye="RL"[i % 2]))
    stacks = changed(scan(), lambda item, i: label(item, stack="ab"[i // 3]))
    cut = both_eyes[:-500]
    files = {"P1/both": both_eyes, "P1/cut.dcm": cut, "P1/one.dcm": dicom(), "P1/stacks.dcm": stacks}
    out = tmp_path / "m.tsv"
    run.index(str(write(tmp_path / "in", files)), str(out), FOLDERS)
    assert [(e.path, e.eye) for e in entries(out)] == [
        ("P1/both#volume-1", "R"),
        ("P1/both#volume-2", "L"),
        ("P1/cut.dcm", "L"),  # prep shard will say why
        ("P1/one.dcm", "L"),
        ("P1/stacks.dcm#volume-1", "L"),
        ("P1/stacks.dcm#volume-2", "L"),
    ]
    assert {e.protocol for e in entries(out)} == {"both", "cut", "one", "stacks"}


def test_what_is_of_nobody_is_an_error_with_a_pattern_for_the_first_such_file(tmp_path: Path) -> None:
    exam = heidelberg_e2e.write([])
    root = write(tmp_path / "in", {"7.E2E": exam, "8.E2E": exam, "notes.txt": b"text"})
    for options in (FOLDERS, pattern("{person}.vol")):
        with pytest.raises(UsageError, match=r"2: .*; give --pattern, such as '\{person\}.E2E' for 7.E2E$"):
            run.index(str(root), str(tmp_path / "m.tsv"), options)
    assert list(run.index(str(root), str(tmp_path / "m.tsv"), pattern("{person}.e2e")).people) == ["7", "8"]
    root = write(tmp_path / "dicom", {"P7/20200102/IM1": dicom()})
    with pytest.raises(
        UsageError, match=r"'\{person\}/\{date\}/\*' for P7/20200102/IM1, or --person-from dicom"
    ):
        run.index(str(root), str(tmp_path / "n.tsv"), FOLDERS)


def picture(form: str) -> bytes:
    file, pages = io.BytesIO(), [Image.fromarray(np.full((8, 6), grey, np.uint8)) for grey in (5, 200)]
    pages[0].save(file, form, **({"save_all": True, "append_images": pages[1:]} if form == "TIFF" else {}))
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((6, 8, 4), np.uint8))
    return file.getvalue()


def test_a_spacing_that_is_given_stands_in_every_row_and_axes_in_those_of_arrays(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"P1/OD.dcm": dicom(), "P1/x_P1.dcm": dicom(), "P1/cube.dcm": dicom()})
    options = dataclasses.replace(FOLDERS, spacing=(0.047, 0.0026, 0.0117), axes="whd")
    pictures = {"P1/a.png": picture("PNG"), "P1/b.tif": picture("TIFF")}
    write(root, {"P1/v.npy": array(), **pictures})
    result = run.index(str(root), str(tmp_path / "m.tsv"), dataclasses.replace(options, singles=True))
    assert "\n  axes whd: of 1 scans, in formats of arrays" in text(result)
    axes = {
        entry.path: entry.axes for entry in entries(tmp_path / "m.tsv") if entry.axes or "." in entry.path
    }
    assert {path for path, order in axes.items() if order} == {"P1/v.npy"}
    assert {"P1/a.png", "P1/b.tif"} <= axes.keys()  # pictures lie as they are seen
    for path in ("P1/v.npy", *pictures):
        (root / path).unlink()
    run.index(str(root), str(tmp_path / "m.tsv"), options)
    told = {(entry.pixel_mm, entry.slice_mm, entry.default_mm) for entry in entries(tmp_path / "m.tsv")}
    assert told == {(None, None, (0.047, 0.0026, 0.0117))}
    # a name that is an eye, or holds the person, is no protocol
    assert [entry.protocol for entry in entries(tmp_path / "m.tsv")] == ["scan", "cube", "scan"]
    with pytest.raises(UsageError, match="--axes: axes 'wwd', want an order"):
        run.index(str(root), str(tmp_path / "m.tsv"), dataclasses.replace(options, axes="wwd"))

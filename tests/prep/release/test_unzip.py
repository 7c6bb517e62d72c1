"""Device ZIPs -> objects: matched by the manifest, whole or absent, nothing outside DST whatever it says."""

import errno
import json
import struct
import subprocess
import sys
import time
import tracemalloc
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest

from octshard.errors import OctshardError, UsageError
from octshard.prep.release import unzip, zip_source
from octshard.prep.release.unzip import Limits, UnzipReport
from octshard.storage import local, lock, remote, store
from tests.support.faulty_store import FLIP, LOST, RESET, SHORT, STALL, FaultyStore
from tests.support.made_release import HEAD, File, Part, changed, sound, zip_bytes, zipped

FILES = [
    sound(1),
    sound(2, "4001"),
    changed(3, lambda data: None, "7001"),
]  # the third is listed, not shipped
SPLITS = {"1001": "train", "4001": "val", "7001": "test"}


def run(src: Path | str, dst: Path | str, threads: int = 2) -> UnzipReport:
    return unzip.unzip(str(src), str(dst), Limits(threads, 2**27))


def files_under(folder: Path) -> set[str]:
    return {
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")
    }


def release(tmp_path: Path, members: dict[str, bytes | None], name: str = "topcon_triton/a.zip") -> Path:
    """The release of FILES with one ZIP of the given members (None: the bytes of the first file)."""
    root = zipped(tmp_path / "src", FILES, SPLITS)
    (root / "topcon_triton" / "topcon_triton.zip").unlink()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data if data is not None else FILES[0].data or b"")
    return root


def reasons(report: UnzipReport) -> list[str]:
    return [refused.reason for refused in report.refused]


def tail(file: File) -> str:
    return "/".join(file.path.split("/")[-2:])


def test_every_listed_member_lands_at_its_manifest_path(tmp_path: Path) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    report = run(src, dst)
    assert report.written == tuple(sorted(file.path for file in FILES[:2]))
    assert report.missing == (FILES[2].path,)
    assert (report.skipped, report.refused, report.unlisted) == ((), (), ())
    assert report.bytes_written == sum(len(file.data or b"") for file in FILES)
    for file in FILES[:2]:
        assert (dst / file.path).read_bytes() == file.data
    tables = {"manifest.tsv", "participants.tsv"}
    assert files_under(dst) == {*tables, *report.written}
    for name in tables:
        assert (dst / name).read_bytes() == (src / name).read_bytes()


def test_a_second_run_skips_what_stands_and_mends_what_does_not(tmp_path: Path) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    run(src, dst)
    again = run(src, dst)
    assert (again.written, len(again.skipped)) == ((), 2)
    (dst / FILES[0].path).write_bytes(b"changed behind our back")
    (dst / FILES[1].path).unlink()
    mended = run(src, dst)
    assert (len(mended.written), mended.skipped) == (2, ())
    assert (dst / FILES[0].path).read_bytes() == FILES[0].data


def test_a_changed_member_is_written_again(tmp_path: Path) -> None:
    dst = tmp_path / "dst"
    run(release(tmp_path, {tail(FILES[0]): None}), dst)
    other = release(tmp_path / "other", {tail(FILES[0]): b"other bytes"})
    assert run(other, dst).written == (FILES[0].path,)
    assert (dst / FILES[0].path).read_bytes() == b"other bytes"


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (FILES[0].path, "all.zip"),
        ("dataset/" + FILES[0].path, "topcon_triton.zip"),
        ("topcon_triton/" + tail(FILES[0]), "retinal_oct/structural_oct/x.zip"),
        (tail(FILES[0]), "retinal_oct/structural_oct/topcon_triton/part-1.zip"),
        (tail(FILES[0]).split("/")[1], "topcon_triton/a.ZIP"),
    ],
)
def test_copies_with_other_prefixes_and_places_match(tmp_path: Path, member: str, name: str) -> None:
    assert run(release(tmp_path, {member: None}, name), tmp_path / "dst").written == (FILES[0].path,)


@pytest.mark.parametrize("prefix", ["../", "a/../../", "/", "C:/", "..\\", "\\"])
def test_climbing_and_absolute_names_are_refused(tmp_path: Path, prefix: str) -> None:
    report = run(release(tmp_path, {prefix + tail(FILES[0]): None}), tmp_path / "dst")
    assert report.written == ()
    assert len(report.refused) == 1
    assert "name" in reasons(report)[0]
    assert files_under(tmp_path / "dst") == {"manifest.tsv", "participants.tsv"}
    assert not list(tmp_path.glob("*.dcm"))


def test_members_that_no_row_lists_are_told_and_not_written(tmp_path: Path) -> None:
    report = run(release(tmp_path, {"9999/other.dcm": b"x", "readme.txt": b"x"}), tmp_path / "dst")
    assert [name.rsplit(":", 1)[1] for name in report.unlisted] == ["9999/other.dcm", "readme.txt"]
    assert files_under(tmp_path / "dst") == {"manifest.tsv", "participants.tsv"}


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    root = release(tmp_path, {tail(FILES[0]): None})
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag of the central directory
    path.write_bytes(bytes(data))
    report = run(root, tmp_path / "dst")
    assert reasons(report) == ["encrypted"]
    assert report.missing == (FILES[1].path, FILES[2].path)  # a refused file is told once


def test_a_bomb_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    report = run(release(tmp_path, {tail(FILES[0]): bytes(3 * 2**20)}), tmp_path / "dst")
    assert "more than 200 times" in reasons(report)[0]
    assert report.written == ()


def test_a_flipped_byte_leaves_no_object(tmp_path: Path) -> None:
    root = release(tmp_path, {tail(FILES[0]): None, tail(FILES[1]): FILES[1].data})
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    data[len(tail(FILES[0])) + 30 + 200] ^= 0x55
    path.write_bytes(bytes(data))
    report = run(root, tmp_path / "dst")
    assert report.written == (FILES[1].path,)
    assert reasons(report)[0].startswith("damaged")
    assert not (tmp_path / "dst" / FILES[0].path).exists()


def test_a_member_altered_on_its_way_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = release(tmp_path, {tail(FILES[0]): None})
    far, honest, sent = f"memory://{uuid.uuid4().hex}", store.read_range, []
    for path in (path for path in root.rglob("*") if path.is_file()):
        store.copy(str(path), store.join(far, str(path.relative_to(root))))

    def altered_once(url: str, start: int, stop: int) -> bytes:
        sent.append(start)
        data = honest(url, start, stop)
        return data if len(sent) > 1 else data[:200] + bytes([data[200] ^ 1]) + data[201:]

    altering = SimpleNamespace(**{**vars(store), "read_range": altered_once})
    monkeypatch.setattr(zip_source, "store", altering)  # members, not the ZIP's directory
    report = run(far, tmp_path / "dst")
    assert report.written == (FILES[0].path,)
    assert (tmp_path / "dst" / FILES[0].path).read_bytes() == FILES[0].data


def test_a_directory_that_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    root = release(tmp_path, {tail(FILES[0]): None})
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    (size,) = struct.unpack_from("<L", data, at)
    for lie in (size - 100, size + 100):
        struct.pack_into("<L", data, at, lie)
        path.write_bytes(bytes(data))
        report = run(root, tmp_path / "dst")
        assert report.written == ()
        assert reasons(report)[0].startswith("damaged")


def test_what_is_no_zip_is_one_refusal_and_the_others_go_on(tmp_path: Path) -> None:
    root = zipped(tmp_path / "src", FILES, SPLITS)
    whole = (root / "topcon_triton" / "topcon_triton.zip").read_bytes()
    (root / "topcon_triton" / "cut.zip").write_bytes(whole[: len(whole) - 40])
    report = run(root, tmp_path / "dst")
    assert len(report.written) == 2
    assert reasons(report)[0].startswith("not a whole ZIP")


def test_a_second_copy_of_a_member_is_told(tmp_path: Path) -> None:
    root = zipped(tmp_path / "src", FILES, SPLITS)
    with zipfile.ZipFile(root / "topcon_triton" / "z.zip", "w") as archive:
        archive.writestr(tail(FILES[0]), FILES[0].data or b"")
        archive.writestr(tail(FILES[1]), b"other")
    report = run(root, tmp_path / "dst")
    assert (tmp_path / "dst" / FILES[1].path).read_bytes() == FILES[1].data
    assert [reason.rsplit(", ", 1)[1] for reason in reasons(report)] == ["same bytes", "other bytes"]


def test_one_writer_per_target(tmp_path: Path) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    with (
        lock.one_writer(store.join(str(dst), unzip.LOCK), str(dst)),
        pytest.raises(OctshardError, match="is writing here"),
    ):
        run(src, dst)


def test_progress_is_told_for_every_member(tmp_path: Path) -> None:
    reports: list[tuple[int, int, str]] = []
    src = zipped(tmp_path / "src", FILES, SPLITS)
    for dst, limits in (("a", Limits(1, 2**24)), ("b", Limits(2, 2**24)), ("b", Limits(2, 2**24))):
        reports.clear()
        unzip.unzip(str(src), str(tmp_path / dst), limits, lambda *report: reports.append(report))
        assert [report[:2] for report in reports] == [(1, 2), (2, 2)]
        megabytes = f"{sum(len(file.data or b'') for file in FILES) / 1e6:,.0f}"
        assert reports[-1][2] == f"{megabytes} of {megabytes} MB"


def test_a_release_goes_into_another_kind_of_store(tmp_path: Path) -> None:
    src = zipped(tmp_path / "src", FILES, SPLITS)
    report = run(src, "memory://unzip-test")
    assert store.read(f"memory://unzip-test/{report.written[0]}") == FILES[0].data
    assert len(run(src, "memory://unzip-test").skipped) == 2


def test_a_release_goes_to_cloud_storage(tmp_path: Path, cloud: str) -> None:
    src = zipped(tmp_path / "src", FILES, SPLITS)
    report = run(src, f"{cloud}/unzip")
    assert store.read(f"{cloud}/unzip/{report.written[0]}") == FILES[0].data
    assert len(run(src, f"{cloud}/unzip").skipped) == 2


def test_of_one_name_twice_the_first_is_written_and_the_second_told(tmp_path: Path) -> None:
    root = zipped(tmp_path / "src", FILES, SPLITS)
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(root / "topcon_triton" / "topcon_triton.zip", "w") as archive,
    ):
        archive.writestr(tail(FILES[0]), FILES[0].data or b"")
        archive.writestr(tail(FILES[0]), b"other")
    report = run(root, tmp_path / "dst")
    assert (tmp_path / "dst" / FILES[0].path).read_bytes() == FILES[0].data
    assert [reason.rsplit(", ", 1)[1] for reason in reasons(report)] == ["other bytes"]


def test_a_local_name_that_is_no_utf8_is_one_refusal(tmp_path: Path) -> None:
    root = release(tmp_path, {tail(FILES[0]): None, tail(FILES[1]): FILES[1].data})
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    data[6:8] = struct.pack("<H", 0x800)  # local flag: the name is UTF-8
    data[30] = 0xFF
    at = data.index(b"PK\x01\x02")
    data[at + 8 : at + 10] = struct.pack("<H", 0x800)
    path.write_bytes(bytes(data))
    report = run(root, tmp_path / "dst")
    assert report.written == (FILES[1].path,)
    assert reasons(report)[0].startswith("damaged")


@pytest.mark.parametrize("offset", [0x7FFFFFFF, 0xFFFFFFFE])
def test_a_member_that_begins_outside_its_zip_is_one_refusal(tmp_path: Path, offset: int) -> None:
    root = release(tmp_path, {tail(FILES[0]): None, tail(FILES[1]): FILES[1].data})
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 42, offset)
    path.write_bytes(bytes(data))
    report = run(root, tmp_path / "dst")
    assert report.written == (FILES[1].path,)
    assert "want them before its ZIP's directory" in reasons(report)[0]


def test_whatever_byte_of_the_structure_is_changed_the_run_goes_on(tmp_path: Path) -> None:
    root = release(tmp_path, {tail(FILES[0]): None, tail(FILES[1]): FILES[1].data})
    path = root / "topcon_triton" / "a.zip"
    whole = path.read_bytes()
    second, directory = whole.index(b"PK\x03\x04", 4), whole.index(b"PK\x01\x02")
    places = [*range(100), *range(second, second + 100), *range(directory, len(whole))]
    for place in places[::3]:
        data = bytearray(whole)
        data[place] ^= (0xFF, 0x80, 0x08)[place % 3]
        path.write_bytes(bytes(data))
        report = run(root, "memory://unzip-structure", 1)
        for name in report.written:  # whatever was written is what its file was
            assert store.read(f"memory://unzip-structure/{name}") in {file.data for file in FILES}


def test_a_damaged_member_takes_the_older_object_with_it(tmp_path: Path) -> None:
    root, dst = release(tmp_path, {tail(FILES[0]): None, tail(FILES[1]): FILES[1].data}), tmp_path / "dst"
    run(root, dst)
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 16] ^= 1  # the crc that the directory tells
    path.write_bytes(bytes(data))
    report = run(root, dst)
    assert report.skipped == (FILES[1].path,)
    assert reasons(report)[0].startswith("damaged")
    assert not (dst / FILES[0].path).exists()
    assert FILES[0].path not in json.loads((dst / unzip.JOURNAL).read_bytes())


def renamed(root: Path, path: str) -> None:
    """The manifest's second row, with another path."""
    table = root / "manifest.tsv"
    table.write_text(table.read_text().replace(FILES[1].path, path))


@pytest.mark.parametrize("below", ["2.dcm", "deeper/2.dcm"])
def test_a_row_below_another_file_is_one_refusal(tmp_path: Path, below: str) -> None:
    path = f"{FILES[0].path}/{below}"
    root = release(tmp_path, {tail(FILES[0]): None, "/".join(path.split("/")[-2:]): FILES[1].data})
    renamed(root, path)
    for threads in (1, 2):  # the first run writes one of them, whichever comes first; the next skips it
        report = run(root, tmp_path / "dst", threads)
        assert len({*report.written, *report.skipped}) == 1
        assert "cannot be written under its manifest path" in reasons(report)[0]
        assert "\n" not in reasons(report)[0]


def test_a_name_that_no_disk_takes_is_one_refusal(tmp_path: Path) -> None:
    path = f"retinal_oct/structural_oct/topcon_triton/4001/{'a' * 300}.dcm"
    root = release(tmp_path, {tail(FILES[0]): None, "/".join(path.split("/")[-2:]): FILES[1].data})
    renamed(root, path)
    report = run(root, tmp_path / "dst")
    assert report.written == (FILES[0].path,)
    assert "cannot be written under its manifest path" in reasons(report)[0]
    assert report.missing == (FILES[2].path,)
    assert files_under(tmp_path / "dst") == {"manifest.tsv", "participants.tsv", FILES[0].path}


def test_a_full_disk_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(place: object, target: str, block: int) -> None:
        with local.one_line_errors(target):
            raise OSError(errno.ENOSPC, "No space left on device", target)

    monkeypatch.setattr(unzip, "_write", full)
    with pytest.raises(store.StoreError, match="disk is full"):
        run(zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst")


def test_our_own_failing_store_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise store.StoreError(f"{url}: the disk is full")

    monkeypatch.setattr(store, "open_write", fail)
    with pytest.raises(store.StoreError, match="disk is full"):
        run(zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst")


@pytest.mark.parametrize("entry", [{}, [], None, 7, {"size": 1}])
def test_a_damaged_journal_entry_counts_as_absent(tmp_path: Path, entry: object) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    run(src, dst)
    journal = dst / unzip.JOURNAL
    journal.write_text(json.dumps({**json.loads(journal.read_text()), FILES[0].path: entry}))
    report = run(src, dst)
    assert (report.written, report.skipped) == ((FILES[0].path,), (FILES[1].path,))


def test_a_release_without_zips_names_where_they_were_looked_for(tmp_path: Path) -> None:
    root = zipped(tmp_path / "src", FILES, SPLITS)
    (root / "topcon_triton" / "topcon_triton.zip").unlink()
    with pytest.raises(UsageError, match=r"no ZIP in .*retinal_oct/structural_oct"):
        run(root, tmp_path / "dst")


@pytest.mark.parametrize(
    ("effort", "word"),
    [
        (Limits(0, 2**24), "threads=0: want 1"),
        (Limits(1, 2**20 - 1), "unzip_memory=1048575: want at least 1048576 bytes"),
    ],
)
def test_effort_must_be_possible(tmp_path: Path, effort: Limits, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        unzip.unzip(str(tmp_path), str(tmp_path), effort)


@pytest.mark.parametrize(
    ("effort", "share"),
    [
        (Limits(1, 2**20), (1, 2**18)),
        (Limits(64, 2**20), (1, 2**18)),
        (Limits(64, 2**22 - 1), (3, 349_525)),
        (Limits(4, 2**24), (4, 2**20)),
        (Limits(2, 2**40), (2, 2**23)),
    ],
)
def test_threads_share_the_memory(effort: Limits, share: tuple[int, int]) -> None:
    """(2**22 - 1) // (4 * 2**18) = 3 threads of 4 blocks of (2**22 - 1) // 12 bytes."""
    assert unzip._thread_plan(effort, remote=False) == share


def test_a_remote_target_asks_for_room_to_put_objects(tmp_path: Path) -> None:
    least = unzip.PUT
    assert unzip._thread_plan(Limits(1, least), remote=True) == (1, 2**23)
    with pytest.raises(UsageError, match=f"unzip_memory={least - 1}: want at least {least} bytes"):
        unzip.unzip(str(tmp_path), "memory://unzip-least", Limits(1, least - 1))


def test_a_budget_is_never_overdrawn_and_everybody_gets_a_turn() -> None:
    budget, least = unzip._Budget(100), [100]
    needs = [1, 100, 60, 41, 99, 30, 30, 40, 7, 100] * 20

    def work(need: int) -> None:
        with budget.held(need):
            least[0] = min(least[0], budget.free)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, needs))
    assert (budget.free, least[0]) == (100, 0)


def test_leftovers_of_a_killed_run_are_swept_at_the_root_too(tmp_path: Path) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    folder = (dst / FILES[0].path).parent
    folder.mkdir(parents=True)
    for place in (dst, folder):
        (place / f".x.1.2{local.PARTIAL_SUFFIX}").write_bytes(b"half")
    run(src, dst)
    assert not list(dst.rglob(f"*{local.PARTIAL_SUFFIX}"))


# Large releases ------------------------------------------------------------------------------------------


def large(root: Path, members: int, size: int) -> dict[str, bytes]:
    """A release of one ZIP with so many members of `size` noisy bytes, each second one stored."""
    noise = np.random.default_rng(5).integers(0, 64, members * size, dtype=np.uint8).tobytes()
    files = {
        f"retinal_oct/structural_oct/topcon_triton/{1000 + i}/{i}.dcm": noise[i * size : (i + 1) * size]
        for i in range(members)
    }
    rows = [[path.split("/")[3], *[""] * (len(HEAD) - 2), "/" + path] for path in files]
    root.mkdir()
    (root / "manifest.tsv").write_text("\n".join("\t".join(row) for row in [HEAD, *rows]) + "\n")
    parts = [Part(path, data, 8 * (i % 2)) for i, (path, data) in enumerate(files.items())]
    (root / "topcon_triton.zip").write_bytes(zip_bytes(parts))
    return files


@pytest.mark.parametrize("effort", [Limits(1, 2**20), Limits(4, 2**22), Limits(16, 2**22)])
def test_memory_is_bounded_by_a_number_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effort: Limits
) -> None:
    """All that Python allocates while 24 MB in members of 4 MB pass through, by Python's own count."""
    files = large(tmp_path / "src", 6, 4_000_000)
    run(tmp_path / "src", tmp_path / "warm")  # what is loaded once is not counted
    monkeypatch.setattr(unzip, "_copy_tables", lambda *_: None)  # by 4 MiB, when all members are done
    tracemalloc.start()
    try:
        report = unzip.unzip(str(tmp_path / "src"), str(tmp_path / "dst"), effort)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(report.written) == len(files)
    assert most < effort.memory
    assert all((tmp_path / "dst" / path).read_bytes() == data for path, data in files.items())


@pytest.mark.parametrize("threads", [1, 8])
def test_bytes_from_the_store_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    large(tmp_path / "src", 8, 1_000_000)
    live, most = 0, 0

    class Counted(bytes):
        def __del__(self) -> None:
            nonlocal live
            live -= len(self)

    def read_range(url: str, start: int, stop: int) -> bytes:
        nonlocal live, most
        piece = Counted(honest(url, start, stop))
        live += len(piece)
        most = max(most, live)
        return piece

    honest = store.read_range
    monkeypatch.setattr(store, "read_range", read_range)
    unzip.unzip(str(tmp_path / "src"), str(tmp_path / "dst"), Limits(threads, 2**21))
    assert 0 < most <= 2**21


def test_a_second_run_reads_nothing_but_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large(tmp_path / "src", 4, 300_000)
    run(tmp_path / "src", tmp_path / "dst")
    asked = []
    honest = store.read_range

    def read_range(url: str, start: int, stop: int) -> bytes:
        asked.append(stop - start)
        return honest(url, start, stop)

    monkeypatch.setattr(store, "read_range", read_range)
    assert len(run(tmp_path / "src", tmp_path / "dst").skipped) == 4
    assert sum(asked) <= 2**17


KILLED = """
import os, sys
from octshard.storage import store
from octshard.prep.release import unzip, zip_source

src, dst, deaths = sys.argv[1], sys.argv[2], int(sys.argv[3])
unzip.JOURNAL_EVERY_S = unzip.JOURNAL_SHARE = 0  # saved after every member
def dying(act):
    def step(*arguments):
        global deaths
        deaths -= 1
        if deaths == 0:
            os._exit(9)
        return act(*arguments)
    return step
for name in ("replace", "fsync"):
    setattr(os, name, dying(getattr(os, name)))
unzip.unzip(src, dst, unzip.Limits(2, 2**22))
"""


def test_a_run_that_is_killed_goes_on_where_its_journal_ends(tmp_path: Path) -> None:
    """Killed without a word at some step of its writing; what the journal knows is not written again."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    files = large(src, 8, 50_000)
    codes, stamps = [], dict[str, int]()
    for steps in (20, 2, 9, 5, 14, 3):  # an object takes three, and so does the journal
        done = subprocess.run([sys.executable, "-c", KILLED, str(src), str(dst), str(steps)])
        codes.append(done.returncode)
        known = json.loads((dst / unzip.JOURNAL).read_bytes()) if (dst / unzip.JOURNAL).exists() else {}
        for path, stamp in stamps.items():
            assert (dst / path).stat().st_mtime_ns == stamp
        stamps = {path: (dst / path).stat().st_mtime_ns for path in known}
    assert codes[0] == 9
    assert set(codes) <= {0, 9}
    assert stamps
    report = run(src, dst)
    assert {*report.written, *report.skipped} == set(files)
    assert set(stamps) <= set(report.skipped)
    assert {p: (dst / p).read_bytes() for p in files} == files
    assert files_under(dst) == {*files, "manifest.tsv"}
    assert not list(dst.rglob(f"*{local.PARTIAL_SUFFIX}"))


def test_a_failing_store_leaves_a_journal_of_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = large(tmp_path / "src", 6, 1000)
    honest, left = store.open_write, [3]

    def create(url: str) -> Iterator[BinaryIO]:
        if url.endswith(".dcm"):
            left[0] -= 1
            if left[0] < 0:
                raise store.StoreError("the network is gone")
        return honest(url)  # type: ignore[return-value]

    monkeypatch.setattr(store, "open_write", create)
    with pytest.raises(store.StoreError, match="network"):
        run(tmp_path / "src", tmp_path / "dst")
    monkeypatch.setattr(store, "open_write", honest)
    report = run(tmp_path / "src", tmp_path / "dst")
    assert (len(report.skipped), len(report.written)) == (3, len(files) - 3)


def test_a_release_in_cloud_storage_is_unpacked_there(tmp_path: Path, cloud: str) -> None:
    files = large(tmp_path / "src", 3, 100_000)
    src, dst = f"{cloud}/src", f"{cloud}/dst"
    for name in ("manifest.tsv", "topcon_triton.zip"):
        store.copy(str(tmp_path / "src" / name), f"{src}/{name}")
    assert set(run(src, dst).written) == set(files)
    assert {path: store.read(f"{dst}/{path}") for path in files} == files
    store.write(f"{dst}/{min(files)}", b"changed behind our back")
    again = run(src, dst)
    assert (again.written, len(again.skipped)) == ((min(files),), 2)


def test_a_run_that_is_stopped_does_not_wait_for_its_silent_target(
    tmp_path: Path, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unzip, "LAST_SAVE_S", 0.1)
    monkeypatch.setattr(lock, "RENEW_S", 0.1)
    src = zipped(tmp_path / "src", FILES, SPLITS)

    def stop(done: int, total: int, note: str) -> None:
        faulty.fail(*[STALL] * 100)
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        unzip.unzip(str(src), f"gs://faulty/{uuid.uuid4().hex}", Limits(1, 2**28), stop)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("scheme", ["gs", "s3"])
@pytest.mark.parametrize("seed", range(3))
def test_one_request_in_six_fails_and_nothing_changes(
    tmp_path: Path, scheme: str, seed: int, faulty: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a reply is silent, cut, altered or lost."""
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: 0.0)
    files = large(tmp_path / "src", 5, 50_000)
    src, dst = (f"{scheme}://faulty/{uuid.uuid4().hex}" for _ in range(2))
    for name in ("manifest.tsv", "topcon_triton.zip"):
        store.copy(str(tmp_path / "src" / name), f"{src}/{name}")
    rng = np.random.default_rng(seed)
    kinds: list[str | int] = [429, 503, RESET, LOST, SHORT, STALL, FLIP]
    script = [kinds[rng.integers(7)] if rng.random() < 1 / 6 else None for _ in range(400)]
    faulty.fail(*script)  # type: ignore[arg-type]
    report = run(src, dst)
    assert len(faulty.faults) < 380
    faulty.fail()
    assert (set(report.written), report.refused) == (set(files), ())
    assert {path: store.read(f"{dst}/{path}") for path in files} == files
    assert len(run(src, dst).skipped) == 5


@pytest.mark.realdata
def test_real_zips_unpack_but_for_the_one_missing_file(realdata: Path, tmp_path: Path) -> None:
    report = run(realdata, tmp_path)
    assert (len(report.written), len(report.missing)) == (12, 1)
    assert (report.refused, report.unlisted, report.skipped) == ((), (), ())

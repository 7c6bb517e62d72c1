"""Device ZIPs -> objects: matched by the manifest, whole or absent, nothing outside DST whatever it says."""

import io
import json
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from made_release import File, changed, sound, zipped

from octshard import lock, store
from octshard.errors import OctshardError, UsageError
from octshard.prep import unzip
from octshard.prep.unzip import Report

FILES = [
    sound(1),
    sound(2, "4001"),
    changed(3, lambda data: None, "7001"),
]  # the third is listed, not shipped
SPLITS = {"1001": "train", "4001": "val", "7001": "test"}


def run(src: Path, dst: Path | str, threads: int = 2) -> Report:
    return unzip.unzip(str(src), str(dst), threads, lambda done, total, path: None)


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


def reasons(report: Report) -> list[str]:
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


def test_links_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(tail(FILES[0]))
    info.external_attr = 0o120777 << 16
    assert unzip.problem_of(info, 1000) == "symbolic link"


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    root = release(tmp_path, {tail(FILES[0]): None})
    path = root / "topcon_triton" / "a.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag of the central directory
    path.write_bytes(bytes(data))
    assert reasons(run(root, tmp_path / "dst")) == ["encrypted"]


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


def test_overlapping_members_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", bytes(1000))
    data = out.getvalue()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry, tail_ = data[start:end], bytearray(data[end:])
    struct.pack_into("<HH", tail_, 8, 3, 3)
    struct.pack_into("<L", tail_, 12, 3 * len(entry))
    url = "memory://unzip-overlap.zip"
    store.write(url, data[:start] + entry * 3 + bytes(tail_))
    members, _, problem = unzip._directory(url)
    assert members == []
    assert "overlap" in problem


def test_one_writer_per_target(tmp_path: Path) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    with (
        lock.one_writer(store.join(str(dst), unzip.LOCK)),
        pytest.raises(OctshardError, match="is writing here"),
    ):
        run(src, dst)


def test_progress_is_told_for_every_member(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    src = zipped(tmp_path / "src", FILES, SPLITS)
    unzip.unzip(str(src), str(tmp_path / "dst"), 1, lambda done, total, path: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_release_goes_into_another_kind_of_store(tmp_path: Path) -> None:
    src = zipped(tmp_path / "src", FILES, SPLITS)
    report = run(src, "memory://unzip-test")
    assert store.read(f"memory://unzip-test/{report.written[0]}") == FILES[0].data
    assert len(run(src, "memory://unzip-test").skipped) == 2


@pytest.mark.gcs
def test_a_release_goes_to_cloud_storage(tmp_path: Path, gcs: str) -> None:
    src = zipped(tmp_path / "src", FILES, SPLITS)
    report = run(src, f"{gcs}/unzip")
    assert store.read(f"{gcs}/unzip/{report.written[0]}") == FILES[0].data
    assert len(run(src, f"{gcs}/unzip").skipped) == 2


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
    assert "begins at byte" in reasons(report)[0]


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


def test_our_own_failing_store_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> None:
        raise store.StoreError(f"{url}: the disk is full")

    monkeypatch.setattr(store, "create", fail)
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


def test_threads_are_one_or_more(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads=0: want 1"):
        run(zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst", 0)


def test_leftovers_of_a_killed_run_are_swept_at_the_root_too(tmp_path: Path) -> None:
    src, dst = zipped(tmp_path / "src", FILES, SPLITS), tmp_path / "dst"
    folder = (dst / FILES[0].path).parent
    folder.mkdir(parents=True)
    for place in (dst, folder):
        (place / f".x.1.2{store.LEFTOVER}").write_bytes(b"half")
    run(src, dst)
    assert not list(dst.rglob(f"*{store.LEFTOVER}"))

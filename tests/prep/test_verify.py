"""Whatever is changed behind the tables' back is found and named; a sound folder gives nothing."""

import dataclasses
import hashlib
import json
import os
import shutil
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import zstandard

from octshard.config.prep import PrepConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError, UsageError
from octshard.prep import verify
from octshard.prep.build import run
from octshard.prep.crosscheck import Finding
from octshard.rng import rng_for
from octshard.storage import checksum, store
from tests.support.made_release import changed, sound, unpacked

TAR, PART = "train-000000.tar", "train-000000.rows.parquet"
DONE = "train-000000.done.json"
DAMAGED_JSON = ("", "[]", "null", "7", "{", "\0" * 90, "\xff\xfe", "[" * 100_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two train samples, one val sample and one refusal; tests change copies of it."""
    there = tmp_path_factory.mktemp("verify")
    files = [sound(1), sound(2), sound(3, "4001"), changed(4, lambda data: None)]
    root = unpacked(there / "release", files, {"1001": "train", "4001": "val"})
    cfg = PrepConfig(src=str(root), dst=str(there / "shards"), target_spacing=[0.08, 0.04, 0.04], workers=1)
    run.shard(cfg, ["topcon_triton"])
    return there / "shards" / "topcon_triton"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "topcon_triton")


def findings(folder: Path, deep: bool = False) -> list[Finding]:
    return verify.verify(str(folder), deep, lambda done, total, name: None)


def rows(folder: Path) -> list[SampleRow]:
    return tables.read_rows(str(folder / "samples.parquet"))


def stored(folder: Path) -> list[SampleRow]:
    return sorted((r for r in rows(folder) if r.shard == TAR), key=lambda r: r.offset or 0)


def texts(found: list[Finding]) -> str:
    return "\n".join(f"{one.shard} {one.key} {one.what}" for one in found)


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_folder_gives_nothing_and_every_byte_is_told(folder: Path, deep: bool) -> None:
    told: list[tuple[int, int, str]] = []
    assert verify.verify(str(folder), deep, lambda *said: told.append(said)) == []
    total = sum(path.stat().st_size for path in folder.glob("*.tar")) // 2**20
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (total, total)
    assert {note for _, _, note in told} == {f"MiB, {TAR}", "MiB, val-000000.tar"}


@pytest.mark.parametrize("deep", [False, True])
def test_a_flipped_bit_anywhere_in_a_tar_is_found_and_its_sample_named(folder: Path, deep: bool) -> None:
    whole, table = (folder / TAR).read_bytes(), stored(folder)
    rng = rng_for("flip", deep)
    ends = [place for row in table for place in (row.offset, row.offset + row.nbytes - 1)]
    for place in [*ends, len(whole) - 1, *rng.integers(0, len(whole), 300 if not deep else 60)]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (folder / TAR).write_bytes(bytes(data))
        found = findings(folder, deep)
        assert {finding.shard for finding in found} == {TAR}
        hit = {row.key for row in table if row.offset <= place < row.offset + row.nbytes}
        assert {finding.key for finding in found} == {"", *hit}


def test_a_cut_at_every_block_and_beside_it_is_found(folder: Path) -> None:
    whole, table = (folder / TAR).read_bytes(), stored(folder)
    for block in range(0, len(whole), 512):
        for size in {max(0, block - 1), block, min(block + 1, len(whole) - 1)}:
            (folder / TAR).write_bytes(whole[:size])
            found = findings(folder)
            assert {finding.shard for finding in found} == {TAR}
            lost = {row.key for row in table if row.offset + row.nbytes > size}
            assert {finding.key for finding in found} == {"", *lost}


def test_what_is_appended_is_found(folder: Path) -> None:
    whole = (folder / TAR).read_bytes()
    for more in (bytes(512), b"x", whole):
        (folder / TAR).write_bytes(whole + more)
        assert "a sample without a row" in texts(findings(folder))


def test_a_scan_that_is_stored_twice_is_found(folder: Path) -> None:
    table = rows(folder)
    one, other = (i for i, row in enumerate(table) if row.shard == TAR)
    table[other] = dataclasses.replace(table[other], sop_instance_uid=table[one].sop_instance_uid)
    found = texts(findings(with_rows(folder, table)))
    assert f"2 rows store SOPInstanceUID {table[one].sop_instance_uid}" in found
    table = [dataclasses.replace(row, sop_instance_uid="") for row in table]  # nobody knows of these
    assert "rows store SOPInstanceUID" not in texts(findings(with_rows(folder, table)))


@pytest.mark.parametrize("deep", [False, True])
def test_every_byte_of_a_tar_is_read_once(folder: Path, deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()
    lock = threading.Lock()

    class Counted:
        def __init__(self, url: str, file: BinaryIO) -> None:
            self.url, self.file = url, file

        def __enter__(self) -> "Counted":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def read(self, count: int) -> bytes:
            data = self.file.read(count)
            with lock:
                read[Path(self.url).name] += len(data)
            return data

    opened = store.open_read
    monkeypatch.setattr(store, "open_read", lambda url: Counted(url, opened(url)))
    monkeypatch.setattr(store, "read_range", lambda *_: pytest.fail("a second way to the bytes"))
    assert findings(folder, deep) == []
    assert dict(read) == {path.name: path.stat().st_size for path in folder.glob("*.tar")}


def test_of_a_tar_no_more_than_about_a_sample_is_held(tmp_path: Path) -> None:
    size, count = 2**21, 24
    piece = rng_for("held").integers(0, 256, size, dtype=np.uint8).tobytes()
    with open(tmp_path / TAR, "wb") as file:
        sums = shard.write(file, (piece for _ in range(count)))
    table = [
        SampleRow(f"k{i}", "1", "d", "", "", "", "", "L", "train", f"{i}.dcm",
                  shard=TAR, offset=place, nbytes=size, xxh3=checksum.xxh3(piece))
        for i, place in enumerate(sums.offsets)
    ]  # fmt: skip
    tables.write_rows(str(tmp_path / "samples.parquet"), table)
    info = ShardInfo(TAR, "d", "train", count, sums.bytes, sums.sha256)
    tables.write_shards(str(tmp_path / "shards.parquet"), [info])
    counts = {"rows": count, "stored": count, "refused": {}, "splits": {"train": count}}
    tables.write_info(str(tmp_path / "dataset.json"), {"device": "d", "counts": counts})
    tracemalloc.start()
    try:
        assert findings(tmp_path) == []
        assert tracemalloc.get_traced_memory()[1] < 8 * size
    finally:
        tracemalloc.stop()


def test_a_missing_shard_is_found(folder: Path) -> None:
    (folder / TAR).unlink()
    (finding,) = findings(folder)
    assert (finding.shard, finding.key) == (TAR, "")
    assert "missing" in finding.what


def test_a_sample_without_a_row_is_found_in_the_tar_too(folder: Path) -> None:
    for lost in stored(folder):  # a gap at the front, one at the end
        kept = [row for row in rows(folder) if row.key != lost.key]
        found = findings(with_rows(folder, kept))
        assert any(f.shard == TAR and "a sample without a row" in f.what for f in found)


def test_a_row_without_a_sample_is_found(folder: Path) -> None:
    last = stored(folder)[-1]
    ghost = dataclasses.replace(last, key="ghost", offset=(last.offset or 0) + (last.nbytes or 0))
    found = findings(with_rows(folder, [*rows(folder), ghost]))
    assert any(f.key == "ghost" and "the tar ends at" in f.what for f in found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "00"),
        ("xxh3", "00"),
        ("key", "other"),
        ("shape_out", (1, 2, 3)),
        ("offset", None),
        ("offset", -512),
        ("nbytes", 0),
        ("nbytes", 2**60),
        ("shard", "x.tar"),
        ("mean", 1.5),
        ("split", "val"),
        ("device", "zeiss_cirrus"),
        ("status", "fine"),
        ("flags", ("constant",)),
    ],
)
def test_a_row_that_says_something_else_is_found_and_named(folder: Path, field: str, value: Any) -> None:
    wrong = stored(folder)[0]
    other = dataclasses.replace(wrong, **{field: value})
    found = findings(with_rows(folder, [other if r == wrong else r for r in rows(folder)]))
    assert found
    assert wrong.key in {finding.key for finding in found}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "00"),
        ("key", "other"),
        ("shape_out", (1, 2, 3)),
        ("dtype", "uint16"),
        ("mean", 1.5),
        ("std", 1.5),
        ("p01", 254.0),
        ("p99", 1.0),
        ("eye", "R"),
        ("spacing_out", (1.0, 1.0, 1.0)),
        ("flags", ("constant",)),
        ("geometry", "line"),
        ("retina_found", 0.5),
        ("retina_found", None),
    ],
)
def test_deep_finds_it_without_the_parts_of_the_build(folder: Path, field: str, value: Any) -> None:
    wrong = stored(folder)[0]
    without_parts(folder)
    assert findings(folder, deep=True) == []
    other = dataclasses.replace(wrong, **{field: value})
    with_rows(folder, [other if r == wrong else r for r in rows(folder)])
    assert findings(folder) == []  # bytes and tables agree
    assert {finding.key for finding in findings(folder, deep=True)} == {other.key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda meta: meta | {"mean": meta["mean"] + 1e-3}, "its JSON says mean"),
        (lambda meta: meta | {"split": "test"}, "its JSON says split"),
        (lambda meta: meta | {"spacing_mm": [1, 1, 1]}, "its JSON says spacing_mm"),
        (lambda meta: meta | {"flags": ["constant"]}, "its JSON says flags"),
        (lambda meta: {name: value for name, value in meta.items() if name != "std"}, "its JSON has no std"),
        (lambda meta: meta | {"format": 1}, "its JSON is of format 1"),
        (lambda meta: meta | {"retina_band": 7}, "retina_band is 7, want blocks of 8 columns"),
        (lambda meta: meta | {"retina_band": meta["retina_band"] | {"steps": "AAAA"}}, "retina_band is"),
        (lambda meta: meta | {"retina_band": None}, "in a share of None of its blocks, the row says 0."),
    ],
)
def test_deep_finds_a_forged_json_under_sound_checksums(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    key = forge(folder, lambda meta, voxels: (change(meta), voxels))
    assert findings(folder) == []
    (found,) = findings(folder, deep=True)
    assert (found.shard, found.key) == (TAR, key)
    assert said in found.what


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda voxels: voxels ^ np.uint8(1), ["sha256", "mean"]),
        (lambda voxels: voxels.astype(np.uint16), ["sha256", "uint16", "its JSON says dtype"]),
        (lambda voxels: voxels.swapaxes(0, 1), ["sha256", "its JSON says shape"]),
        (lambda voxels: voxels.astype(np.float32), ["float32"]),
    ],
)
def test_deep_finds_forged_voxels_under_sound_checksums(
    folder: Path, change: Callable[[np.ndarray], np.ndarray], said: list[str]
) -> None:
    key = forge(folder, lambda meta, voxels: (meta, np.ascontiguousarray(change(voxels))))
    assert findings(folder) == []
    found = findings(folder, deep=True)
    assert {finding.key for finding in found} == {key}
    assert all(word in texts(found) for word in said)


def test_a_key_twice_a_stray_tar_and_a_crossing_participant_are_found(folder: Path) -> None:
    table = rows(folder)
    (folder / "train-000009.tar").write_bytes(b"")
    split = "test" if table[-1].split != "test" else "val"
    crossing = dataclasses.replace(table[-1], split=split, status="refused")
    text = texts(findings(with_rows(folder, [*table, stored(folder)[0], crossing])))
    assert "2 rows store this key" in text
    assert "train-000009.tar  a tar that shards.parquet does not list" in text
    assert f"participant {table[-1].participant} stands in" in text


def test_a_shard_listed_twice_is_found(folder: Path) -> None:
    infos = tables.read_shards(str(folder / "shards.parquet"))
    tables.write_shards(str(folder / "shards.parquet"), [*infos, infos[0]])
    assert "lists it 2 times" in texts(findings(sealed(folder)))


def test_participants_are_followed_across_folders(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    assert verify.across([str(folder), str(other)]) == []
    with_rows(other, [dataclasses.replace(row, split="test") for row in rows(other)])
    found = texts(verify.across([str(folder), str(other)]))
    assert "participant 1001 stands in test and train of different folders" in found
    assert "participant 4001 stands in test and val of different folders" in found


def test_a_lost_refused_row_is_found_by_the_counts_and_by_its_part(folder: Path) -> None:
    found = findings(with_rows(folder, [r for r in rows(folder) if r.status == "ok"]))
    assert any("missing_file" in f.what and "dataset.json" in f.what for f in found)
    assert any(f"a row of {PART} that samples.parquet does not have" in f.what for f in found)


def test_flags_that_come_when_the_device_is_complete_are_no_difference(folder: Path) -> None:
    with_rows(
        folder,
        [dataclasses.replace(r, flags=tuple(sorted({*r.flags, "equal_pixels"}))) for r in rows(folder)],
    )
    assert findings(folder) == []
    assert findings(folder, deep=True) == []


def test_a_copy_without_the_parts_of_the_build_is_sound(folder: Path) -> None:
    assert findings(without_parts(folder)) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("plan.json", "plan.json is missing"), (PART, f"{PART} is missing"), (DONE, f"{DONE} is missing")],
)
def test_a_missing_part_is_found(folder: Path, name: str, said: str) -> None:
    (folder / name).unlink()
    assert said in texts(findings(folder))


@pytest.mark.parametrize("name", ["plan.json", PART, DONE])
def test_a_cut_or_emptied_part_is_found(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for size in (len(whole) // 2, len(whole) - 3, 0):
        (folder / name).write_bytes(whole[:size])
        assert name in texts(findings(folder))


def test_parts_that_say_something_else_are_found(folder: Path) -> None:
    for name, change, said in (
        (DONE, lambda done: done | {"bytes": 1}, f"{DONE} and shards.parquet differ in bytes"),
        (DONE, lambda done: done | {"rows_sha256": "0"}, f"{DONE} is of other bytes of {PART}"),
        (DONE, lambda done: [], f"{DONE}: JSON of a list, want an object"),
        (DONE, lambda done: None, f"{DONE}: JSON of a NoneType, want an object"),
        (DONE, lambda done: {}, "differ"),
        ("plan.json", lambda plan: plan | {"config_digest": "0"}, "dataset.json differ in config_digest"),
        ("plan.json", lambda plan: plan | {"shards": {}}, "but no plan"),
        ("plan.json", lambda plan: plan | {"shards": {"train-000000": []}}, "has not the files of plan.json"),
        ("plan.json", lambda plan: plan | {"plan_digest": "0"}, "dataset.json differ in plan_digest"),
        ("plan.json", lambda plan: plan | {"shards": None}, "plan.json is not what octshard writes"),
        ("plan.json", lambda plan: [], "plan.json: JSON of a list, want an object"),
    ):
        whole = (folder / name).read_text()
        (folder / name).write_text(json.dumps(change(json.loads(whole))))  # type: ignore[no-untyped-call]
        assert said in texts(findings(folder))
        (folder / name).write_text(whole)
    assert findings(folder) == []


def test_a_part_with_another_row_under_a_sound_digest_is_found(folder: Path) -> None:
    part = tables.read_rows(str(folder / PART))
    key = part[0].key
    tables.write_rows(str(folder / PART), [dataclasses.replace(part[0], eye="?"), *part[1:]])
    redone(folder)
    (found,) = findings(folder)
    assert (found.shard, found.key) == (TAR, key)
    assert "eye '?'" in found.what


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_no_tar(folder: Path, kind: str, deep: bool) -> None:
    (folder / TAR).unlink()
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: os.symlink("/dev/zero", path)}
    make[kind](folder / TAR)
    (finding,) = findings(folder, deep)
    assert finding.shard == TAR
    assert finding.what.endswith("Is a directory" if kind == "folder" else "a pipe or a device, want a file")


@pytest.mark.parametrize("text", DAMAGED_JSON, ids=repr)
@pytest.mark.parametrize("name", ["plan.json", DONE])
def test_a_damaged_part_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="latin-1")
    assert f"{folder}/{name}: " in texts(findings(folder))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{folder}/{name}: a pipe" in texts(findings(folder))


def test_a_sample_that_claims_100_gb_is_found(folder: Path) -> None:
    size = [1000, 10000, 10000]
    frame = b"\x28\xb5\x2f\xfd\xe0" + (10**11).to_bytes(8, "little") + b"\x01\x00\x00"
    key = forge_slice(folder, lambda meta, _: (meta | {"shape": size}, frame))
    found = texts(findings(folder, deep=True))
    assert f"{key} {TAR} at 0: claims (1000, 10000, 10000) = 100000000000 voxels" in found
    assert "want at most 400000000 (max_output_voxels)" in found


def test_a_sample_that_unpacks_to_more_than_it_claims_is_found(folder: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(2**27))
    key = forge_slice(folder, lambda meta, _: (meta, bomb))
    tracemalloc.start()
    try:
        found = texts(findings(folder, deep=True))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert f"{key} holds {2**27} bytes, want " in found


def test_a_row_that_claims_100_gb_is_found(folder: Path) -> None:
    table = rows(folder)
    first = next(i for i, row in enumerate(table) if row.shard == TAR)
    table[first] = dataclasses.replace(table[first], shape_out=(1000, 10000, 10000), nbytes=10**11)
    found = texts(findings(with_rows(folder, table), deep=True))
    assert f"{table[first].key} claims (1000, 10000, 10000) = 100000000000 voxels" in found
    assert f"{table[first].key} the row has 100000000000 bytes, want at most" in found


def test_what_is_no_dataset_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        findings(tmp_path)


@pytest.mark.parametrize("name", ["samples.parquet", "shards.parquet"])
def test_a_missing_or_damaged_table_is_one_line(folder: Path, name: str) -> None:
    table = folder / name
    table.write_bytes(table.read_bytes()[:-20])
    for _ in range(2):
        with pytest.raises(OctshardError, match=name) as caught:
            findings(folder)
        assert "\n" not in str(caught.value)
        table.unlink(missing_ok=True)


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("name", ["samples.parquet", "shards.parquet"])
def test_a_flipped_bit_anywhere_in_a_table_is_found(folder: Path, name: str, parts: bool) -> None:
    if not parts:
        without_parts(folder)
    whole, rng = (folder / name).read_bytes(), rng_for("table", name)
    for place in rng.permutation(len(whole))[:300]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (folder / name).write_bytes(bytes(data))
        assert f"{name}: sha256" in noticed(folder)
    (folder / name).write_bytes(whole)
    assert noticed(folder) == ""


def test_a_flipped_bit_anywhere_in_a_part_is_found(folder: Path) -> None:
    whole, rng = (folder / PART).read_bytes(), rng_for("part")
    for place in rng.permutation(len(whole))[:100]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (folder / PART).write_bytes(bytes(data))
        assert PART in noticed(folder)


def test_tables_without_digests_are_told(folder: Path) -> None:
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in info.items() if k != "sha256"}))
    assert [f.what.split(";")[0] for f in findings(folder)] == [
        f"dataset.json has no sha256 of {name}" for name in ("samples.parquet", "shards.parquet")
    ]


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 0}'])
def test_a_dataset_json_that_is_not_ours_is_one_line(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_text(text)
    with pytest.raises(OctshardError) as caught:
        findings(folder)
    assert str(folder) in str(caught.value)


def test_another_store_is_walked_alike(folder: Path) -> None:
    there = f"memory://verify-{rng_for('store').integers(2**60)}"
    for path in folder.iterdir():
        store.write(store.join(there, path.name), path.read_bytes())
    assert verify.verify(there, True, lambda *_: None) == []
    data = bytearray((folder / TAR).read_bytes())
    data[700] ^= 1
    store.write(store.join(there, TAR), bytes(data))
    assert {f.key for f in verify.verify(there, False, lambda *_: None)} == {"", stored(folder)[0].key}


def noticed(folder: Path) -> str:
    """The error or the findings; nothing for a sound folder."""
    try:
        return "".join(f"{one.what}\n" for one in findings(folder))
    except OctshardError as error:
        return str(error)


def with_rows(folder: Path, table: list[SampleRow]) -> Path:
    """The folder with another samples.parquet, which dataset.json vouches for."""
    tables.write_rows(str(folder / "samples.parquet"), table)
    return sealed(folder)


def sealed(folder: Path) -> Path:
    """The folder, with the digests of its tables as they are."""
    tables.write_info(str(folder / "dataset.json"), tables.read_info(str(folder)))
    return folder


def without_parts(folder: Path) -> Path:
    for path in folder.iterdir():
        if path.name == "plan.json" or path.name.endswith((".rows.parquet", ".done.json")):
            path.unlink()
    return folder


def redone(folder: Path) -> None:
    """done.json with the digest of rows.parquet as it is."""
    done = json.loads((folder / DONE).read_text())
    done["rows_sha256"] = hashlib.sha256((folder / PART).read_bytes()).hexdigest()
    (folder / DONE).write_text(json.dumps(done))


def forge_slice(folder: Path, change: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]) -> str:
    """As `forge`, of the two members of a sample, which `shard.pack` need not be able to make."""

    def packed(key: str, meta: dict[str, Any], voxels_DHW: np.ndarray, level: int) -> bytes:
        meta = {**meta, "shape": list(voxels_DHW.shape), "dtype": str(voxels_DHW.dtype)}
        meta, frame = change(meta, zstandard.ZstdCompressor(level).compress(voxels_DHW.tobytes()))
        return shard._member(key + shard.META, json.dumps(meta).encode()) + shard._member(
            key + shard.VOXELS, frame
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "pack", packed)
        return forge(folder, lambda meta, voxels: (meta, voxels))


def forge(
    folder: Path, change: Callable[[dict[str, Any], np.ndarray], tuple[dict[str, Any], np.ndarray]]
) -> str:
    """Changes the first train sample, and makes every size and checksum of bytes say that it is right."""
    first, *others = stored(folder)
    whole = (folder / TAR).read_bytes()
    slices = [whole[row.offset : row.offset + row.nbytes] for row in (first, *others)]
    sample = shard.unpack(slices[0], first.key, first.xxh3, "first")
    meta, voxels = change(dict(sample.meta), sample.voxels_DHW)
    slices[0] = shard.pack(first.key, meta, voxels, 3)
    with open(folder / TAR, "wb") as file:
        sums = shard.write(file, slices)
    placed = {
        row.key: {"offset": place, "nbytes": len(data), "xxh3": checksum.xxh3(data)}
        for row, data, place in zip((first, *others), slices, sums.offsets, strict=True)
    }
    for name in ("samples.parquet", PART):
        table = tables.read_rows(str(folder / name))
        tables.write_rows(
            str(folder / name), [dataclasses.replace(r, **placed.get(r.key, {})) for r in table]
        )
    sizes = {"bytes": sums.bytes, "sha256": sums.sha256}
    infos = tables.read_shards(str(folder / "shards.parquet"))
    tables.write_shards(
        str(folder / "shards.parquet"),
        [dataclasses.replace(info, **sizes) if info.name == TAR else info for info in infos],
    )
    (folder / DONE).write_text(json.dumps(json.loads((folder / DONE).read_text()) | sizes))
    redone(sealed(folder))
    return first.key

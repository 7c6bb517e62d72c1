"""Whatever is changed behind the tables' back is found and named; a sound folder gives nothing."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from made_release import changed, sound, unpacked

from octshard import manifest
from octshard.config import PrepConfig
from octshard.errors import OctshardError, UsageError
from octshard.manifest import Row
from octshard.prep import engine
from octshard.prep.verify import Finding, verify

TAR = "train-000000.tar"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of two train samples, one val sample and one refusal."""
    files = [sound(1), sound(2), sound(3, "4001"), changed(4, lambda data: None)]
    root = unpacked(tmp_path / "release", files, {"1001": "train", "4001": "val"})
    cfg = PrepConfig(
        src=str(root), dst=str(tmp_path / "shards"), target_spacing=[0.08, 0.04, 0.04], workers=1
    )
    engine.shard(cfg, ["topcon_triton"], lambda progress: None)
    return tmp_path / "shards" / "topcon_triton"


def findings(folder: Path) -> list[Finding]:
    return verify(str(folder), lambda name: None)


def rows(folder: Path) -> list[Row]:
    return manifest.read_rows(str(folder / "samples.parquet"))


def stored(folder: Path) -> list[Row]:
    return sorted((r for r in rows(folder) if r.shard == TAR), key=lambda r: r.offset or 0)


def test_a_sound_folder_gives_nothing_and_tells_each_shard(folder: Path) -> None:
    seen: list[str] = []
    assert verify(str(folder), seen.append) == []
    assert seen == [TAR, "val-000000.tar"]


def test_any_flipped_byte_of_a_sample_is_found_and_named(folder: Path) -> None:
    whole = (folder / TAR).read_bytes()
    first = stored(folder)[0]
    for place in range(0, len(whole), 97):
        data = bytearray(whole)
        data[place] ^= 1
        (folder / TAR).write_bytes(bytes(data))
        found = findings(folder)
        assert {finding.shard for finding in found} == {TAR}
        if place < (first.nbytes or 0):
            assert first.key in {finding.key for finding in found}


def test_a_cut_at_every_block_is_found(folder: Path) -> None:
    whole = (folder / TAR).read_bytes()
    for size in range(0, len(whole), 512):
        (folder / TAR).write_bytes(whole[:size])
        assert findings(folder)


def test_a_missing_shard_is_found(folder: Path) -> None:
    (folder / TAR).unlink()
    (finding,) = findings(folder)
    assert (finding.shard, finding.key) == (TAR, "")
    assert "missing" in finding.what


def test_a_sample_without_a_row_is_found(folder: Path) -> None:
    kept = [row for row in rows(folder) if row.key != stored(folder)[0].key]
    manifest.write_rows(str(folder / "samples.parquet"), kept)
    assert any("a sample without a row" in finding.what for finding in findings(folder))


def test_a_row_without_a_sample_is_found(folder: Path) -> None:
    last = stored(folder)[-1]
    ghost = dataclasses.replace(last, key="ghost", offset=(last.offset or 0) + (last.nbytes or 0))
    manifest.write_rows(str(folder / "samples.parquet"), [*rows(folder), ghost])
    assert "ghost" in {finding.key for finding in findings(folder)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "00"),
        ("xxh3", "00"),
        ("key", "other"),
        ("shape_out", (1, 2, 3)),
        ("offset", None),
        ("shard", "x.tar"),
    ],
)
def test_a_row_that_says_something_else_is_found(folder: Path, field: str, value: Any) -> None:
    wrong = stored(folder)[0]
    changed_rows = [dataclasses.replace(r, **{field: value}) if r == wrong else r for r in rows(folder)]
    manifest.write_rows(str(folder / "samples.parquet"), changed_rows)
    assert findings(folder)


def test_a_key_twice_a_stray_tar_and_a_crossing_participant_are_found(folder: Path) -> None:
    table = rows(folder)
    (folder / "train-000009.tar").write_bytes(b"")
    crossing = dataclasses.replace(
        table[-1], split="test" if table[-1].split != "test" else "val", status="refused"
    )
    manifest.write_rows(str(folder / "samples.parquet"), [*table, stored(folder)[0], crossing])
    text = " ".join(finding.what for finding in findings(folder))
    assert "2 rows store this key" in text
    assert "does not list" in text
    assert "participant" in text


def test_what_is_no_dataset_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        findings(tmp_path)


def test_a_lost_refused_row_is_found_by_the_counts(folder: Path) -> None:
    manifest.write_rows(str(folder / "samples.parquet"), [r for r in rows(folder) if r.status == "ok"])
    (finding,) = findings(folder)
    assert "missing_file" in finding.what
    assert "dataset.json" in finding.what


@pytest.mark.parametrize("name", ["samples.parquet", "shards.parquet"])
def test_a_missing_or_damaged_table_is_one_line(folder: Path, name: str) -> None:
    table = folder / name
    table.write_bytes(table.read_bytes()[:-20])
    for _ in range(2):
        with pytest.raises(OctshardError, match=name) as caught:
            findings(folder)
        assert "\n" not in str(caught.value)
        table.unlink(missing_ok=True)


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 0}'])
def test_a_dataset_json_that_is_not_ours_is_one_line(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_text(text)
    with pytest.raises(OctshardError) as caught:
        findings(folder)
    assert str(folder) in str(caught.value)

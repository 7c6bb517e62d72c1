"""A feature table is filled in one pass, part by part; whatever interrupts it, the same bytes come out."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard.errors import OctshardError
from octshard.eval import extraction, feature_table, token_files
from octshard.eval.extraction import ScanStream, extract, fill
from octshard.eval.feature_table import FeatureInfo, Features, Scan
from octshard.eval.features import FeatureRequest, FeatureSource, TokenSource, digest_of
from octshard.eval.token_files import ScanTokens
from octshard.storage import tensors
from octshard.storage.errors import StoreError
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition

KEYS = ("a", "b", "c", "d", "e")


def scans(keys: tuple[str, ...], sha256: str = "1") -> FeatureRequest:
    return FeatureRequest(tuple(Scan(key, f"p{key}", sha256=sha256) for key in keys))


ASKED = scans(KEYS)


class Killed(BaseException):
    """As SIGKILL: nothing catches it, nothing is tidied."""


def batch(keys: tuple[str, ...], count: int) -> Batch:
    ones = torch.ones(len(keys))
    voxels = torch.zeros((len(keys), 1, 1, 1), dtype=torch.uint8)
    return Batch(
        voxels, ones, ones, torch.ones((len(keys), 3), dtype=int), keys, (0,) * len(keys), count,
        StreamPosition(0, 0), (), keys,
    )  # fmt: skip


class Stream:
    """Two scans in a batch, the last one filled up with a repeat; it may be cut off before a row."""

    def __init__(self, killed_at: int = 99) -> None:
        self.rows: list[int] = []
        self.stream, self._killed_at = ScanStream(2, self.batches), killed_at

    def batches(self, first: int) -> Iterator[Batch]:
        assert first % 2 == 0
        for row in range(first, len(KEYS), 2):
            if row >= self._killed_at:
                raise Killed
            keys = KEYS[row : row + 2]
            self.rows.append(row)
            yield batch(keys if len(keys) == 2 else keys * 2, len(keys))


def never(first: int) -> Iterator[Batch]:
    raise AssertionError("the shards were read although everything was kept")


NEVER = ScanStream(2, never)


class Counting:
    """A source that counts how many batches it was asked for. Its values follow from the whole batch, so that
    other batches give others.
    """

    def __init__(self, digest: str = "1", name: str = "x") -> None:
        self.calls = 0
        self.source = FeatureSource(name, digest, self.values_of)

    def values_of(self, examples: Batch) -> np.ndarray:
        self.calls += 1
        return np.array([[ord(key), sum(map(ord, examples.keys))] for key in examples.keys], np.float32)


def tokens_of(examples: Batch) -> Iterator[ScanTokens]:
    for key in examples.keys[: examples.count]:
        count = ord(key) - ord("a") + 1
        places = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
        yield ScanTokens(np.full((count, 4), ord(key) + sum(map(ord, examples.keys)), np.float16), places)


TOKENS = TokenSource("t", "t", tokens_of, FeatureInfo("t", "last", "tokens"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != extraction.LOCK
    }


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nothing interrupted."""
    folder = tmp_path / "whole"
    fill([Counting().source, Counting("2", "y").source, TOKENS], ASKED, str(folder), Stream().stream)
    return files(folder)


def test_each_row_is_that_of_its_scan(tmp_path):
    extracted = extract([Counting().source], ASKED, str(tmp_path), Stream().stream)["x"]
    assert extracted.keys == KEYS
    np.testing.assert_array_equal(extracted.values_NF[:, 0], [ord(key) for key in KEYS])
    assert extracted.values_NF.dtype == np.float32


def test_what_is_kept_is_not_computed_again(tmp_path):
    first, second, other = Counting(), Counting(), Counting("2", name="y")
    computed = extract([first.source], ASKED, str(tmp_path), Stream().stream)["x"]
    stored = extract([second.source], ASKED, str(tmp_path), NEVER)["x"]
    assert (first.calls, second.calls) == (3, 0)
    np.testing.assert_array_equal(computed.values_NF, stored.values_NF)
    assert computed.digest == stored.digest
    both = extract([second.source, other.source], ASKED, str(tmp_path), Stream().stream)
    assert (second.calls, other.calls) == (0, 3)
    assert list(both) == ["x", "y"]


def test_the_same_features_under_another_name_are_used(tmp_path):
    extract([Counting().source], ASKED, str(tmp_path), Stream().stream)
    renamed = extract([Counting(name="y").source], ASKED, str(tmp_path), NEVER)["y"]
    assert renamed.info == FeatureInfo("y")
    twins = [Counting("2", "a").source, Counting("2", "b").source]
    assert list(extract(twins, ASKED, str(tmp_path), Stream().stream)) == ["a", "b"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "shape", "digest", "dtype", "nan", "text", "empty"])
def test_a_stale_or_damaged_file_is_rejected_and_made_again(tmp_path, damage):
    computed = extract([Counting().source], ASKED, str(tmp_path), Stream().stream)["x"]
    (path,) = tmp_path.glob("*.safetensors")
    data, values_NF, digest = path.read_bytes(), computed.values_NF.copy(), computed.digest
    at = data.index(values_NF.tobytes())
    broken = {
        "cut": data[: len(data) // 2],
        "flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "text": b"hello",
        "empty": b"",
    }
    if damage in broken:
        path.write_bytes(broken[damage])
    else:
        values_NF = values_NF[:-1] if damage == "shape" else values_NF
        values_NF = values_NF.astype(np.float64) if damage == "dtype" else values_NF
        if damage == "nan":
            values_NF[0, 0] = np.nan
        other = Features(KEYS, values_NF, "0" * 16 if damage == "digest" else digest)
        feature_table.write_features(str(path), other, ASKED.digest)
    assert feature_table.read_features(str(path), KEYS, digest) is None
    again = Counting()
    recomputed = extract([again.source], ASKED, str(tmp_path), Stream().stream)["x"]
    assert again.calls == 3
    np.testing.assert_array_equal(recomputed.values_NF, computed.values_NF)
    assert path.read_bytes() == data


def test_damaged_tokens_are_made_again_from_there_on(tmp_path, whole):
    folder = tmp_path / "whole"
    (path,) = folder.glob("*.tokens/00000003.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    stream = Stream()
    fill([TOKENS], ASKED, str(folder), stream.stream)
    assert stream.rows == [2, 4]
    assert files(folder) == whole


@pytest.mark.parametrize("killed_at", [0, 2, 4])
@pytest.mark.parametrize("part_s", [0.0, 1e9])
def test_a_killed_pass_goes_on_to_the_same_bytes(tmp_path, whole, monkeypatch, killed_at, part_s):
    monkeypatch.setattr(extraction, "PART_S", part_s)
    sources, folder = [Counting().source, Counting("2", "y").source, TOKENS], tmp_path / "killed"
    with pytest.raises(Killed):
        fill(sources, ASKED, str(folder), Stream(killed_at).stream)
    stream = Stream()
    fill(sources, ASKED, str(folder), stream.stream)
    assert files(folder) == whole
    assert stream.rows == list(range(0 if part_s else killed_at, 5, 2))


def test_a_kill_at_any_write_goes_on_to_the_same_bytes(tmp_path, whole, monkeypatch):
    """Each write in turn is the last one of a run, before or after it; the next one ends what is left."""
    monkeypatch.setattr(extraction, "PART_S", 0.0)
    sources, real, writes = [Counting().source, Counting("2", "y").source, TOKENS], tensors.write, 0

    def killing(allowed: int, *, after: bool):
        def write(*arguments):
            nonlocal writes
            writes += 1
            if writes > allowed:
                if after:
                    real(*arguments)
                raise Killed
            real(*arguments)

        return write

    total = 2 * 3 + 5 + 2  # parts, tokens, tables
    for allowed in range(total):
        folder, writes = tmp_path / f"killed-{allowed}", 0
        monkeypatch.setattr(tensors, "write", killing(allowed, after=allowed % 2 == 0))
        with pytest.raises(Killed):
            fill(sources, ASKED, str(folder), Stream().stream)
        monkeypatch.setattr(tensors, "write", real)
        fill(sources, ASKED, str(folder), Stream().stream)
        assert files(folder) == whole, allowed


def test_another_batch_size_goes_on_too(tmp_path, monkeypatch):
    """Rows are those of their scans, though sums over batches may differ."""
    monkeypatch.setattr(extraction, "PART_S", 0.0)
    with pytest.raises(Killed):
        fill([Counting().source], ASKED, str(tmp_path), Stream(4).stream)

    def batches(first: int) -> Iterator[Batch]:
        assert first == 3
        yield batch(KEYS[3:] + KEYS[:1], 2)

    extracted = extract([Counting().source], ASKED, str(tmp_path), ScanStream(3, batches))["x"]
    np.testing.assert_array_equal(extracted.values_NF[:, 0], [ord(key) for key in KEYS])


def test_a_damaged_part_is_made_again(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(extraction, "PART_S", 0.0)
    sources, folder = [Counting().source, Counting("2", "y").source, TOKENS], tmp_path / "killed"
    with pytest.raises(Killed):
        fill(sources, ASKED, str(folder), Stream(4).stream)
    part = sorted(folder.glob("parts/*-00000002.safetensors"))[0]
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    stream = Stream()
    fill(sources, ASKED, str(folder), stream.stream)
    assert stream.rows == [2, 4]
    assert files(folder) == whole


def test_a_full_disk_is_one_line_and_costs_nothing(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(extraction, "PART_S", 0.0)
    sources, folder = [Counting().source, Counting("2", "y").source, TOKENS], tmp_path / "full"
    real, left = os.fsync, iter(range(9))

    def fsync(handle: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="the disk is full; free some space") as error:
        fill(sources, ASKED, str(folder), Stream().stream)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(os, "fsync", real)
    fill(sources, ASKED, str(folder), Stream().stream)
    assert files(folder) == whole


def test_tokens_are_read_and_padded(tmp_path, whole):
    folder = feature_table.read(str(tmp_path / "whole")).find_tokens("t")
    scan = folder.read(2)
    assert scan.z_VF.shape == (3, 4)
    assert scan.place_V3.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    z_BVF, place_BV3, padding_BV = token_files.padded([folder.read(0), scan])
    assert padding_BV.tolist() == [[False, True, True], [False] * 3]
    assert not z_BVF[0, 1:].any()
    np.testing.assert_array_equal(z_BVF[1], scan.z_VF)
    np.testing.assert_array_equal(place_BV3[1], scan.place_V3)
    (path,) = (tmp_path / "whole").glob("*.tokens/00000002.safetensors")
    path.write_bytes(b"")
    with pytest.raises(OctshardError, match="missing or damaged; run the same octshard eval embed again"):
        folder.read(2)


def test_tokens_that_are_not_all_there_are_no_part_of_the_table(tmp_path, whole):
    (path,) = (tmp_path / "whole").glob("*.tokens/00000004.safetensors")
    path.unlink()
    assert {info.name for info in feature_table.read(str(tmp_path / "whole")).infos.values()} == {"x", "y"}


def test_a_pass_that_ends_too_early_or_in_another_order_is_an_error(tmp_path):
    with pytest.raises(OctshardError, match="1 scans never came, the first is e"):
        extract([Counting().source], ASKED, str(tmp_path), ScanStream(4, lambda _: [batch(KEYS[:4], 4)]))
    turned = ScanStream(2, lambda _: [batch(("b", "a"), 2)])
    with pytest.raises(OctshardError, match="scan b came, a is due"):
        extract([Counting("3").source], ASKED, str(tmp_path), turned)
    assert not list(tmp_path.glob("*.safetensors"))


def test_numbers_that_are_not_finite_name_the_scan(tmp_path):
    broken = FeatureSource("x", "1", lambda each: np.full((len(each.keys), 2), np.nan, np.float32))
    with pytest.raises(OctshardError, match="scan a gave nan or inf"):
        extract([broken], ASKED, str(tmp_path), Stream().stream)

    def large(examples: Batch) -> Iterator[ScanTokens]:
        with np.errstate(over="ignore"):
            yield ScanTokens(np.full((1, 2), 1e6).astype(np.float16), np.zeros((1, 3), np.int32))

    tokens = TokenSource("t", "2", large, FeatureInfo("t", "4", "tokens"))
    with pytest.raises(OctshardError, match=r"scan a gave nan or inf.*token_type=fp32"):
        fill([tokens], ASKED, str(tmp_path), Stream().stream)


def test_a_scan_listed_twice_is_an_error(tmp_path):
    with pytest.raises(OctshardError, match="scan a is listed twice"):
        extract([Counting().source], scans(("a", "b", "a")), str(tmp_path), Stream().stream)


def test_two_runs_at_once_are_one_after_the_other(tmp_path):
    """While one computes, another that needs the same is told so; one that needs nothing reads."""
    done = Counting("done", "z")
    fill([done.source], ASKED, str(tmp_path), Stream().stream)
    stream = Stream()

    def batches(first: int) -> Iterator[Batch]:
        assert extract([done.source], ASKED, str(tmp_path), NEVER)["z"].keys == KEYS
        with pytest.raises(OctshardError, match="lock"):
            fill([Counting().source], ASKED, str(tmp_path), NEVER)
        yield from stream.batches(first)

    fill([Counting().source], ASKED, str(tmp_path), ScanStream(2, batches))
    assert digest_of(done.source, ASKED) in feature_table.read(str(tmp_path)).infos

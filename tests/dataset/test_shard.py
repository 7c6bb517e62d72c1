"""The tar format goes round, and no damaged byte passes."""

import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import webdataset
import zstandard

from octshard.dataset import shard
from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError


def voxels_of(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (3, 5, 7 + i), dtype=np.uint8)


def archive(n: int = 3) -> tuple[bytes, shard.ShardSums, list[bytes]]:
    slices = [shard.pack(f"key-{i}", {"mean": i / 2}, voxels_of(i), 3) for i in range(n)]
    file = io.BytesIO()
    sums = shard.write(file, slices)
    return file.getvalue(), sums, slices


def test_round_trip() -> None:
    data, sums, slices = archive()
    assert sums.bytes == len(data)
    for i, (offset, piece) in enumerate(zip(sums.offsets, slices, strict=True)):
        assert data[offset : offset + len(piece)] == piece
        sample = shard.unpack(piece, f"key-{i}", shard.slice_digest(piece), "here")
        np.testing.assert_array_equal(sample.voxels_DHW, voxels_of(i))
        assert sample.meta["mean"] == i / 2


def test_the_same_samples_give_the_same_bytes() -> None:
    assert archive()[0] == archive()[0]


def test_scan_walks_a_whole_tar() -> None:
    data, sums, slices = archive()
    scanned = list(shard.scan(io.BytesIO(data), "tar"))
    assert [offset for offset, _, _ in scanned] == list(sums.offsets)
    assert [piece for _, piece, _ in scanned] == slices


def test_a_cut_at_any_block_is_an_error() -> None:
    data, _, _ = archive(2)
    for cut in range(0, len(data), 512):
        with pytest.raises(BadSample, match="tar at"):
            list(shard.scan(io.BytesIO(data[:cut]), "tar"))


def test_any_flipped_byte_is_an_error() -> None:
    piece = archive(1)[2][0]
    digest = shard.slice_digest(piece)
    for at in range(0, len(piece), 7):
        damaged = bytearray(piece)
        damaged[at] ^= 1
        with pytest.raises(BadSample, match="shard 3, offset 0"):
            shard.unpack(bytes(damaged), "key-0", digest, "shard 3, offset 0")


@pytest.mark.parametrize(
    ("place", "field"),
    [(156, b"1"), (156, b"2"), (156, b"5"), (156, b"x"), (156, b"S"), (124, b"\xff" * 12)],
    ids=["hard link", "link", "folder", "pax", "sparse", "negative size"],
)
def test_a_member_that_is_no_file_is_an_error(place: int, field: bytes) -> None:
    """Its header is whole, checksum and all; tarfile would follow the link or skip the folder."""
    piece = bytearray(archive(1)[2][0])
    piece[place : place + len(field)] = field
    piece[148:156] = b" " * 8
    piece[148:156] = b"%06o\0 " % sum(piece[:512])
    with pytest.raises(BadSample, match="want a file"):
        shard.unpack(bytes(piece), "key-0", shard.slice_digest(bytes(piece)), "here")


def test_another_key_is_an_error() -> None:
    piece = archive(1)[2][0]
    with pytest.raises(BadSample, match=r"holds key-0 .* want key-9"):
        shard.unpack(piece, "key-9", shard.slice_digest(piece), "here")


def test_the_frame_checksum_is_there_and_checked() -> None:
    """Even with a table that agrees with the damage, a flipped voxel byte does not pass."""
    piece = bytearray(archive(1)[2][0])
    with tarfile.open(fileobj=io.BytesIO(bytes(piece) + bytes(1024))) as tar:
        info = tar.getmember("key-0.vol.zst")
    piece[info.offset_data + info.size - 9] ^= 1
    with pytest.raises(BadSample, match="does not decode"):
        shard.unpack(bytes(piece), "key-0", shard.slice_digest(bytes(piece)), "here")


def rebuilt(meta: dict[str, object] | bytes, frame: bytes) -> tuple[bytes, str]:
    """A slice of any two members, and its digest, as a table that agrees with it would give it."""
    text = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    piece = shard._member("key.json", text) + shard._member("key.vol.zst", frame)
    return piece, shard.slice_digest(piece)


def bomb(size: int) -> bytes:
    """A small frame that truly unpacks to `size` zeros."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(bytes(size))


SMALL = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(100))


@pytest.mark.parametrize(
    ("shape", "dtype", "frame"),
    [
        ([1000, 10000, 10000], "uint8", SMALL),  # 100 GB of a frame of 100 bytes
        ([1, 10, 10], "uint16", SMALL),
        ([5, 10, 10], "uint8", SMALL),
        ([1, 1, 1], "uint8", bomb(2**26)),
        ([10**400, 1, 1], "uint8", SMALL),
        ([-1, -10, 10], "uint8", SMALL),
        ([0, 10, 10], "uint8", SMALL),
        ([True, 10, 10], "uint8", SMALL),
        ([1, 10], "uint8", SMALL),
        ("110", "uint8", SMALL),
        (None, "uint8", SMALL),
        ([1, 10, 10], "O", SMALL),
        ([1, 10, 10], "V100000000000", SMALL),
        ([1, 10, 10], ["uint8"], SMALL),
        ([1, 10, 10], None, SMALL),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_claim_takes_no_memory_before_it_is_checked(shape: object, dtype: object, frame: bytes) -> None:
    piece, digest = rebuilt({"shape": shape, "dtype": dtype}, frame)
    tracemalloc.start()
    try:
        with pytest.raises(BadSample, match=r"^here: key ") as caught:
            shard.unpack(piece, "key", digest, "here")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 400


def test_a_frame_that_claims_what_it_could_never_hold_takes_no_memory() -> None:
    """The header of a frame of 100 GB: content size in 8 bytes, then one empty last block."""
    size = 1000 * 10000 * 10000
    frame = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"
    assert zstandard.get_frame_parameters(frame).content_size == size
    piece, digest = rebuilt({"shape": [1000, 10000, 10000], "dtype": "uint8"}, frame)
    with pytest.raises(BadSample, match=f"holds {size} bytes, want {size} .* from a frame of 16"):
        shard.unpack(piece, "key", digest, "here")


@pytest.mark.parametrize("text", [b"", b"null", b"[]", bytes(99), b"[" * 100_000, b"{"], ids=repr)
def test_a_json_that_is_no_object_is_a_bad_sample(text: bytes) -> None:
    piece, digest = rebuilt(text, SMALL)
    with pytest.raises(BadSample, match=r"^here: key\.json: "):
        shard.open_slice(piece, "key", digest, "here")


def test_a_cut_or_altered_checksum_of_the_frame_is_seen() -> None:
    """unpack_into never sees a cut frame: the digest of the slice ends with its last byte."""
    frame, voxels_DHW = bomb(600), np.empty((6, 10, 10), np.uint8)
    meta = {"shape": [6, 10, 10], "dtype": "uint8"}
    _, digest = rebuilt(meta, frame)
    for cut in range(1, 5):
        with pytest.raises(BadSample, match="xxh3"):
            shard.open_slice(rebuilt(meta, frame[:-cut] + bytes(cut))[0], "key", digest, "here")
        altered = bytearray(frame)
        altered[-cut] ^= 1
        packed = shard.open_slice(*_with_key(*rebuilt(meta, bytes(altered))), "here")
        with pytest.raises(BadSample, match="checksum"):
            packed.unpack_into(voxels_DHW)


def _with_key(piece: bytes, digest: str) -> tuple[bytes, str, str]:
    return piece, "key", digest


def test_tarfile_and_webdataset_read_it(tmp_path: Path) -> None:
    data, _, _ = archive()
    path = tmp_path / "train-000000.tar"
    path.write_bytes(data)
    with tarfile.open(path) as tar:
        assert [m.mtime for m in tar] == [0] * 6
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [s["__key__"] for s in samples] == ["key-0", "key-1", "key-2"]
    assert set(samples[0]) >= {"json", "vol.zst"}


def test_long_names_are_refused() -> None:
    with pytest.raises(OctshardError, match="want at most 100"):
        shard.pack("k" * 120, {}, voxels_of(0), 3)

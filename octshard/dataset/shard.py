"""The shard, both directions: a plain tar of samples, `<key>.json` then `<key>.vol.zst`.

The same samples give the same bytes: mtime 0, no owner, fixed member order, one zstd level. Every read is
verified: xxh3 of the slice, both names, sizes, the zstd frame checksum. The end of a file is not trusted.
"""

import base64
import hashlib
import json
import math
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import zstandard

from octshard.errors import OctshardError
from octshard.imaging.volume import Shape, product
from octshard.storage import checksum, json_object

BLOCK = 512  # tar rounds every header and member up to this
META, VOXELS = ".json", ".vol.zst"
AXIS = 2**31  # voxels along one axis; so many are damage
EXPANSION = 2**15  # zstd's limit: a block of 4 bytes stands for 128 KB at most
ARRAY_LEVEL = 3  # zstd, of a small array in a sample's JSON
# Speckle rarely repeats: matches shorter than 7 voxels cost more than they save, and distant ones are rare.
# On real OCT, level 3 with these values packs 1 % smaller and 3 times as fast, and unpacks 1.3 times as fast.
SPECKLE = {"min_match": 7, "window_log": 17, "hash_log": 14, "chain_log": 14}


class BadSample(OctshardError):
    """A stored sample is damaged; the message names shard, offset and key."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One stored scan: voxels_DHW (uint8 or uint16, read-only) and the content of its JSON."""

    key: str
    meta: Mapping[str, Any]
    voxels_DHW: np.ndarray


@dataclass(frozen=True)
class ShardSums:
    """The size of a written tar, its sha256 (hex) and the offset of each sample."""

    bytes: int
    sha256: str
    offsets: tuple[int, ...]


def pack(key: str, meta: Mapping[str, Any], voxels_DHW: np.ndarray, zstd_level: int) -> bytes:
    """The tar bytes of one sample, a multiple of 512: JSON, then the C-order voxels as one zstd frame."""
    meta = {**meta, "key": key, "shape": list(voxels_DHW.shape), "dtype": str(voxels_DHW.dtype)}
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    settings = zstandard.ZstdCompressionParameters.from_level(
        zstd_level, **SPECKLE, write_checksum=True, write_content_size=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=settings)
    frame = compressor.compress(np.ascontiguousarray(voxels_DHW).data)
    return _member(key + META, text) + _member(key + VOXELS, frame)


def write(file: BinaryIO, slices: Iterable[bytes]) -> ShardSums:
    """Writes a whole tar: the slices in order, then the end of archive (two zero blocks)."""
    digest, offset, offsets = hashlib.sha256(), 0, []
    for sample_slice in slices:
        offsets.append(offset)
        file.write(sample_slice)
        digest.update(sample_slice)
        offset += len(sample_slice)
    end = bytes(2 * BLOCK)
    file.write(end)
    digest.update(end)
    return ShardSums(offset + len(end), digest.hexdigest(), tuple(offsets))


def slice_digest(data: bytes | memoryview) -> str:
    """xxh3 (64 bit, hex) of a sample's tar slice, as samples.parquet records it and every read checks it."""
    return checksum.xxh3(data)


@dataclass(frozen=True, eq=False)
class PackedSample:
    """One tar slice, verified except for its zstd frame, which takes the time. location: for error texts.

    The xxh3 that was checked covers the frame to its last byte.
    """

    key: str
    meta: Mapping[str, Any]
    shape: Shape
    dtype: np.dtype[Any]
    frame: memoryview
    location: str

    @property
    def voxels(self) -> int:
        """How many it claims to hold."""
        return product(self.shape)

    def number(self, name: str) -> float:
        """A number of its JSON; BadSample if that has none of this name."""
        value = self.meta.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise BadSample(f"{self.location}: {self.key} has {name} = {value!r:.99}, want a number")
        return float(value)

    def unpack(self) -> Sample:
        """Decompresses the whole frame; BadSample if it is cut, also where no xxh3 was checked."""
        size = self.voxels * self.dtype.itemsize
        try:
            content_size = zstandard.get_frame_parameters(self.frame).content_size
            if content_size != size or size > len(self.frame) * EXPANSION:
                raise BadSample(
                    f"{self.location}: {self.key} holds {content_size} bytes, want {size} for {self.shape} "
                    f"from a frame of {len(self.frame)}"
                )
            raw = zstandard.ZstdDecompressor().decompress(self.frame, max_output_size=size)
            voxels_DHW = np.frombuffer(raw, self.dtype).reshape(self.shape)
        except (ValueError, zstandard.ZstdError) as error:
            raise BadSample(f"{self.location}: {self.key} does not decode: {error}") from error
        except MemoryError:
            raise BadSample(f"{self.location}: {self.key} claims {size} bytes, more than there is") from None
        return Sample(self.key, self.meta, voxels_DHW)

    def unpack_into(self, voxels_DHW: np.ndarray) -> None:
        """Decompresses into `voxels_DHW` without another copy; ValueError if its shape or dtype differs."""
        target = voxels_DHW.data.cast("B")
        if (voxels_DHW.shape, voxels_DHW.dtype) != (self.shape, self.dtype):
            raise ValueError(f"{voxels_DHW.dtype}{voxels_DHW.shape}, want {self.dtype}{self.shape}")
        try:
            content_size = zstandard.get_frame_parameters(self.frame).content_size
            # a new object for each call: they must not be shared between threads
            unpacked = zstandard.ZstdDecompressor().stream_reader(self.frame).readinto(target)
        except zstandard.ZstdError as error:
            raise BadSample(f"{self.location}: {self.key} does not decode: {error}") from error
        if content_size != len(target) or unpacked != content_size:
            raise BadSample(
                f"{self.location}: {self.key} holds {content_size} bytes, want {len(target)} for {self.shape}"
            )


def open_slice(data: bytes | memoryview, key: str, xxh3: str, location: str) -> PackedSample:
    """The sample in one tar slice, verified against `key` and `xxh3`; BadSample names `location`."""
    digest = slice_digest(data)
    if digest != xxh3:
        raise BadSample(
            f"{location}: xxh3 {digest}, want {xxh3}: the stored bytes have changed; run octshard prep verify"
        )
    packed, size = _parse(data, location)
    if packed.key != key or size != len(data):
        raise BadSample(f"{location}: holds {packed.key} in {size} bytes, want {key} in {len(data)}")
    return packed


def begins(block: bytes, key: str) -> bool:
    """True if the first BLOCK bytes of a slice are those of the sample `key`."""
    try:
        return _header(block, key).name == key + META
    except BadSample:
        return False


def unpack(data: bytes | memoryview, key: str, xxh3: str, location: str) -> Sample:
    """As `open_slice`, with the voxels decompressed."""
    return open_slice(data, key, xxh3, location).unpack()


def array_text(array: np.ndarray) -> str:
    """An array for a sample's JSON: its C-order bytes as a zstd frame in base64."""
    compressor = zstandard.ZstdCompressor(level=ARRAY_LEVEL, write_content_size=True)
    return base64.b64encode(compressor.compress(np.ascontiguousarray(array).data)).decode()


def array_from(text: object, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array of `array_text`; ValueError if the text is no such array of that shape and dtype."""
    if not isinstance(text, str):
        raise ValueError(f"a {type(text).__name__}, want text")
    frame, size = base64.b64decode(text, validate=True), product(shape) * np.dtype(dtype).itemsize
    try:
        content_size = zstandard.get_frame_parameters(frame).content_size
        if content_size != size or size > len(frame) * EXPANSION:
            raise ValueError(f"{content_size} bytes from a frame of {len(frame)}, want {size}")
        raw = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(raw, dtype).reshape(shape)


def unpack_members(meta: Mapping[str, Any], frame: bytes, location: str) -> np.ndarray:
    """Voxels (D, H, W), writable, of the two members of a sample that another reader of the tar took apart.

    Only the size and the checksum of the zstd frame are verified, for there is no table here.
    """
    packed = _packed(str(meta["key"]), meta, memoryview(frame), location)
    return packed.unpack().voxels_DHW.copy()


def scan(file: BinaryIO, location: str) -> Iterator[tuple[int, bytes, Sample]]:
    """(offset, slice, sample) of every sample of a tar, in order; BadSample if it is cut anywhere."""
    offset = 0
    while True:
        header = file.read(BLOCK)
        if header == bytes(BLOCK):
            if file.read(BLOCK) != bytes(BLOCK) or file.read(1):
                raise BadSample(
                    f"{location} at {offset}: end of archive is not two zero blocks and then nothing"
                )
            return
        position = f"{location} at {offset}"
        json_size = _header(header, position).size
        remainder = file.read(_round_up(json_size) + BLOCK)
        if len(remainder) < _round_up(json_size) + BLOCK:
            raise BadSample(f"{position}: the tar ends inside a sample")
        voxel_size = _header(remainder[-BLOCK:], position).size
        data = header + remainder + file.read(_round_up(voxel_size))
        packed, size = _parse(data, position)
        yield offset, data, packed.unpack()
        offset += size


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    try:
        header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except ValueError as error:
        raise OctshardError(f"{name}: {error}, want at most 100 ASCII characters") from error
    return header + data + bytes(_round_up(len(data)) - len(data))


def _parse(data: bytes | memoryview, location: str) -> tuple[PackedSample, int]:
    """The sample at the start of `data`, and the size of its slice in bytes."""
    slice_view = memoryview(data)
    meta_name, meta_data, voxels_at = _read_member(slice_view, 0, location)
    voxel_name, frame, stop = _read_member(slice_view, voxels_at, location)
    key = meta_name.removesuffix(META)
    if meta_name != key + META or voxel_name != key + VOXELS:
        raise BadSample(f"{location}: members {meta_name!r}, {voxel_name!r}, want KEY{META} and KEY{VOXELS}")
    try:
        meta = json_object.parse(bytes(meta_data), key + META)
    except json_object.DamagedJson as error:
        raise BadSample(f"{location}: {error}") from error
    return _packed(key, meta, frame, location), stop


def _packed(key: str, meta: Mapping[str, Any], frame: memoryview, location: str) -> PackedSample:
    match meta.get("shape"), meta.get("dtype"):
        case [int(d), int(h), int(w)], ("uint8" | "uint16") as dtype if _are_axes(d, h, w):
            return PackedSample(key, meta, (d, h, w), np.dtype(dtype), frame, location)
        case shape, dtype:
            what = f"shape {shape!r:.99}, dtype {dtype!r:.99}"
            raise BadSample(f"{location}: {key} has {what}, want those of a volume")


def _are_axes(*shape: int) -> bool:
    return all(not isinstance(n, bool) and 0 < n < AXIS for n in shape)


def _read_member(data: memoryview, start: int, location: str) -> tuple[str, memoryview, int]:
    info = _header(bytes(data[start : start + BLOCK]), location)
    begin, end = start + BLOCK, start + BLOCK + info.size
    if _round_up(end) > len(data):
        raise BadSample(f"{location}: {info.name} ends at {end}, but only {len(data)} bytes are there")
    return info.name, data[begin:end], _round_up(end)


def _header(block: bytes, location: str) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise BadSample(f"{location}: no tar header there ({error})") from error
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.size < 0:
        raise BadSample(f"{location}: {info.name!r} is of type {info.type!r}, {info.size} bytes, want a file")
    return info


def _round_up(size: int) -> int:
    return -(-size // BLOCK) * BLOCK

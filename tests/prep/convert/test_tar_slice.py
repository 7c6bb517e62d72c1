"""A packed volume: what comes back out of the slice is what went in, and the row says what it holds."""

import dataclasses
import hashlib

import numpy as np

from octshard.config.prep import PrepConfig
from octshard.dataset import shard, stored_band
from octshard.dataset.tables import FORMAT_VERSION, SampleRow
from octshard.imaging.volume import SampleKey, Volume
from octshard.prep import crosscheck
from octshard.prep.convert.tar_slice import pack

CFG, KEEP = PrepConfig(), PrepConfig(bits="keep")
KEY = SampleKey("1001", "topcon_triton", "macula", "L", "0")
ROW = SampleRow(
    key=str(KEY),
    participant="1001",
    device="topcon_triton",
    manufacturer="Topcon",
    model="Triton",
    protocol="macula",
    region="Macula",
    eye="L",
    split="train",
    source="a.dcm",
    geometry="raster",
    decoded_level=0,
    flags=("saturated", "slow_axis_flipped"),
)


def volume(voxels_DHW: np.ndarray) -> Volume:
    return Volume(KEY, voxels_DHW, (0.5, 0.25, 0.125))


def test_the_slice_gives_back_the_voxels_and_the_row() -> None:
    voxels_DHW = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    row, data = pack(ROW, volume(voxels_DHW), CFG)
    sample = shard.unpack(data, row.key, row.xxh3, "test")
    np.testing.assert_array_equal(sample.voxels_DHW, voxels_DHW)
    band = stored_band.from_json(sample.meta, (2, 3, 4), "test")
    assert band is not None
    assert (band.share, row.retina_found) == (0.0, 0.0)  # three rows of a ramp are no retina
    assert {name: value for name, value in sample.meta.items() if name != stored_band.NAME} == {
        "key": str(KEY), "format": FORMAT_VERSION, "shape": [2, 3, 4], "dtype": "uint8",
        "spacing_mm": [0.5, 0.25, 0.125], "source_levels": [0.0, 255.0],
        "mean": row.mean, "std": row.std, "p01": row.p01, "p99": row.p99,
        "participant": "1001", "device": "topcon_triton", "protocol": "macula", "region": "Macula",
        "eye": "L", "split": "train", "geometry": "raster", "assumed_spacing": 0, "decoded_level": 0,
        "flags": ["saturated", "slow_axis_flipped"],
    }  # fmt: skip
    assert (row.mean, row.p01, row.p99) == (11.5, 0.0, 23.0)
    assert (row.shape_out, row.spacing_out, row.dtype) == ((2, 3, 4), (0.5, 0.25, 0.125), "uint8")
    assert (row.nbytes, row.sha256) == (len(data), hashlib.sha256(voxels_DHW.tobytes()).hexdigest())
    assert (row.flags, row.detail, row.status) == (ROW.flags, "", "ok")


def test_a_constant_volume_is_flagged_in_row_and_slice() -> None:
    row, data = pack(ROW, volume(np.full((2, 3, 4), 7, np.uint8)), CFG)
    assert row.flags == ("constant", "saturated", "slow_axis_flipped")
    assert shard.unpack(data, row.key, row.xxh3, "test").meta["flags"] == list(row.flags)


def test_wider_voxels_become_uint8_and_the_detail_says_how() -> None:
    """Of 25 voxels the 0.1 and 99.9 % levels are the least and the greatest: 100 and 610, a slope of 1/2."""
    wide = np.append(np.arange(100, 124), 610).astype(np.uint16).reshape(1, 5, 5)
    row, data = pack(dataclasses.replace(ROW, flags=()), volume(wide), CFG)
    assert (row.flags, row.detail, row.dtype) == (
        ("mapped_to_uint8",),
        "levels 100 to 610 became 0 to 255",
        "uint8",
    )
    sample = shard.unpack(data, row.key, row.xxh3, "test")
    np.testing.assert_array_equal(sample.voxels_DHW, np.rint((wide - 100.0) / 2))
    assert sample.meta["source_levels"] == [100.0, 610.0]


def test_wider_voxels_are_kept_and_the_row_is_of_their_grey() -> None:
    """The same voxels as they came. The grey of level 100 + n is n / 2, that of 610 is 255."""
    wide = np.append(np.arange(100, 124), 610).astype(np.uint16).reshape(1, 5, 5)
    row, data = pack(dataclasses.replace(ROW, flags=()), volume(wide), KEEP)
    assert (row.flags, row.detail, row.dtype) == ((), "levels 100 to 610 are grey 0 to 255", "uint16")
    sample = shard.unpack(data, row.key, row.xxh3, "test")
    np.testing.assert_array_equal(sample.voxels_DHW, wide)
    assert sample.voxels_DHW.dtype == np.uint16
    assert sample.meta["source_levels"] == [100.0, 610.0]
    grey = np.append(np.arange(24) / 2, 255.0)
    np.testing.assert_allclose([row.mean, row.std], [grey.mean(), grey.std()], rtol=1e-12)
    assert (row.p01, row.p99) == (0.0, 255.0)
    assert row.sha256 == hashlib.sha256(wide.tobytes()).hexdigest()
    assert list(crosscheck.sample(dataclasses.replace(row, flags=()), sample)) == []


def test_eight_bits_are_the_same_bytes_either_way() -> None:
    voxels_DHW = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert pack(ROW, volume(voxels_DHW), KEEP) == pack(ROW, volume(voxels_DHW), CFG)


def test_the_retina_of_kept_bits_is_that_of_eight() -> None:
    """The same scan in 12 bits: its band is found in the grey of it."""
    voxels_DHW = np.random.default_rng(0).integers(128, 224, (4, 100, 64), dtype=np.uint16)
    voxels_DHW[:, 40:42], voxels_DHW[:, 42:51], voxels_DHW[:, 51:53] = 1920, 1120, 3200
    scan = Volume(KEY, voxels_DHW, (0.05, 0.02, 0.02))
    kept, eight = (pack(dataclasses.replace(ROW, frames=4), scan, cfg) for cfg in (KEEP, CFG))
    bands = [
        shard.unpack(data, row.key, row.xxh3, "test").meta[stored_band.NAME] for row, data in (kept, eight)
    ]
    assert bands[0] == bands[1]
    assert kept[0].retina_found == 1.0
    assert abs(kept[0].mean - eight[0].mean) < 0.5
    assert abs(kept[0].std - eight[0].std) < 0.5


def test_the_retina_is_looked_for_unless_no_frame_shows_one() -> None:
    """Two bright layers 0.25 mm apart in 20 um rows; the same voxels, once said to be of bad frames."""
    voxels_DHW = np.random.default_rng(0).integers(8, 14, (4, 100, 64), dtype=np.uint8)
    voxels_DHW[:, 40:42], voxels_DHW[:, 42:51], voxels_DHW[:, 51:53] = 120, 70, 200
    scan = Volume(KEY, voxels_DHW, (0.05, 0.02, 0.02))
    row, data = pack(dataclasses.replace(ROW, frames=4, blank_frames=1, no_retina_frames=2), scan, CFG)
    band = stored_band.from_json(shard.unpack(data, row.key, row.xxh3, "test").meta, (4, 100, 64), "test")
    assert band is not None
    assert row.retina_found == band.share == 1.0
    assert abs(band.rows_DQ2[..., 0].astype(int) - 40).max() <= 1
    assert abs(band.rows_DQ2[..., 1].astype(int) - 53).max() <= 1
    row, _ = pack(dataclasses.replace(ROW, frames=4, blank_frames=1, no_retina_frames=3), scan, CFG)
    assert row.retina_found == 0.0

"""Blank frames, frames without a retina, clipped volumes: on made-up eyes, plain patterns and real scans."""

import dataclasses
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.phantom import eye as anatomy
from octshard.phantom import scan
from octshard.phantom.device import PROTOCOLS, Protocol
from octshard.phantom.eye import STATES, Person
from octshard.prep.convert.quality import FrameStats, Quality, assess, frame_stats
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.refusals import Refused
from octshard.rng import rng_for

RASTERS = [protocol for protocol in PROTOCOLS if protocol.pattern == "raster"]
FINE = Quality(0, 0, ())


def look(voxels_DHW: np.ndarray) -> Quality:
    return assess([frame_stats(frame) for frame in voxels_DHW])


def eye_scan(protocol: Protocol, scale: float, closed: float = 0.0) -> np.ndarray:
    """About 12 frames of a sick eye; its lid covers the left share `closed` of every frame's A-scans."""
    few = dataclasses.replace(protocol, frames=max(4, round(12 / scale)))
    person = Person("1203", STATES[RASTERS.index(protocol) % 4], 0.7, 60)
    d, _, w = scan.shape_of(few, scale)
    closed_DW = np.broadcast_to(np.arange(w) < closed * w, (d, w))
    rng = rng_for(5, protocol.device, protocol.name)
    return scan.acquire(anatomy.generate(person, "R", 0), few, scale, rng, closed_DW).voxels_DHW


def noise(shape: tuple[int, int, int], sd: float = 8.0) -> np.ndarray:
    """Speckle on black: brighter than 0 here and there, correlated over two pixels."""
    d, h, w = shape
    field = rng_for("noise", d, h, w).normal(size=(d, h + 1, w + 1))
    field = (field[:, 1:, 1:] + field[:, :-1, 1:] + field[:, 1:, :-1]) / 3**0.5
    return np.clip(10 + sd * field, 0, 255).astype(np.uint8)


def band(shape: tuple[int, int, int], tilt: float = 0.0) -> np.ndarray:
    """A bright band a tenth of the depth thick, `tilt` rows per column."""
    _, h, w = shape
    centre = h / 2 + tilt * (np.arange(w) - w / 2)
    inside = np.abs(np.arange(h)[:, None] - centre) < h / 20
    return np.clip(noise(shape) + 120 * inside, 0, 255).astype(np.uint8)


def slow_stats(frame_HW: np.ndarray) -> tuple[float, float]:
    """(spread, structure) of a frame of 64 x 64 by their words: 8 blocks of 8 columns, 32 bins of 2 rows."""
    along = []
    for b in range(8):
        means = [frame_HW[2 * i : 2 * i + 2, 8 * b : 8 * b + 8].mean() for i in range(32)]
        along.append(np.std(means))
    return float(frame_HW.std()), float(sorted(along)[4])


def test_facts_are_what_they_say() -> None:
    for frame in band((1, 64, 64), 0.3)[0], noise((1, 64, 64))[0]:
        spread, structure = slow_stats(frame.astype(np.float64))
        stats = frame_stats(frame)
        assert stats.spread == pytest.approx(spread, rel=1e-4)
        assert stats.structure == pytest.approx(structure, rel=1e-4)
        assert (stats.top, stats.at_top) == (255, (frame == 255).mean())


def test_facts_of_a_step_by_hand() -> None:
    """Half the depth 10, half 30: every deviation is 10, and all of it lies along depth."""
    frame = np.repeat(np.array([10, 30], np.uint8), 32)[:, None] * np.ones((1, 64), np.uint8)
    assert frame_stats(frame) == FrameStats(10.0, 10.0, 255.0, 0.0)
    assert frame_stats(frame.T) == FrameStats(
        10.0, 0.0, 255.0, 0.0
    )  # the same along the A-scans is no retina


def test_large_frames_are_judged_by_a_few_pixels_of_all_their_parts() -> None:
    for shape in ((1, 992, 512), (1, 1024, 200), (1, 496, 1536), (1, 131, 127)):
        frame = band(shape)[0]
        assert frame_stats(frame).spread == pytest.approx(frame.std(), rel=0.15)
        half = frame.copy()
        half[: shape[1] // 2 - shape[1] // 10] = half[shape[1] // 2 + shape[1] // 10 :] = 0
        assert frame_stats(half).structure == pytest.approx(frame_stats(frame).structure, rel=0.2)


@pytest.mark.parametrize("scale", [0.06, 0.1, 0.25])
@pytest.mark.parametrize("protocol", RASTERS, ids=lambda p: f"{p.device}-{p.name}")
def test_eyes_are_fine_blinks_are_not(protocol: Protocol, scale: float) -> None:
    eye, lid = eye_scan(protocol, scale), eye_scan(protocol, scale, closed=1.0)
    assert look(eye) == FINE
    mixed = eye.copy()
    mixed[3:6], mixed[8] = lid[3:6], 0
    assert look(mixed) == Quality(1, 3, ("blank_frames", "no_retina_frames"))
    assert look(lid) == Quality(0, len(lid), ("no_retina_frames",))


def test_a_lid_over_a_third_leaves_a_retina_and_over_nine_tenths_none() -> None:
    protocol = RASTERS[0]
    eye = eye_scan(protocol, 0.25)
    for closed, lost in ((0.35, 0), (0.9, 3)):
        mixed = eye.copy()
        mixed[2:5] = eye_scan(protocol, 0.25, closed)[2:5]
        assert look(mixed).no_retina_frames == lost


@pytest.mark.parametrize("tilt", [-0.6, 0.3, 0.6])
def test_a_tilted_retina_is_one(tilt: float) -> None:
    """Averaged over the whole frame, it would be smeared over most of the depth."""
    assert look(band((5, 500, 500), tilt)) == FINE


@pytest.mark.parametrize("sd", [2.0, 8.0, 30.0])
@pytest.mark.parametrize("shape", [(7, 992, 512), (7, 200, 200), (7, 60, 60)])
def test_noise_is_no_retina_however_strong(shape: tuple[int, int, int], sd: float) -> None:
    assert look(noise(shape, sd)) == Quality(0, 7, ("no_retina_frames",))


def test_a_faint_stripe_beside_retinas_is_none() -> None:
    """A fixed line of the detector is axial structure, but a tenth of what the other frames have."""
    voxels = band((9, 496, 512))
    voxels[4] = 20
    voxels[4, 100:150] = 32
    assert look(voxels) == Quality(0, 1, ("no_retina_frames",))
    assert look(voxels[4:5]) == FINE  # alone there is nothing to hold it against


@pytest.mark.parametrize("level", [0, 7, 255])
def test_constant_frames_are_blank_and_not_counted_twice(level: int) -> None:
    voxels = band((6, 100, 80))
    voxels[1:3] = level
    voxels[2, ::50] += np.uint8(1 if level < 255 else 0)  # what a codec may leave
    assert look(voxels) == Quality(2, 0, ("blank_frames",))
    assert look(np.full((4, 30, 40), level, np.uint8)) == Quality(4, 0, ("blank_frames",))


@pytest.mark.parametrize(("gain", "clipped"), [(1.0, False), (1.2, False), (2.0, True), (3.0, True)])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_volume_clipped_at_its_top_level_is_saturated(gain: float, clipped: bool, bits: int) -> None:
    top = 2**bits - 1
    eye = eye_scan(RASTERS[5], 0.25).astype(np.float64) / 255
    voxels = np.rint(np.minimum(gain * eye, 1) * top).astype(np.uint8 if bits == 8 else np.uint16)
    assert ((voxels == top).mean() > 0.05) == clipped
    assert look(voxels) == (Quality(0, 0, ("saturated",)) if clipped else FINE)


def test_black_and_white_frames_alone_do_not_saturate_a_volume() -> None:
    voxels = band((8, 100, 80))
    voxels[:3] = 255
    assert look(voxels).flags == ("blank_frames",)


def test_wider_integers_get_the_same_verdict() -> None:
    eye, lid = (eye_scan(RASTERS[1], 0.1, closed) for closed in (0.0, 1.0))
    eye[2:4], eye[6] = lid[2:4], 0
    for factor, offset in ((257, 0), (16, 0), (16, 30_000)):
        wide = (eye.astype(np.int64) * factor + offset).astype(np.uint16)
        wide[6] += np.arange(wide.shape[1], dtype=np.uint16)[:, None] % 3  # black, not quite
        assert look(wide) == look(eye) == Quality(1, 2, ("blank_frames", "no_retina_frames"))


def test_order_does_not_matter_and_nothing_is_fine() -> None:
    voxels = band((8, 60, 60))
    voxels[1], voxels[5] = 0, noise((1, 60, 60))[0]
    stats = [frame_stats(frame) for frame in voxels]
    assert {assess(some) for some in itertools.islice(itertools.permutations(stats), 0, 40320, 997)} == {
        Quality(1, 1, ("blank_frames", "no_retina_frames"))
    }
    assert assess([]) == FINE


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(1, 300)),
    wide=st.booleans(),
    seed=st.integers(0, 99),
)
def test_frames_of_any_size_get_a_verdict(shape: tuple[int, int, int], wide: bool, seed: int) -> None:
    kind = np.uint16 if wide else np.uint8
    voxels = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, dtype=kind)
    quality = look(voxels[:, :, ::-1])
    assert 0 <= quality.blank_frames + quality.no_retina_frames <= shape[0]
    assert voxels.flags.writeable
    assert all(np.isfinite(value) for frame in voxels for value in frame_stats(frame))


@pytest.mark.realdata
def test_every_real_frame_holds_a_retina(realdata: Path) -> None:
    judged = 0
    for path in sorted(realdata.glob("*/*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                try:
                    header = dicom.read_header(data, 10**9)
                except Refused:
                    continue
                frames = list(decode.frames(data, header))
                assert look(np.stack(frames)) == FINE, name
                assert [assess([frame_stats(frame)]) for frame in frames] == [FINE] * len(frames)
                judged += len(frames)
    assert judged > 300

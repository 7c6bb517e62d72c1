"""The retinal band against the truth of made-up eyes, on all devices and spacings; and where is none."""

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.imaging.resample import Regrid, resample_frames
from octshard.imaging.retina_band import BLOCK, MOST_ROWS, blocks_of
from octshard.imaging.volume import Spacing, resampled_shape, triple
from octshard.phantom import eye as anatomy
from octshard.phantom import scan
from octshard.phantom.device import PROTOCOLS
from octshard.phantom.eye import ILM, STATES, SUB, Person
from octshard.phantom.scan import Picture
from octshard.prep.convert import band
from octshard.rng import rng_for

CONFIGS = Path(__file__).parents[3] / "configs" / "prep"
SPACINGS: dict[str, Spacing] = {
    name: triple(load(PrepConfig, [str(CONFIGS / f"{name}.yaml")], ["src=a", "dst=b"]).target_spacing)
    for name in ("seed", "demo", "retina")
}
MAIN = {p.device: p for p in PROTOCOLS if p.share == 1.0}
SHAPES = {"seed": (40, 110, 300), "demo": (12, 96, 64), "retina": (24, 360, 384)}  # D cut: it saves time


@lru_cache(maxsize=2)
def picture(device: str, state: str, closed: bool = False) -> Picture:
    """A third of the device's voxels along each axis: 6 to 8 um rows."""
    number = sorted(MAIN).index(device) * len(STATES) + STATES.index(state)
    person = Person(f"1{number + 100}", state, 0.0 if state == "healthy" else 0.7, 62)
    eye, protocol = anatomy.generate(person, "LR"[number % 2], number), MAIN[device]
    frames, _, width = scan.shape_of(protocol, 0.34)
    lid_DW = np.ones((frames, width), bool) if closed else None
    return scan.acquire(eye, protocol, 0.34, rng_for("band", number), lid_DW)


def stored(made: Picture, target_mm: Spacing) -> tuple[np.ndarray, Spacing]:
    """The picture as prep stores it, and its spacing."""
    extent = made.extent_mm
    spacing_mm = triple([mm / n for mm, n in zip(extent, made.shape, strict=True)])
    shape = resampled_shape(made.shape, spacing_mm, target_mm)
    voxels_DHW = resample_frames(iter(made.voxels_DHW), Regrid(made.shape, shape))
    return voxels_DHW, triple([mm / n for mm, n in zip(extent, shape, strict=True)])


def truth_um(made: Picture, boundary: int, shape: tuple[int, int, int]) -> np.ndarray:
    """(D, Q) depth of a boundary: the mean over what a stored B-scan and block of columns cover."""
    (frames, height, width), (depth, _, stored_width) = made.shape, shape
    depth_um = made.rows_KDW[boundary] * (1000 * made.extent_mm[1] / height)
    edge_D = np.arange(depth + 1) * frames / depth
    depth_um = np.stack(
        [
            depth_um[int(first) : max(int(first) + 1, round(last))].mean(axis=0)
            for first, last in pairwise(edge_D)
        ]
    )
    nearest_W = ((np.arange(stored_width) + 0.5) * width / stored_width).astype(int)
    blocks = [depth_um[:, nearest_W[q * BLOCK : (q + 1) * BLOCK]] for q in range(blocks_of(stored_width))]
    return np.stack([block.mean(axis=1) for block in blocks], axis=1)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("device", MAIN)
def test_both_boundaries_are_those_of_the_eye(device: str, spacing: str) -> None:
    """Medians stay below 15 um (20 at the demo's 0.75 mm blocks), far below the 40 that are asked for.

    The widest wrong blocks are where the Spectralis sees the optic disc, in which there is no RPE.
    """
    errors: dict[int, list[np.ndarray]] = {ILM: [], SUB: []}
    for state in STATES:
        made = picture(device, state)
        voxels_DHW, spacing_mm = stored(made, SPACINGS[spacing])
        retina = band.find(voxels_DHW, spacing_mm)
        assert retina.share > 0.93, state
        for i, boundary in enumerate(errors):
            rows_DQ = retina.rows_DQ2[..., i][retina.found_DQ].astype(float)
            truth = truth_um(made, boundary, triple(voxels_DHW.shape))[retina.found_DQ]
            errors[boundary].append(np.abs(rows_DQ * 1000 * spacing_mm[1] - truth))
    sees_disc = device == "heidelberg_spectralis"
    for of_boundary in errors.values():
        median, p90, p99 = np.percentile(np.concatenate(of_boundary), [50, 90, 99])
        assert median < (20 if spacing == "demo" else 15)
        assert p90 < 40
        assert p99 < (400 if sees_disc else 120)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_nothing_is_found_in_vitreous_alone(spacing: str) -> None:
    for device in MAIN:
        voxels_DHW, spacing_mm = stored(picture(device, "healthy", closed=True), SPACINGS[spacing])
        assert band.find(voxels_DHW, spacing_mm).share == 0, device


@pytest.mark.parametrize("spacing", SPACINGS)
def test_nothing_is_found_in_noise_blank_frames_and_slow_change(spacing: str) -> None:
    rng, shape, mm = rng_for("band", spacing), SHAPES[spacing], SPACINGS[spacing]
    down_H1 = np.linspace(0, 1, shape[1])[:, None]
    noise, speckle = rng.normal(0, 1, shape), rng.gamma(3, 1 / 3, shape)
    pictures = {
        "zeros": np.zeros(shape), "one level": np.full(shape, 90), "noise": 60 + 20 * noise,
        "little noise": 20 + 2 * noise, "speckle": 30 * speckle, "all levels": rng.integers(0, 256, shape),
        "roll-off": 10 + 40 * np.exp(-2 * down_H1) + 8 * noise, "rising": 100 * down_H1 + 5 * noise,
        "speckle that fades": (10 + 40 * np.exp(-2 * down_H1)) * speckle,
    }  # fmt: skip
    for name, grey in pictures.items():
        voxels_DHW = np.clip(grey, 0, 255).astype(np.uint8)
        assert band.find(voxels_DHW, mm).share == 0, name
        assert band.find(voxels_DHW, None).share == 0, name


def test_blank_and_closed_frames_among_good_ones_have_no_band() -> None:
    voxels_DHW, spacing_mm = stored(picture("topcon_triton", "healthy"), SPACINGS["retina"])
    voxels_DHW = voxels_DHW.copy()
    vitreous = voxels_DHW[:, :20].ravel()
    voxels_DHW[10] = 0
    voxels_DHW[20:24] = rng_for("lid").choice(vitreous, voxels_DHW[20:24].shape)
    voxels_DHW[30, :, :130] = rng_for("half").choice(vitreous, (voxels_DHW.shape[1], 130))
    found_DQ = band.find(voxels_DHW, spacing_mm).found_DQ
    assert not found_DQ[[10, 20, 21, 22, 23]].any()
    assert not found_DQ[30, :15].any()
    assert found_DQ[30, 18:].mean() > 0.9
    assert np.delete(found_DQ, [10, 20, 21, 22, 23, 30], axis=0).mean() > 0.98


def shifted(voxels_DHW: np.ndarray, rows_DW: np.ndarray) -> np.ndarray:
    """Every A-scan moved down by whole rows; what comes in is vitreous."""
    height = voxels_DHW.shape[1]
    source_DHW = np.arange(height)[None, :, None] - rows_DW[:, None, :]
    moved = np.take_along_axis(voxels_DHW, np.clip(source_DHW, 0, height - 1), axis=1)
    noise = rng_for("shift").choice(voxels_DHW[:, : height // 20].ravel(), voxels_DHW.shape)
    return np.where((source_DHW < 0) | (source_DHW >= height), noise, moved)


def spoiled(kind: str, voxels_DHW: np.ndarray, spacing_mm: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """A volume with what real scans have, and the rows by which its retina moved (D, W)."""
    depth, height, width = voxels_DHW.shape
    rng, moved_DW = rng_for("spoiled", kind), np.zeros((depth, width), int)
    spoiled_DHW = voxels_DHW.copy()
    if kind == "shadows":
        dim_W = np.ones(width)
        for column in rng.integers(0, width, width // 40):
            dim_W[column : column + width // 60] = 0.25
        return (voxels_DHW * dim_W).astype(np.uint8), moved_DW
    if kind == "bar":  # a burned-in line, or that of zero delay
        spoiled_DHW[:, : int(0.06 / spacing_mm[1])] = 255
        return spoiled_DHW, moved_DW
    if kind == "no dark":  # the device cut what is dark to 0
        return np.where(voxels_DHW < 70, 0, voxels_DHW), moved_DW
    if kind == "reflection":
        spoiled_DHW[:, :, width // 2 - width // 60 : width // 2 + width // 60] = 255
    elif kind == "hyaloid":
        above = int(0.05 / spacing_mm[1])
        spoiled_DHW[:, above : above + 1 + int(0.015 / spacing_mm[1]), width // 5 : -width // 5] = 120
    elif kind == "low contrast":
        faint = 40 + 0.25 * (voxels_DHW.astype(float) - 40) + rng.normal(0, 8, voxels_DHW.shape)
        return np.clip(faint, 0, 255).astype(np.uint8), moved_DW
    elif kind == "motion":
        moved_DW = moved_DW + rng.normal(0, 0.05 / spacing_mm[1], (depth, 1)).round().astype(int)
    elif kind == "tilt":
        slope = np.tan(np.radians(8)) * spacing_mm[2] / spacing_mm[1]
        moved_DW = moved_DW + np.rint(slope * (np.arange(width) - width / 2)).astype(int)
    else:  # cut off at the top
        moved_DW = moved_DW - int(0.25 * height)
    return shifted(spoiled_DHW, moved_DW) if moved_DW.any() else spoiled_DHW, moved_DW


@pytest.mark.parametrize(
    "kind", ["shadows", "reflection", "hyaloid", "bar", "no dark", "low contrast", "motion", "tilt", "cut"]
)
@pytest.mark.parametrize("device", ["zeiss_cirrus", "topcon_triton"])
def test_what_real_scans_have_does_little_harm(device: str, kind: str) -> None:
    made = picture(device, "healthy")
    clean_DHW, spacing_mm = stored(made, SPACINGS["seed"])
    voxels_DHW, moved_DW = spoiled(kind, clean_DHW, spacing_mm)
    depth, height, width = voxels_DHW.shape
    retina = band.find(voxels_DHW, spacing_mm)
    moved_DQ = np.stack(
        [moved_DW[:, q * BLOCK : (q + 1) * BLOCK].mean(axis=1) for q in range(blocks_of(width))], 1
    )
    assert retina.share > 0.9
    for i, boundary in enumerate((ILM, SUB)):
        rows_DQ = truth_um(made, boundary, (depth, height, width)) / (1000 * spacing_mm[1]) + moved_DQ
        error_um = np.abs(retina.rows_DQ2[..., i] - np.clip(rows_DQ, 0, height)) * 1000 * spacing_mm[1]
        assert np.median(error_um[retina.found_DQ]) < 20
        assert np.percentile(error_um[retina.found_DQ], 95) < 60


def test_an_unknown_spacing_is_that_of_a_usual_scan() -> None:
    voxels_DHW, spacing_mm = stored(picture("topcon_triton", "healthy"), SPACINGS["seed"])
    known, unknown = band.find(voxels_DHW, spacing_mm), band.find(voxels_DHW, None)
    assert unknown.share > 0.98
    assert np.median(np.abs(known.rows_DQ2.astype(int) - unknown.rows_DQ2)) <= 1
    np.testing.assert_array_equal(band.find(voxels_DHW, (1.0, 1.0, 1.0)).rows_DQ2, unknown.rows_DQ2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (1, 90, 8), (2, 90, 9), (7, 4, 200), (1, 1, 500)])
def test_any_volume_has_a_band_of_its_shape(shape: tuple[int, int, int]) -> None:
    voxels_DHW = rng_for("shape", *shape).integers(0, 256, shape, dtype=np.uint8)
    for spacing_mm in (None, (0.05, 0.02, 0.02), (1e-9, 1e6, 1e-9), (9.0, 1e-9, 9.0)):
        rows_DQ2 = band.find(voxels_DHW, spacing_mm).rows_DQ2
        assert (rows_DQ2.shape, rows_DQ2.dtype) == ((shape[0], blocks_of(shape[2]), 2), np.int16)


def test_rows_that_int16_cannot_count_have_no_band() -> None:
    assert band.find(np.zeros((1, MOST_ROWS + 1, 16), np.uint8), None).share == 0


def test_the_same_voxels_give_the_same_band() -> None:
    voxels_DHW, spacing_mm = stored(picture("zeiss_cirrus", "drusen"), SPACINGS["demo"])
    first, again = (band.find(np.array(voxels_DHW), spacing_mm).rows_DQ2 for _ in range(2))
    np.testing.assert_array_equal(first, again)

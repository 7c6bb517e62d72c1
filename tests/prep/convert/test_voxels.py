"""Frames onto the stored grid: its shape and spacing by hand, flips, frame by frame, PSNR by hand."""

import dataclasses
import re
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from octshard.config.prep import PrepConfig
from octshard.imaging.resample import Regrid
from octshard.prep.convert import voxels
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.layout import ScanLayout
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.convert.voxels import Resampling, decode_voxels, plan_resampling, psnr_db, resampling_to
from octshard.prep.dicom import decode, writer
from octshard.prep.dicom.header import Header
from octshard.prep.readers import dicom
from octshard.prep.readers.dicom import DicomScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer
from tests.support.made_release import scan

SPACING = ResolvedSpacing((0.04, 0.01, 0.02), "shared", False, ())
RASTER = Geometry("raster", 10.0, 512.0)


def plan(cfg: PrepConfig, geometry: Geometry = RASTER, spacing: ResolvedSpacing = SPACING) -> Resampling:
    """Of the 6 x 20 x 24 scan as JPEG 2000, whose frames have five levels."""
    data = writer.write(dataclasses.replace(scan(), encoding="j2k"))
    return plan_resampling(dicom.open_scan(ScanBytes(data)), ScanLayout(geometry, spacing), cfg)


def test_the_grid_keeps_the_extent() -> None:
    """6 x 0.04 / 0.07 = 3.43, 20 x 0.01 / 0.04 = 5, 24 x 0.02 / 0.03 = 16."""
    resampling = plan(PrepConfig(target_spacing=[0.07, 0.04, 0.03]))
    assert resampling.grid == Regrid((6, 20, 24), (3, 5, 16), 0, False)
    assert resampling.spacing_mm == pytest.approx((0.08, 0.04, 0.03))
    assert resampling.mirrored == frozenset()


def test_the_scans_own_grid_changes_neither_shape_nor_spacing() -> None:
    facts = file().facts
    geometry = dataclasses.replace(RASTER, flipped=True, mirrored=(2,))
    resampling = resampling_to((6, 20, 24), facts, ScanLayout(geometry, SPACING))
    assert resampling.grid == Regrid((6, 20, 24), (6, 20, 24), 0, True)
    assert resampling.spacing_mm == pytest.approx((0.04, 0.01, 0.02))
    assert resampling.mirrored == frozenset([2])


@pytest.mark.parametrize(
    ("fit", "spacing"),
    [("resize", SPACING), ("crop_pad", ResolvedSpacing((1.0, 1.0, 1.0), "none", True, ()))],
)
def test_image_size_is_the_grid_if_asked_for_or_if_spacing_is_assumed(
    fit: str, spacing: ResolvedSpacing
) -> None:
    resampling = plan(PrepConfig(image_size=[4, 8, 8], fit=fit), spacing=spacing)
    assert resampling.grid.shape_out == (4, 8, 8)
    assert resampling.spacing_mm == pytest.approx(np.array(spacing.spacing_mm) * [6 / 4, 20 / 8, 24 / 8])


@pytest.mark.parametrize(
    ("spacing_mm", "extent"),
    [
        ((40, 0.01, 0.02), "240 x 0.2 x 0.48 mm"),  # micrometres as millimetres, of one axis or all
        ((0.04, 10, 0.02), "0.24 x 200 x 0.48 mm"),
        ((0.04, 0.01, 20), "0.24 x 0.2 x 480 mm"),
        ((3000, 3000, 3000), "1.8e+04 x 6e+04 x 7.2e+04 mm"),
        ((17, 0.01, 0.02), "102 x 0.2 x 0.48 mm"),
        ((16, 0.01, 0.02), ""),  # flagged as implausible, below 100 mm
    ],
)
def test_a_spacing_that_no_eye_can_have_makes_no_voxels(
    spacing_mm: tuple[float, float, float], extent: str
) -> None:
    spacing, cfg = ResolvedSpacing(spacing_mm, "file", False, ()), PrepConfig(target_spacing=[600, 600, 600])
    assert plan(dataclasses.replace(cfg, fit="resize"), spacing=spacing).grid.shape_out == tuple(
        cfg.image_size
    )
    if not extent:
        assert plan(cfg, spacing=spacing)
        return
    with pytest.raises(
        Refused, match=rf"^unreadable: voxels of .* mm make a scan of {re.escape(extent)}, more"
    ):
        plan(cfg, spacing=spacing)


def test_more_voxels_than_allowed_are_refused() -> None:
    cfg = PrepConfig(target_spacing=[0.08, 0.04, 0.04], max_output_voxels=180)
    assert plan(cfg).grid.shape_out == (3, 5, 12)
    with pytest.raises(Refused) as caught:
        plan(dataclasses.replace(cfg, max_output_voxels=179))
    assert caught.value.reason == "too_large"
    detail = "spacing (0.04, 0.01, 0.02) mm asks for (3, 5, 12) voxels, want at most 179"
    assert caught.value.detail == detail


@pytest.mark.parametrize(
    ("changes", "mirrored", "assumed", "level"),
    [({}, (), False, 1), ({"decode": "exact"}, (), False, 0), ({}, (1,), False, 0), ({}, (), True, 0)],
)
def test_levels_are_left_out_only_where_asked_for_and_where_places_are_known(
    changes: dict[str, Any], mirrored: tuple[int, ...], assumed: bool, level: int
) -> None:
    cfg = PrepConfig(target_spacing=[0.08, 0.02, 0.04], image_size=[3, 10, 12], decode="fast")
    geometry = dataclasses.replace(RASTER, mirrored=mirrored)
    resampling = plan(
        dataclasses.replace(cfg, **changes), geometry, dataclasses.replace(SPACING, assumed=assumed)
    )
    assert resampling.grid.level == level
    assert resampling.at_level(0) == dataclasses.replace(
        resampling, grid=dataclasses.replace(resampling.grid, level=0)
    )


def file() -> DicomScan:
    return dicom.open_scan(ScanBytes(writer.write(scan())))


@pytest.mark.parametrize("reverse", [False, True])
def test_frames_are_turned_round_and_put_in_order(reverse: bool) -> None:
    shape = (6, 20, 24)
    expected_DHW = scan().voxels_DHW.copy()
    expected_DHW[[1, 4]] = expected_DHW[[1, 4], :, ::-1]
    resampling = Resampling(Regrid(shape, shape, 0, reverse), frozenset([1, 4]), (0.04, 0.01, 0.02))
    decoded = decode_voxels(file(), resampling)
    np.testing.assert_array_equal(decoded.voxels_DHW, expected_DHW[::-1] if reverse else expected_DHW)
    assert decoded.quality.blank_frames == 0


def test_never_more_than_a_few_frames_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watched(
        data: Buffer, header: Header, level: int = 0, order: Sequence[int] = ()
    ) -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(200):
            frame_HW = np.ones((20, 24), np.uint8)
            alive.append(weakref.ref(frame_HW))
            most = max(most, sum(ref() is not None for ref in alive))
            yield frame_HW
            del frame_HW

    monkeypatch.setattr(decode, "frames", watched)
    opened = file()
    many = Resampling(Regrid((200, 20, 24), (100, 10, 12)), frozenset(range(0, 200, 2)), (1.0, 1.0, 1.0))
    decoded = decode_voxels(DicomScan(opened.data, dataclasses.replace(opened.facts, frames=200)), many)
    assert (decoded.voxels_DHW == 1).all()
    assert decoded.quality.blank_frames == 200
    assert most <= 4


def test_psnr_by_hand() -> None:
    exact = np.full((2, 3, 4), 100, np.uint8)
    off = exact.copy()
    off[0, 0, 0], off[1, 2, 3] = 112, 88  # two of 24 voxels are off by 12: a mean square of 12
    assert psnr_db(off, exact) == pytest.approx(10 * np.log10(255**2 / 12))
    assert psnr_db(exact, exact) == voxels.SAME_DB
    wide = exact.astype(np.uint16) * 10
    assert psnr_db(wide + 1, wide) == pytest.approx(20 * np.log10(1000))
    assert psnr_db(np.uint16(wide * 0 + 1), np.uint16(wide * 0)) == 0.0

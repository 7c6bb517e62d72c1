"""The voxels that are stored: the grid to resample to, and frames decoded onto it one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from octshard.config.prep import PrepConfig
from octshard.imaging.resample import Regrid, resample_frames
from octshard.imaging.volume import Shape, Spacing, product, resampled_shape, triple
from octshard.prep.convert import quality
from octshard.prep.convert.layout import ScanLayout
from octshard.prep.convert.quality import FrameStats, Quality
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.readers.scan import Scan
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import ScanFacts

PEAK = 255.0  # of PSNR
SAME_DB = 99.0  # PSNR of equal voxels, which is infinite
MOST_EXTENT_MM = 100.0  # of a scan that is resampled; four eyes side by side


@dataclass(frozen=True)
class Resampling:
    """How frames become voxels. spacing_mm: of the result.

    order: as in ScanLayout. mirrored: which of the ordered frames are to be turned round.
    """

    grid: Regrid
    mirrored: frozenset[int]
    spacing_mm: Spacing
    order: tuple[int, ...] = ()

    def at_level(self, level: int) -> "Resampling":
        """The same from frames of this JPEG 2000 resolution level; 0 is full resolution."""
        return replace(self, grid=replace(self.grid, level=level))


class DecodedVoxels(NamedTuple):
    """Voxels (D, H, W), uint8 or uint16, on the grid to be stored; the quality of the frames as decoded."""

    voxels_DHW: np.ndarray
    quality: Quality


def plan_resampling(scan: Scan, layout: ScanLayout, cfg: PrepConfig) -> Resampling:
    """From the scan's grid to one of the same extent, as the config asks; nothing is allocated.

    Refused `too_large`, or `unreadable` for a spacing that no eye can have.
    """
    geometry, spacing = layout.geometry, layout.spacing
    shape_out = stored_shape(scan.facts.shape, spacing, cfg, is_stack=not layout.slices.axis)
    if product(shape_out) > cfg.max_output_voxels:
        volume = f"{spacing.spacing_mm} mm asks for {shape_out} voxels"
        raise Refused("too_large", f"spacing {volume}, want at most {cfg.max_output_voxels}")
    if cfg.fit != "resize" and not spacing.assumed:
        _check_extent(scan.facts.shape, spacing.spacing_mm, is_stack=not layout.slices.axis)
    resampling = resampling_to(shape_out, scan.facts, layout)
    # a lower resolution is decoded where its samples are as dense as the stored voxels; not with mirrored
    # frames, whose samples would lie between those of the others
    if cfg.decode != "fast" or spacing.assumed or geometry.mirrored:
        return resampling
    return resampling.at_level(scan.level_for(spacing.spacing_mm, resampling.spacing_mm))


def resampling_to(shape_out: Shape, scan: ScanFacts, layout: ScanLayout) -> Resampling:
    """From the scan's grid, at full resolution, to `shape_out` (D, H, W) of the same extent."""
    geometry, spacing = layout.geometry, layout.spacing
    extent_mm = [n * mm for n, mm in zip(scan.shape, spacing.spacing_mm, strict=True)]
    spacing_out = triple([mm / n for mm, n in zip(extent_mm, shape_out, strict=True)])
    grid = Regrid(scan.shape, shape_out, 0, geometry.flipped)
    return Resampling(grid, frozenset(geometry.mirrored), spacing_out, layout.order)


def _check_extent(shape: Shape, spacing_mm: Spacing, *, is_stack: bool) -> None:
    """Refused `unreadable` for a spacing that no eye can have, as where a unit is wrong."""
    extent_mm = [n * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    if max(extent_mm[0 if is_stack else 1 :]) > MOST_EXTENT_MM:
        size = " x ".join(f"{mm:.4g}" for mm in extent_mm)
        step = " x ".join(f"{mm:.4g}" for mm in spacing_mm)
        raise Refused(
            "unreadable", f"voxels of {step} mm make a scan of {size} mm, more than an eye can have"
        )


def stored_shape(
    shape_in: Shape, spacing: ResolvedSpacing, cfg: PrepConfig, *, is_stack: bool = True
) -> Shape:
    """(D, H, W) in which a scan is stored: by its spacing, or as the config says where that is unknown.

    Of slices that are no stack each stays one: nothing is known between them.
    """
    if spacing.assumed or cfg.fit == "resize":
        shape = triple(cfg.image_size)
    else:
        shape = resampled_shape(shape_in, spacing.spacing_mm, triple(cfg.target_spacing))
    return shape if is_stack else (shape_in[0], *shape[1:])


def decode_voxels(scan: Scan, resampling: Resampling) -> DecodedVoxels:
    """Decoded and resampled frame by frame: neither the raw nor a float volume is ever held whole."""
    stats: list[FrameStats] = []
    grid = resampling.grid

    def frames() -> Iterator[np.ndarray]:
        for i, frame_HW in enumerate(scan.frames(grid.level, resampling.order)):
            stats.append(quality.frame_stats(frame_HW))
            yield frame_HW[:, ::-1] if i in resampling.mirrored else frame_HW

    voxels_DHW = resample_frames(frames(), grid)
    assessed = quality.assess(stats)
    if scan.bits_differ():
        assessed = assessed._replace(flags=(*assessed.flags, "bits_differ_from_header"))
    if scan.rescaling():
        assessed = assessed._replace(flags=(*assessed.flags, "levels_rescaled"))
    return DecodedVoxels(voxels_DHW, assessed)


def psnr_db(voxels_DHW: np.ndarray, exact_DHW: np.ndarray) -> float:
    """10 log10(peak^2 / mean squared error) of 8-bit voxels; of 16 bits relative to their own greatest."""
    peak = PEAK if exact_DHW.dtype == np.uint8 else max(1.0, float(exact_DHW.max()))
    error = float(np.mean((voxels_DHW.astype(np.float32) - exact_DHW.astype(np.float32)) ** 2))
    return SAME_DB if error == 0 else float(10 * np.log10(peak**2 / error))

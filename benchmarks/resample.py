"""Resampling beside MONAI, SciPy, SimpleITK and torch: CPU time, and the error of each against the truth.

    python benchmarks/resample.py --quick --json resample.json

On a synthetic volume with known noise-free values, and on real B-scans if there are any. All get one thread
and are compared after rounding to whole grey levels, because these are stored.
"""

import os
import statistics
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import SimpleITK as sitk  # noqa: N813 (its own documentation calls it so)
import torch
from command import benchmark
from monai.data import MetaTensor
from monai.transforms import Spacing as MonaiSpacing
from scipy import ndimage
from synthetic_volume import NOISE, Grid, blob, edges_at_zero, picture, truth
from table import SectionResult, Table, Target, at_least, at_most, clock, report

from octshard.imaging.resample import resample
from octshard.imaging.volume import SampleKey, Shape, Spacing, Volume, resampled_shape, triple
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.release.aireadi import read_release

TARGET_MM: Spacing = (0.05, 0.02, 0.02)
PLACES = (0.25, 0.5, 0.75)  # shares of the extent at which a spot is placed
REAL = ("spectralis", "triton", "cirrus")  # the first sound volume of each


class Resampled(NamedTuple):
    """The voxels that a method returns, and their grid."""

    voxels_DHW: np.ndarray
    grid: Grid


Method = Callable[[np.ndarray, Spacing, Spacing], Resampled]  # (uint8 cube, its spacing, the target's)


def octshard(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """octshard's, integers in and out."""
    resampled = resample(Volume(SampleKey("1", "d", "p", "L", "0"), cube_DHW, spacing_mm), target_mm)
    return _filling(resampled.voxels_DHW, cube_DHW, spacing_mm)


def monai_spacing(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """Trilinear grid_sample in float32 (the default float64 takes longer); it keeps the first centre."""
    image = MetaTensor(
        torch.from_numpy(cube_DHW.astype(np.float32))[None], affine=np.diag([*spacing_mm, 1.0])
    )
    resampled = MonaiSpacing(target_mm, mode="bilinear", dtype=np.float32)(image)
    affine = np.asarray(resampled.affine, np.float64)
    first = tuple(affine[:3, 3] + np.array(spacing_mm) / 2)
    return Resampled(resampled.numpy()[0], Grid(first, target_mm, tuple(resampled.shape[1:])))  # type: ignore[arg-type]


def torch_trilinear(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """interpolate(mode=trilinear), edges aligned."""
    shape = resampled_shape(_shape(cube_DHW), spacing_mm, target_mm)
    image = torch.from_numpy(cube_DHW.astype(np.float32))[None, None]
    resampled = torch.nn.functional.interpolate(image, shape, mode="trilinear", align_corners=False)
    return _filling(resampled.numpy()[0, 0], cube_DHW, spacing_mm)


def torch_antialias(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """interpolate(antialias=True), which is 2-D only: each frame first, then the slow axis."""
    d, h, w = resampled_shape(_shape(cube_DHW), spacing_mm, target_mm)
    resize = partial(torch.nn.functional.interpolate, mode="bilinear", antialias=True, align_corners=False)
    frames = [resize(torch.from_numpy(f.astype(np.float32))[None, None], (h, w))[0, 0] for f in cube_DHW]
    stack = torch.stack(frames).reshape(1, 1, len(frames), h * w)
    resampled = resize(stack, (d, h * w)).reshape(d, h, w)
    return _filling(resampled.numpy(), cube_DHW, spacing_mm)


def scipy_zoom(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """ndimage.zoom of order 1, edges aligned (grid_mode)."""
    shape = resampled_shape(_shape(cube_DHW), spacing_mm, target_mm)
    factors = [m / n for m, n in zip(shape, cube_DHW.shape, strict=True)]
    resampled = ndimage.zoom(cube_DHW, factors, np.float32, order=1, mode="nearest", grid_mode=True)
    return _filling(resampled, cube_DHW, spacing_mm)


def sitk_linear(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """Resample with a linear interpolator, edges aligned by the origin."""
    return _filling(
        _sitk(sitk.GetImageFromArray(cube_DHW), cube_DHW, spacing_mm, target_mm), cube_DHW, spacing_mm
    )


def sitk_gaussian(cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> Resampled:
    """A recursive Gaussian of half the new spacing along axes that shrink, then linear."""
    image = sitk.Cast(sitk.GetImageFromArray(cube_DHW), sitk.sitkFloat32)
    for axis, (old, new) in enumerate(zip(spacing_mm, target_mm, strict=True)):
        if new > old:  # in voxels, for the image still has spacing 1; SimpleITK counts axes from W
            image = sitk.RecursiveGaussian(image, sigma=0.5 * new / old, direction=2 - axis)
    return _filling(_sitk(image, cube_DHW, spacing_mm, target_mm), cube_DHW, spacing_mm)


POINT_SAMPLERS = ("MONAI Spacing", "torch trilinear", "SciPy zoom", "SimpleITK linear")
METHODS: dict[str, Method] = {
    "octshard": octshard,
    "torch antialias": torch_antialias,
    "SimpleITK Gaussian + linear": sitk_gaussian,
    "MONAI Spacing": monai_spacing,
    "torch trilinear": torch_trilinear,
    "SciPy zoom": scipy_zoom,
    "SimpleITK linear": sitk_linear,
}


def reference(cube_DHW: np.ndarray, shape: Shape) -> np.ndarray:
    """octshard's kernel by a second method, in float64: running integrals if an axis shrinks, else linear."""
    out = np.stack([_axis(frame.astype(np.float64), 0, shape[1]) for frame in cube_DHW])
    return _axis(_axis(out, 0, shape[0]), 2, shape[2])


def synthetic(*, quick: bool) -> SectionResult:
    """A cube of 256x992x512 (quick: an eighth of it) to the seed spacing."""
    shape: Shape = (64, 496, 512) if quick else (256, 992, 512)
    spacing: Spacing = (9 / 256, 2.5792 / 992, 12 / 512)
    extent = triple([n * mm for n, mm in zip(shape, spacing, strict=True)])
    cube_DHW, clean_DHW = (picture(spacing, shape, noise) for noise in (NOISE, 0.0))
    reference_DHW = reference(cube_DHW, resampled_shape(shape, spacing, TARGET_MM))
    rows, psnr, cpu = [], {}, {}
    for name, method in METHODS.items():
        resampled, cpu[name] = _timed(method, cube_DHW, spacing, 1 if quick else 5)
        voxels = _rounded(resampled.voxels_DHW)
        sharp = _rounded(method(clean_DHW, spacing, TARGET_MM).voxels_DHW)
        mean, centre = (truth(resampled.grid, extent, samples) for samples in (8, 1))
        psnr[name] = _psnr_db(voxels, mean)
        error = max(
            abs(n * mm - full)
            for n, mm, full in zip(voxels.shape, resampled.grid.spacing_mm, extent, strict=True)
        )
        rows.append(
            (
                name, cpu[name], _to_reference(voxels, reference_DHW), psnr[name], _psnr_db(voxels, centre),
                _psnr_db(sharp, mean), 1e3 * error, 1e3 * _shift_mm(method),
            )
        )  # fmt: skip
    head = (
        "method", "CPU ms", "dB to float64 area", "dB to truth, voxel mean", "dB to truth, centre",
        "dB to truth, no noise", "extent error um", "worst shift um",
    )  # fmt: skip
    title = f"a made-up cube {'x'.join(map(str, shape))} to {TARGET_MM} mm"
    return [Table(title, head, tuple(rows))], _targets(cpu, psnr, rows[0][2])


def real(*, quick: bool) -> SectionResult:
    """Real B-scans, which have no known truth: CPU time and the distance from the float64 reference."""
    rows = []
    for name, cube_DHW, spacing in _real_volumes():
        reference_DHW = reference(cube_DHW, resampled_shape(_shape(cube_DHW), spacing, TARGET_MM))
        label = f"{name} {'x'.join(map(str, cube_DHW.shape))}"
        for method_name, method in METHODS.items():
            resampled, cpu_ms = _timed(method, cube_DHW, spacing, 1 if quick else 5)
            rows.append(
                (label, method_name, cpu_ms, _to_reference(_rounded(resampled.voxels_DHW), reference_DHW))
            )
    head = ("scan", "method", "CPU ms", "dB to float64 area")
    return ([Table(f"real B-scans to {TARGET_MM} mm", head, tuple(rows))] if rows else []), []


def _targets(cpu: dict[str, float], psnr: dict[str, float], to_reference: float | None) -> list[Target]:
    """Wider kernels average more noise and blur more, hence the column without noise; ours is the area's."""
    quickest = min(cpu[name] for name in METHODS if name != "octshard")
    best = max(psnr[name] for name in POINT_SAMPLERS)
    return [
        at_least("ours against the float64 reference", 55, to_reference, "dB"),
        at_most("ours / quickest other, CPU", 1, cpu["octshard"] / quickest, "x"),
        at_least("ours less the best point sampler, to the truth", 7, psnr["octshard"] - best, "dB"),
    ]


def _timed(method: Method, cube_DHW: np.ndarray, spacing: Spacing, times: int) -> tuple[Resampled, float]:
    """(the result, the median CPU ms), after a first run on a few frames that compiles."""
    method(np.ascontiguousarray(cube_DHW[:4]), spacing, TARGET_MM)
    cpu_ms = []
    for _ in range(times):
        with clock() as timing:
            resampled = method(cube_DHW, spacing, TARGET_MM)
        cpu_ms.append(1e3 * timing.cpu_s)
    return resampled, statistics.median(cpu_ms)


def _shift_mm(method: Method) -> float:
    """The worst shift of a spot, if the voxels fill the field of view, as in shards."""
    shape: Shape = (48, 200, 96)
    spacing: Spacing = (9 / 256, 2.5792 / 992, 12 / 512)
    worst = 0.0
    for place in PLACES:
        resampled = method(blob(spacing, shape, place), spacing, TARGET_MM)
        weight = np.asarray(resampled.voxels_DHW, np.float64)
        for axis in range(3):
            profile = weight.sum(axis=tuple(i for i in range(3) if i != axis))
            centroid = float((profile * (np.arange(len(profile)) + 0.5)).sum() / profile.sum())
            mm = centroid * resampled.grid.spacing_mm[axis]
            worst = max(worst, abs(mm - place * shape[axis] * spacing[axis]))
    return worst


def _real_volumes() -> Iterator[tuple[str, np.ndarray, Spacing]]:
    """(device, voxels, spacing) of the first sound volume of each device, from the ZIPs of a release."""
    default = Path(__file__).parents[2] / "shared" / "realdata"
    root = Path(os.environ.get("OCTSHARD_REALDATA", default)) / "aireadi"
    if not (root / "manifest.tsv").exists():
        click.echo(f"no real B-scans at {root}; set OCTSHARD_REALDATA", err=True)
        return
    entries = {entry.path.rsplit("/", 1)[-1]: entry for entry in read_release(str(root)).entries}
    for device in REAL:
        (archive,) = root.glob(f"*{device}/*.zip")
        with zipfile.ZipFile(archive) as archive_file:
            for name in archive_file.namelist():
                entry = entries[name.rsplit("/", 1)[-1]]
                data = archive_file.read(name)
                if entry.pixel_mm and entry.slice_mm and len(data) > 10**6:
                    header = dicom.read_header(data, 10**9)
                    voxels = np.stack(list(decode.frames(data, header)))
                    step = entry.slice_mm
                    if abs(step - entry.pixel_mm[1]) < 1e-4:  # the publisher's error: the scan is square
                        step = entry.pixel_mm[1] * header.cols / header.frames
                    yield device, voxels, (step, *entry.pixel_mm)
                    break


def _sitk(image: Any, cube_DHW: np.ndarray, spacing_mm: Spacing, target_mm: Spacing) -> np.ndarray:
    """Linear resampling of an image whose spacing is not set yet."""
    shape = resampled_shape(_shape(cube_DHW), spacing_mm, target_mm)
    out = tuple(mm * n / m for mm, n, m in zip(spacing_mm, cube_DHW.shape, shape, strict=True))
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin(tuple(mm / 2 for mm in spacing_mm[::-1]))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape[::-1]])
    resampler.SetOutputSpacing(out[::-1])
    resampler.SetOutputOrigin(tuple(mm / 2 for mm in out[::-1]))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(resampler.Execute(image))


def _filling(voxels_DHW: np.ndarray, cube_DHW: np.ndarray, spacing_mm: Spacing) -> Resampled:
    """Voxels that fill the cube's extent, edge on edge."""
    d, h, w = (mm * n / m for mm, n, m in zip(spacing_mm, cube_DHW.shape, voxels_DHW.shape, strict=True))
    return Resampled(voxels_DHW, edges_at_zero((d, h, w), _shape(voxels_DHW)))


def _axis(values: np.ndarray, axis: int, n_out: int) -> np.ndarray:
    values = np.moveaxis(values, axis, -1)
    n = values.shape[-1]
    edges = np.arange(n_out + 1) * n / n_out
    if n_out > n:
        at = np.clip((edges[:-1] + edges[1:]) / 2 - 0.5, 0, n - 1)
        left = np.minimum(at.astype(int), n - 2)
        resampled = values[..., left] * (1 - (at - left)) + values[..., left + 1] * (at - left)
    else:
        whole = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
        left = np.minimum(edges.astype(int), n - 1)
        integral = whole[..., left] + values[..., left] * (edges - left)
        resampled = np.diff(integral, axis=-1) / (n / n_out)
    return np.moveaxis(resampled, -1, axis)


def _rounded(voxels_DHW: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(voxels_DHW), 0, 255).astype(np.float32)


def _to_reference(voxels_DHW: np.ndarray, reference_DHW: np.ndarray) -> float | None:
    """PSNR in dB; None if the method returns another grid."""
    return _psnr_db(voxels_DHW, reference_DHW) if voxels_DHW.shape == reference_DHW.shape else None


def _psnr_db(resampled_DHW: np.ndarray, reference_DHW: np.ndarray) -> float:
    error = statistics.fmean(
        float(np.mean((a.astype(np.float64) - b) ** 2))
        for a, b in zip(resampled_DHW, reference_DHW, strict=True)
    )
    return 10 * float(np.log10(255**2 / error))


def _shape(cube_DHW: np.ndarray) -> Shape:
    d, h, w = cube_DHW.shape
    return d, h, w


SECTIONS: dict[str, Callable[..., SectionResult]] = {"synthetic": synthetic, "real": real}


@benchmark(SECTIONS, "A smaller cube, one run of each.")
def main(quick: bool, json_file: str | None, only: tuple[str, ...]) -> None:
    """Resampling beside MONAI, SciPy, SimpleITK and torch: CPU time and quality.

    \b
    Example:
      python benchmarks/resample.py --quick --json resample.json
    """
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    report({name: partial(SECTIONS[name], quick=quick) for name in only}, json_file, quick=quick)


if __name__ == "__main__":
    main()

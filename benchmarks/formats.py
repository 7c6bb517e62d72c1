"""The inputs of stream.py: speckled volumes as our shards, and scans as DICOM files for the first design.

Layers under multiplicative speckle pack 1.45 to 1 at level 3, and the tuned frames a little better and faster
than the plain ones, both as for real OCT. Everything is made once and kept in the folder given by --work.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scans import ScanSpec, make
from synthetic_volume import edges_at_zero, truth

from octshard.config.prep import PrepConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.imaging.volume import SampleKey, Shape, Spacing, product
from octshard.rng import rng_for

CACHE_VERSION = 1  # part of every cached name: raise it when the content changes
EXTENT_MM: Spacing = (6.0, 2.5, 6.0)
DARK, SPECKLE, FLOOR = 45.0, 0.55, 5.5  # grey subtracted; speckled share of the remainder; noise floor
MEAN_RAYLEIGH = 1.25


@dataclass(frozen=True)
class Volumes:
    """`count` volumes of one shape, `per_file` in each tar."""

    name: str
    count: int
    shape: Shape
    per_file: int
    first: int = 0  # number of the first, so that two sets need not have volumes in common

    def folder(self, work: Path) -> Path:
        """The parent of one folder for each format."""
        name = f"{CACHE_VERSION}-{self.name}-{self.count}-{'x'.join(map(str, self.shape))}"
        return work / (f"{name}-from-{self.first}" if self.first else name)

    @property
    def megabytes(self) -> float:
        """Of one volume, unpacked."""
        return product(self.shape) / 1e6


def shards(volumes: Volumes, work: Path) -> Path:
    """Our dataset folder with these volumes, made on first use."""
    return once(volumes.folder(work) / "ours", lambda folder: _write(volumes, folder))


def scans(count: int, frames: int, image_size: Shape, work: Path) -> Path:
    """A folder of `count` DICOM scans (Maestro2, lossy JPEG 2000 as the device writes it) and scan.json."""
    spec = ScanSpec("topcon_maestro2", "3d_macula", "j2k_lossy", frames=frames, distinct=8)

    def fill(folder: Path) -> None:
        scan_file = make(spec, work)
        for number in range(count):
            shutil.copyfile(scan_file.path, folder / f"{number:03d}.dcm")
        scan = {
            "spacing_mm": spec.spacing_mm,
            "target_mm": PrepConfig().target_spacing,
            "image_size": image_size,
            "shape": spec.shape,
        }
        (folder / "scan.json").write_text(json.dumps(scan))

    return once(work / f"{CACHE_VERSION}-dicom-{count}-{frames}", fill)


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled on first use and atomically: a stopped run leaves no partial folder."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        partial.rename(folder)
    return folder


def ratio(folder: Path, volumes: Volumes) -> float:
    """Voxel bytes to stored bytes of our shards."""
    stored = sum(path.stat().st_size for path in folder.glob("*.tar"))
    return volumes.megabytes * 1e6 * volumes.count / stored


def _write(volumes: Volumes, folder: Path) -> None:
    step = tuple(mm / n for mm, n in zip(EXTENT_MM, volumes.shape, strict=True))
    clean_DHW = np.clip(truth(edges_at_zero(step, volumes.shape), EXTENT_MM, 1) - DARK, 0, None)  # type: ignore[arg-type]
    rows: list[SampleRow] = []
    infos: list[ShardInfo] = []
    with ThreadPoolExecutor(2) as pool:
        for first in range(0, volumes.count, volumes.per_file):
            numbers = range(first, min(first + volumes.per_file, volumes.count))
            packed_samples = list(
                pool.map(lambda number: _sample(volumes, clean_DHW, volumes.first + number), numbers)
            )
            name = f"train-{first // volumes.per_file:06d}.tar"
            with open(folder / name, "wb") as file:
                shard_sums = shard.write(file, [data for _, data in packed_samples])
            rows += [
                dataclasses.replace(row, shard=name, offset=offset)
                for (row, _), offset in zip(packed_samples, shard_sums.offsets, strict=True)
            ]
            infos.append(
                ShardInfo(name, "phantom", "train", len(packed_samples), shard_sums.bytes, shard_sums.sha256)
            )
    tables.write_rows(str(folder / tables.SAMPLES), rows)
    tables.write_shards(str(folder / tables.SHARDS), infos)
    tables.write_info(str(folder / tables.INFO), {"device": "phantom"})


def _sample(volumes: Volumes, clean_DHW: np.ndarray, number: int) -> tuple[SampleRow, bytes]:
    """One eye: the layers shifted sideways, with its own speckle."""
    rng = rng_for("benchmark stream", number)
    clean_DHW = np.roll(clean_DHW, int(rng.integers(volumes.shape[2])), axis=2)
    voxels_DHW = np.sqrt(2 * rng.standard_exponential(volumes.shape, dtype=np.float32))  # Rayleigh
    voxels_DHW *= clean_DHW * np.float32(SPECKLE / MEAN_RAYLEIGH) + np.float32(FLOOR)
    voxels_DHW += clean_DHW * np.float32(1 - SPECKLE)
    voxels_DHW = np.clip(voxels_DHW, 0, 255, out=voxels_DHW).astype(np.uint8)
    mean, std = float(voxels_DHW.mean(dtype=np.float64)), float(voxels_DHW.std(dtype=np.float64))
    person = f"1{number // 2:03d}"
    key = str(SampleKey.of(person, "phantom", "cube", "LR"[number % 2], f"2.25.{number}"))
    data = shard.pack(key, {"mean": mean, "std": std}, voxels_DHW, PrepConfig().zstd_level)
    row = SampleRow(
        key, person, "phantom", "", "", "cube", "Macula", "LR"[number % 2], "train", f"{number}.dcm",
        shape_out=volumes.shape, dtype="uint8", mean=mean, std=std, nbytes=len(data),
        sha256=hashlib.sha256(voxels_DHW.data).hexdigest(), xxh3=shard.slice_digest(data),
    )  # fmt: skip
    return row, data

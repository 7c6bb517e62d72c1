"""`bits: keep` beside `bits: 8`: bytes in shards, and CPU time of prep, of unpacking and of the stream.

    python benchmarks/bits.py --quick
    python benchmarks/bits.py --json bits.json

Scans are made up of layers under multiplicative speckle, drawn as floats and rounded to 12 or 16 bits, so
that every bit is true. Both settings make their shards of the same NPY files. Each time is the median of
interleaved runs in one thread; ratios are medians of pairs.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
import numpy as np
import octshard_prep
from command import benchmark
from formats import DARK, FLOOR, MEAN_RAYLEIGH, SPECKLE
from scans import ScanFile, ScanSpec
from synthetic_volume import edges_at_zero, truth
from table import SectionResult, Table, clock, report

from octshard.config.prep import EIGHT, KEEP, PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.devices.buffers import BufferPool
from octshard.rng import rng_for
from octshard.stream.batch import BatchTransform, RankSlice
from octshard.stream.index import load_index
from octshard.stream.loader import train_batches
from octshard.stream.sampler import StreamPosition

SETTINGS = (EIGHT, KEEP)
SECTIONS = ("12", "16")  # bits of the files
SPEC = ScanSpec("topcon_maestro2", "3d_macula", "native")  # 128 x 885 x 512 voxels
SCANS, PAIRS, PASSES = 4, 5, 4
STAGES = ("prep CPU s", "unpack CPU ms", "stream CPU ms")  # of one volume


@dataclass(frozen=True)
class Made:
    """What a setting makes of the scans: rows and slices of the tar; megabytes: of voxels in one."""

    rows: tuple[SampleRow, ...]
    slices: tuple[bytes, ...]
    megabytes: float

    @property
    def stored_mb(self) -> float:
        """Of one volume."""
        return statistics.mean(map(len, self.slices)) / 1e6


@benchmark(SECTIONS, "Smaller scans, one pair.")
@click.option("--as-filed", is_flag=True, help="Without resampling: on the grid of the files.")
def main(quick: bool, json_file: str | None, only: tuple[str, ...], as_filed: bool) -> None:
    """Size and CPU time of shards that keep more than 8 bits, beside those of 8.

    \b
    Example:
      python benchmarks/bits.py --quick
    """
    sections = {name: lambda name=name: _section(int(name), quick=quick, as_filed=as_filed) for name in only}
    report(sections, json_file, quick=quick)


def _section(bits: int, *, quick: bool, as_filed: bool) -> SectionResult:
    spec = dataclasses.replace(SPEC, scale=0.2 if quick else 1.0)
    target = spec.spacing_mm if as_filed else PrepConfig().target_spacing
    cfgs = {name: PrepConfig(bits=name, target_spacing=[*target]) for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        files = [_write(Path(folder), spec, bits, number) for number in range(2 if quick else SCANS)]
        made = {name: _made(files, cfg) for name, cfg in cfgs.items()}
        for name in SETTINGS:
            _write_dataset(Path(folder) / name, made[name])
        runs: dict[str, Callable[[str], None]] = {
            STAGES[0]: lambda name: _convert(files, cfgs[name]),
            STAGES[1]: lambda name: _unpack(made[name]),
            STAGES[2]: lambda name: _stream(Path(folder) / name, len(files)),
        }
        counts = {STAGES[2]: PASSES * len(files)}
        units = {STAGES[0]: 1.0}
        figures = {
            stage: _pairs(run, 1 if quick else PAIRS, units.get(stage, 1e3) / counts.get(stage, len(files)))
            for stage, run in runs.items()
        }
    head = ("setting", "MB of voxels", "MB stored", "voxels / stored", *STAGES)
    rows = [
        (
            f"bits: {name}",
            made[name].megabytes,
            made[name].stored_mb,
            made[name].megabytes / made[name].stored_mb,
            *(statistics.median(figures[stage][name]) for stage in STAGES),
        )
        for name in SETTINGS
    ]
    ratios = [
        statistics.median(k / e for e, k in zip(*figures[stage].values(), strict=True)) for stage in STAGES
    ]
    sizes = (made[KEEP].megabytes / made[EIGHT].megabytes, made[KEEP].stored_mb / made[EIGHT].stored_mb)
    rows.append(("keep / 8", *sizes, None, *ratios))
    d, h, w = spec.shape
    stored = "x".join(map(str, made[KEEP].rows[0].shape_out or ()))
    title = f"scans of {bits} bits, {d}x{h}x{w} voxels, stored as {stored}: one volume"
    return [Table(title, head, tuple(rows))], []


def _write(folder: Path, spec: ScanSpec, bits: int, number: int) -> ScanFile:
    """A scan in NPY, its grey on all levels of `bits`."""
    clean_DHW = np.clip(
        truth(edges_at_zero(spec.spacing_mm, spec.shape), spec.pattern.extent_mm, 1) - DARK, 0, None
    )
    rng = rng_for("benchmark bits", bits, number)
    grey_DHW = np.sqrt(2 * rng.standard_exponential(spec.shape, dtype=np.float32))  # Rayleigh
    grey_DHW *= clean_DHW * np.float32(SPECKLE / MEAN_RAYLEIGH) + np.float32(FLOOR)
    grey_DHW += clean_DHW * np.float32(1 - SPECKLE)
    top = 2**bits - 1
    levels_DHW = np.clip(np.rint(grey_DHW * np.float32(top / 255)), 0, top).astype(np.uint16)
    path = folder / f"{number}.npy"
    np.save(path, levels_DHW)
    return ScanFile(spec, path, f"2.25.{number + 1}")


def _convert(files: Sequence[ScanFile], cfg: PrepConfig) -> list[tuple[SampleRow, bytes]]:
    return [octshard_prep.convert(file, cfg) for file in files]


def _made(files: Sequence[ScanFile], cfg: PrepConfig) -> Made:
    rows, slices = zip(*_convert(files, cfg), strict=True)
    voxels = shard.unpack(slices[0], rows[0].key, rows[0].xxh3, "benchmark").voxels_DHW
    return Made(rows, slices, voxels.nbytes / 1e6)


def _unpack(made: Made) -> None:
    """As each read: the checksum, the JSON, the zstd frame."""
    for row, data in zip(made.rows, made.slices, strict=True):
        shard.unpack(data, row.key, row.xxh3, "benchmark")


def _write_dataset(folder: Path, made: Made) -> None:
    name = "train-000000.tar"
    folder.mkdir()
    with open(folder / name, "wb") as file:
        sums = shard.write(file, made.slices)
    rows = [
        dataclasses.replace(row, shard=name, offset=offset)
        for row, offset in zip(made.rows, sums.offsets, strict=True)
    ]
    tables.write_rows(str(folder / tables.SAMPLES), rows)
    info = ShardInfo(name, rows[0].device, "train", len(rows), sums.bytes, sums.sha256)
    tables.write_shards(str(folder / tables.SHARDS), [info])
    tables.write_info(str(folder / tables.INFO), {})


def _stream(folder: Path, count: int) -> None:
    """PASSES over the volumes, whole, one in a batch, by one thread."""
    cfg = TrainConfig()
    cfg.data.shards, cfg.data.threads, cfg.data.lanes = [str(folder)], 1, 1
    index = load_index(cfg, "train", 0)
    cfg.model.image_size = [max(sizes) for sizes in zip(*(s.shape for s in index.samples), strict=True)]
    cfg.model.patch = [1, 1, 1]
    transform = BatchTransform(lambda batch: batch, BufferPool().empty)
    batches = train_batches(index, cfg, RankSlice(1, 0, 1), StreamPosition(0, 0), transform)
    with closing(batches):
        for _ in islice(batches, PASSES * count):
            pass


def _pairs(run: Callable[[str], None], pairs: int, unit: float) -> dict[str, list[float]]:
    """CPU time of each setting in turn, after one uncounted run of each."""
    times: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for name in SETTINGS:
        run(name)
    for _ in range(pairs):
        for name in SETTINGS:
            with clock() as timing:
                run(name)
            times[name].append(timing.cpu_s * unit)
    return times


if __name__ == "__main__":
    main()

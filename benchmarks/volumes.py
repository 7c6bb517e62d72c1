"""One volume at a time, by device and encoding: the MONAI baseline, octshard exact and fast, the floors."""

import dataclasses
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import octshard_prep
import openjpeg
import pydicom
from pydicom.encaps import generate_frames
from scans import ScanFile, ScanSpec, make
from table import SectionResult, Table, Target, Timing, at_least, at_most, clock, middle

from octshard.config.prep import PrepConfig
from octshard.imaging.volume import triple

NATIVE, LOSSLESS, LOSSY = "native", "j2k", "j2k_lossy"
MAIN = {  # device -> its main protocol, or the one that its users wait longest for
    "heidelberg_spectralis": "ppol_mac_hr",
    "topcon_maestro2": "3d_macula",
    "topcon_triton": "3d_radial",
    "zeiss_cirrus": "macular_cube",
}
TWELVE = "heidelberg_spectralis"  # target: 12 times as fast as the baseline, for the others 18
EXACT = PrepConfig()
FAST = dataclasses.replace(EXACT, decode="fast")
HEAD = (
    "scan", "MB", "packed", "usual", "usual uint8", "ours", "usual/ours", "uint8/ours", "usual wall",
    "ours wall", "decode", "ours/decode", "read", "fast", "level", "exact/fast", "fast dB",
)  # fmt: skip


@dataclass(frozen=True)
class VolumeTimings:
    """Medians over repeats, seconds, of one file. The names of `timings` are those of the columns."""

    scan_file: ScanFile
    usual: Timing  # of the baseline, which saves float32
    usual_uint8: Timing
    timings: dict[str, Timing]
    fast_level: int  # resolution levels that decode=fast left out
    fast_db: float | None

    def times(self, slower: str, faster: str) -> float | None:
        """CPU time of `slower` divided by that of `faster`; None if one was not measured."""
        if slower not in self.timings or faster not in self.timings:
            return None
        return self.timings[slower].cpu_s / self.timings[faster].cpu_s

    def row(self) -> tuple[Any, ...]:
        """The columns of HEAD."""
        ms = {name: 1e3 * timing.cpu_s for name, timing in self.timings.items()}
        packed = 1e6 * self.scan_file.megabytes / self.scan_file.path.stat().st_size
        return (
            label(self.scan_file.spec), self.scan_file.megabytes, packed, 1e3 * self.usual.cpu_s,
            1e3 * self.usual_uint8.cpu_s, ms["ours"], 1e3 * self.usual.cpu_s / ms["ours"],
            1e3 * self.usual_uint8.cpu_s / ms["ours"], 1e3 * self.usual.wall_s,
            1e3 * self.timings["ours"].wall_s, ms["decode"], self.times("ours", "decode"), ms["read"],
            ms.get("fast"), self.fast_level, self.times("ours", "fast"), self.fast_db,
        )  # fmt: skip

    def targets(self) -> list[Target]:
        """The targets for this file's encoding and shape."""
        name, coding = label(self.scan_file.spec), self.scan_file.spec.encoding
        if coding != NATIVE:
            least = 3.3 if coding == LOSSLESS else 2.0
            what = f"exact / fast, CPU, {name}"
            if (
                not self.fast_level
            ):  # its columns are not much finer than the target's: half would be too coarse
                what += " (no level may be left out)"
            return [
                at_most(f"ours / decoding alone, CPU, {name}", 1.15, self.times("ours", "decode"), "x"),
                at_least(what, least, self.times("ours", "fast") if self.fast_level else None),
            ]
        least = 12.0 if self.scan_file.spec.device == TWELVE else 18.0
        times = self.usual.cpu_s / self.timings["ours"].cpu_s
        targets = [at_least(f"usual / ours, CPU, {name}", least, times)]
        if self.scan_file.spec.shape == (128, 885, 512):
            codec_cpu_s = self.timings["frames"].cpu_s + self.timings["checksums"].cpu_s
            other_ms = 1e3 * (self.timings["ours"].cpu_s - codec_cpu_s)
            targets.append(at_most("all but decoding and checksums, CPU, 128x885x512", 60, other_ms, "ms"))
        return targets


def compare(work: Path, *, quick: bool) -> SectionResult:
    """The table of all specs, and the targets of each. Inputs are made first.

    octshard and the floors run in a process prepared as prep's workers are, the baseline in another.
    """
    inputs = [make(spec, work) for spec in specs(quick=quick)]
    first = make(ScanSpec("topcon_maestro2", "3d_macula", LOSSLESS, frames=4), work)
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, spawn, octshard_prep.init_worker) as octshard_process,
        ProcessPoolExecutor(1, spawn) as peer_process,
    ):
        results = [
            _measure(
                scan_file,
                work,
                _repeats(scan_file.spec.encoding, quick=quick),
                (octshard_process, peer_process),
            )
            for scan_file in (first, *inputs)
        ]
    # the first file pays for compiled loops and lazy imports, which a run pays for once
    table = Table(
        "one volume, ms of CPU (and wall) time", HEAD, tuple(result.row() for result in results[1:])
    )
    return [table], [line for result in results[1:] for line in result.targets()]


def specs(*, quick: bool) -> list[ScanSpec]:
    """All devices in all encodings; quick: two native, and a sixteenth of one in JPEG 2000."""
    if not quick:
        return [ScanSpec(device, MAIN[device], e) for device in MAIN for e in (NATIVE, LOSSLESS, LOSSY)]
    native = [
        ScanSpec(device, MAIN[device], NATIVE) for device in ("heidelberg_spectralis", "topcon_maestro2")
    ]
    coded = [ScanSpec("topcon_maestro2", "3d_macula", e, frames=8) for e in (LOSSLESS, LOSSY)]
    return [*native, *coded]


def label(spec: ScanSpec) -> str:
    """The name of a scan in tables."""
    return f"{spec.device.split('_')[1]} {'x'.join(map(str, spec.shape))} {spec.encoding}"


def read_alone(scan_file: ScanFile) -> None:
    """Reads the file's bytes."""
    scan_file.path.read_bytes()


def decode_alone(scan_file: ScanFile) -> None:
    """The codec alone: pylibjpeg's OpenJPEG frame by frame; for native pixels pydicom's array."""
    ds = pydicom.dcmread(scan_file.path)
    if scan_file.spec.encoding == NATIVE:
        _ = ds.pixel_array
        return
    for frame in generate_frames(ds.PixelData, number_of_frames=int(ds.NumberOfFrames)):
        openjpeg.decode_pixel_data(frame, version=2)


def _repeats(encoding: str, *, quick: bool) -> int:
    if quick:
        return 3 if encoding == NATIVE else 1
    return 7 if encoding == NATIVE else 3


def _measure(
    scan_file: ScanFile, work: Path, repeats: int, processes: tuple[Executor, Executor]
) -> VolumeTimings:
    """All operations in turn within each repeat, so that a slower machine slows all of them."""
    octshard_process, peer_process = processes
    names = [name for name in OPERATIONS if (name in ONLY) <= (scan_file.spec.encoding in ONLY.get(name, ()))]
    timings, peer_timings = {name: list[Timing]() for name in names}, []
    for _ in range(repeats):
        peer_timings.append(peer_process.submit(_usual, scan_file, work).result())
        for name in names:
            timings[name].append(octshard_process.submit(_timed, name, scan_file, work).result())
    level, db = octshard_process.submit(_fast_facts, scan_file).result() if "fast" in names else (0, None)
    medians = {name: middle(all_) for name, all_ in timings.items()}
    return VolumeTimings(
        scan_file,
        middle([p[0] for p in peer_timings]),
        middle([p[1] for p in peer_timings]),
        medians,
        level,
        db,
    )


def _timed(name: str, scan_file: ScanFile, work: Path) -> Timing:
    """One operation, once; its inputs are prepared before the clock starts."""
    operation = OPERATIONS[name](scan_file, work)
    with clock() as timing:
        operation()
    return timing


def _stored(scan_file: ScanFile, work: Path, cfg: PrepConfig) -> Callable[[], Any]:
    """Writes the slice to disk, because the baseline writes its result, too."""
    return lambda: (work / "ours.tar").write_bytes(octshard_prep.convert(scan_file, cfg)[1])


def _frames(scan_file: ScanFile, work: Path) -> Callable[[], Any]:
    data = scan_file.path.read_bytes()
    return lambda: octshard_prep.frames(data)


def _checksums(scan_file: ScanFile, work: Path) -> Callable[[], Any]:
    data, stored = scan_file.path.read_bytes(), octshard_prep.voxels(scan_file, EXACT).tobytes()
    return lambda: octshard_prep.checksums(data, stored)


OPERATIONS: dict[str, Callable[[ScanFile, Path], Callable[[], Any]]] = {
    "ours": partial(_stored, cfg=EXACT),
    "fast": partial(_stored, cfg=FAST),
    "decode": lambda scan_file, work: partial(decode_alone, scan_file),
    "read": lambda scan_file, work: partial(read_alone, scan_file),
    "frames": _frames,
    "checksums": _checksums,
}
ONLY = {"fast": (LOSSLESS, LOSSY), "frames": (NATIVE,), "checksums": (NATIVE,)}  # in these encodings


def _usual(scan_file: ScanFile, work: Path) -> tuple[Timing, Timing]:
    import monai_baseline  # here, because MONAI takes seconds to import

    spacing, size = triple(EXACT.target_spacing), triple(EXACT.image_size)
    return monai_baseline.run(scan_file.path, scan_file.spec.spacing_mm, spacing, size, work / "usual.npz")


def _fast_facts(scan_file: ScanFile) -> tuple[int, float | None]:
    """Levels that decode=fast leaves out, and the PSNR of its stored voxels against the exact ones."""
    level = octshard_prep.convert(scan_file, FAST)[0].decoded_level or 0
    exact, fast = (octshard_prep.voxels(scan_file, cfg).astype(np.float64) for cfg in (EXACT, FAST))
    error = float(np.mean((exact - fast) ** 2))
    return level, 10 * float(np.log10(255**2 / error)) if error else None

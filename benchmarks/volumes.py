"""One volume at a time, by device and encoding: the usual pipeline, ours, ours fast, and the floors below."""

import dataclasses
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openjpeg
import ours
import pydicom
from pydicom.encaps import generate_frames
from scans import Input, Wish, make
from table import Found, Spent, Table, Wanted, clock, middle, want_least, want_most

from octshard.config.prep import PrepConfig
from octshard.imaging.volume import triple

NATIVE, LOSSLESS, LOSSY = "native", "j2k", "j2k_lossy"
MAIN = {  # device -> its main protocol, or the one that its users wait longest for
    "heidelberg_spectralis": "ppol_mac_hr",
    "topcon_maestro2": "3d_macula",
    "topcon_triton": "3d_radial",
    "zeiss_cirrus": "macular_cube",
}
TWELVE = "heidelberg_spectralis"  # wanted: 12 times the usual pipeline, of the others 18
EXACT = PrepConfig()
FAST = dataclasses.replace(EXACT, decode="fast")
HEAD = (
    "scan", "MB", "packed", "usual", "usual uint8", "ours", "usual/ours", "uint8/ours", "usual wall",
    "ours wall", "decode", "ours/decode", "read", "fast", "level", "exact/fast", "fast dB",
)  # fmt: skip


@dataclass(frozen=True)
class Took:
    """Medians over repeats, seconds, of one file. Those of `ways` are named as the rows' columns are."""

    one: Input
    usual: Spent  # saves float32, as the pipeline is mostly written
    usual_uint8: Spent
    ways: dict[str, Spent]
    fast_level: int  # resolution levels that decode=fast left out
    fast_db: float | None

    def times(self, slower: str, faster: str) -> float | None:
        """How many times the CPU time of the one is that of the other."""
        if slower not in self.ways or faster not in self.ways:
            return None
        return self.ways[slower].cpu_s / self.ways[faster].cpu_s

    def row(self) -> tuple[Any, ...]:
        """As HEAD has it."""
        ms = {name: 1e3 * spent.cpu_s for name, spent in self.ways.items()}
        packed = 1e6 * self.one.megabytes / self.one.path.stat().st_size
        return (
            label(self.one.wish), self.one.megabytes, packed, 1e3 * self.usual.cpu_s,
            1e3 * self.usual_uint8.cpu_s, ms["ours"], 1e3 * self.usual.cpu_s / ms["ours"],
            1e3 * self.usual_uint8.cpu_s / ms["ours"], 1e3 * self.usual.wall_s,
            1e3 * self.ways["ours"].wall_s, ms["decode"], self.times("ours", "decode"), ms["read"],
            ms.get("fast"), self.fast_level, self.times("ours", "fast"), self.fast_db,
        )  # fmt: skip

    def wanted(self) -> list[Wanted]:
        """What this file's encoding and shape are asked for."""
        name, coding = label(self.one.wish), self.one.wish.encoding
        if coding != NATIVE:
            least = 3.3 if coding == LOSSLESS else 2.0
            what = f"exact / fast, CPU, {name}"
            if (
                not self.fast_level
            ):  # its columns are not much finer than the target's: half would be too coarse
                what += " (no level may be left out)"
            return [
                want_most(f"ours / decoding alone, CPU, {name}", 1.15, self.times("ours", "decode"), "x"),
                want_least(what, least, self.times("ours", "fast") if self.fast_level else None),
            ]
        least = 12.0 if self.one.wish.device == TWELVE else 18.0
        times = self.usual.cpu_s / self.ways["ours"].cpu_s
        found = [want_least(f"usual / ours, CPU, {name}", least, times)]
        if self.one.wish.shape == (128, 885, 512):
            known = self.ways["frames"].cpu_s + self.ways["checksums"].cpu_s
            rest = 1e3 * (self.ways["ours"].cpu_s - known)
            found.append(want_most("all but decoding and checksums, CPU, 128x885x512", 60, rest, "ms"))
        return found


def compare(work: Path, *, quick: bool) -> Found:
    """The table of all wishes, and what is wanted of each. Inputs are made first.

    Ours and the floors run in a process that begins as a worker of ours does, the usual pipeline in another.
    """
    inputs = [make(wish, work) for wish in wishes(quick=quick)]
    first = make(Wish("topcon_maestro2", "3d_macula", LOSSLESS, frames=4), work)
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, spawn, ours.begin) as mine,
        ProcessPoolExecutor(1, spawn) as peer,
    ):
        found = [
            _took(one, work, _repeats(one.wish.encoding, quick=quick), (mine, peer))
            for one in (first, *inputs)
        ]
    # the first file pays for compiled loops and lazy imports, which a run pays for once
    table = Table("one volume, ms of CPU (and wall) time", HEAD, tuple(took.row() for took in found[1:]))
    return [table], [line for took in found[1:] for line in took.wanted()]


def wishes(*, quick: bool) -> list[Wish]:
    """All devices in all encodings; quick: two native, and a sixteenth of one in JPEG 2000."""
    if not quick:
        return [Wish(device, MAIN[device], e) for device in MAIN for e in (NATIVE, LOSSLESS, LOSSY)]
    native = [Wish(device, MAIN[device], NATIVE) for device in ("heidelberg_spectralis", "topcon_maestro2")]
    coded = [Wish("topcon_maestro2", "3d_macula", e, frames=8) for e in (LOSSLESS, LOSSY)]
    return [*native, *coded]


def label(wish: Wish) -> str:
    """How a wish is named in tables."""
    return f"{wish.device.split('_')[1]} {'x'.join(map(str, wish.shape))} {wish.encoding}"


def read_alone(one: Input) -> None:
    """Its bytes, and no more."""
    one.path.read_bytes()


def decode_alone(one: Input) -> None:
    """The codec and nothing else: pylibjpeg's OpenJPEG frame by frame; of native pixels pydicom's array."""
    ds = pydicom.dcmread(one.path)
    if one.wish.encoding == NATIVE:
        _ = ds.pixel_array
        return
    for frame in generate_frames(ds.PixelData, number_of_frames=int(ds.NumberOfFrames)):
        openjpeg.decode_pixel_data(frame, version=2)


def _repeats(encoding: str, *, quick: bool) -> int:
    if quick:
        return 3 if encoding == NATIVE else 1
    return 7 if encoding == NATIVE else 3


def _took(one: Input, work: Path, repeats: int, processes: tuple[Executor, Executor]) -> Took:
    """Every way in turn within each repeat, so that a machine that slows down slows all of them."""
    mine, peer = processes
    names = [name for name in PREPARED if (name in ONLY) <= (one.wish.encoding in ONLY.get(name, ()))]
    spent, peers = {name: list[Spent]() for name in names}, []
    for _ in range(repeats):
        peers.append(peer.submit(_usual, one, work).result())
        for name in names:
            spent[name].append(mine.submit(_timed, name, one, work).result())
    level, db = mine.submit(_fast_facts, one).result() if "fast" in names else (0, None)
    ways = {name: middle(all_) for name, all_ in spent.items()}
    return Took(one, middle([p[0] for p in peers]), middle([p[1] for p in peers]), ways, level, db)


def _timed(name: str, one: Input, work: Path) -> Spent:
    """One way, once; what it works on is prepared before the clock starts."""
    act = PREPARED[name](one, work)
    with clock() as spent:
        act()
    return spent


def _stored(one: Input, work: Path, cfg: PrepConfig) -> Callable[[], Any]:
    """Ours writes its slice to disk, because the usual pipeline writes its result, too."""
    return lambda: (work / "ours.tar").write_bytes(ours.make(one, cfg)[1])


def _frames(one: Input, work: Path) -> Callable[[], Any]:
    data = one.path.read_bytes()
    return lambda: ours.frames(data)


def _checksums(one: Input, work: Path) -> Callable[[], Any]:
    data, stored = one.path.read_bytes(), ours.voxels(one, EXACT).tobytes()
    return lambda: ours.checksums(data, stored)


PREPARED: dict[str, Callable[[Input, Path], Callable[[], Any]]] = {
    "ours": partial(_stored, cfg=EXACT),
    "fast": partial(_stored, cfg=FAST),
    "decode": lambda one, work: partial(decode_alone, one),
    "read": lambda one, work: partial(read_alone, one),
    "frames": _frames,
    "checksums": _checksums,
}
ONLY = {"fast": (LOSSLESS, LOSSY), "frames": (NATIVE,), "checksums": (NATIVE,)}  # in these encodings


def _usual(one: Input, work: Path) -> tuple[Spent, Spent]:
    import usual  # MONAI takes seconds to import: no other process need pay for it

    spacing, size = triple(EXACT.target_spacing), triple(EXACT.image_size)
    return usual.run(one.path, one.wish.spacing_mm, spacing, size, work / "usual.npz")


def _fast_facts(one: Input) -> tuple[int, float | None]:
    """Levels that decode=fast leaves out, and the PSNR of its stored voxels against the exact ones."""
    level = ours.make(one, FAST)[0].decoded_level or 0
    exact, fast = (ours.voxels(one, cfg).astype(np.float64) for cfg in (EXACT, FAST))
    error = float(np.mean((exact - fast) ** 2))
    return level, 10 * float(np.log10(255**2 / error)) if error else None

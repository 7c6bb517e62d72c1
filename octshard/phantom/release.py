"""An AI-READI-shaped release of made-up eyes: device ZIPs, manifest.tsv, participants.tsv, and truth.parquet.

Bytes depend on what is wanted alone, not on the number of workers. participants.tsv is written last: a
release that has one is whole. truth.parquet is for judging, never for training.
"""

import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from octshard import pool
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.phantom import cohort, defects, scan, truth
from octshard.phantom import eye as anatomy
from octshard.phantom.defects import NAMED, Blinks
from octshard.phantom.device import DEVICES, PROTOCOLS, Protocol
from octshard.phantom.eye import Person
from octshard.prep.dicom import writer
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for, seed_for
from octshard.storage import store

ZIP_DATE = (2024, 11, 8, 0, 0, 0)
UID_ROOT = "2.25"  # UIDs made from numbers need no registration (DICOM PS3.5 B.2)
HEAD = (
    "participant_id", "manufacturer", "manufacturers_model_name", "anatomic_region", "imaging", "laterality",
    "height", "width", "number_of_frames", "pixel_spacing", "slice_thickness", "sop_instance_uid", "filepath",
    "reference_instance_uid", "reference_filepath",
)  # fmt: skip


@dataclass(frozen=True)
class ReleaseSpec:
    """What a release is a function of. scale: voxels per axis, as a share of the real shapes."""

    participants: int
    seed: int
    scale: float
    defects: bool
    eyes: tuple[str, ...] = ("L", "R")  # each device scans one of these


@dataclass(frozen=True)
class ReleaseSummary:
    """What was written."""

    participants: int
    volumes: int
    bytes: int


@dataclass(frozen=True)
class ScanJob:
    """One scan to make."""

    person: Person
    side: str
    protocol: Protocol
    scale: float
    seed: int
    defect: str  # a name of `defects`, or empty

    @property
    def copies(self) -> str:
        """What of a sound scan it repeats: file, pixels or nothing."""
        return NAMED[self.defect].copies if self.defect else ""

    @property
    def uid(self) -> str:
        """The scan's SOPInstanceUID in the manifest: a copy's comes right after that of what it repeats."""
        return f"{UID_ROOT}.{self._number + bool(self.copies)}"

    @property
    def uid_in_file(self) -> str:
        """The SOPInstanceUID that its file tells."""
        return f"{UID_ROOT}.{self._number + (self.copies == 'pixels')}"

    @property
    def _number(self) -> int:
        return seed_for(self.seed, "uid", *self.place, self.protocol.name)

    @property
    def place(self) -> tuple[str, str, str]:
        """Participant, device, eye."""
        return self.person.participant, self.protocol.device, self.side

    @property
    def member(self) -> str:
        """Its name in the device ZIP."""
        model = DEVICES[self.protocol.device].model.lower()
        person, eye = self.person.participant, self.side.lower()
        return f"{person}/{person}_{model}_{self.protocol.name}_oct_{eye}_{self.uid}.dcm"


def write_release(
    out: str, wanted: ReleaseSpec, workers: int, on_progress: OnProgress = no_progress
) -> ReleaseSummary:
    """Writes the release below `out` (a path or URL); on_progress counts scans."""
    if not 1 <= wanted.participants <= cohort.MOST or not 0.02 <= wanted.scale <= 1.0:
        raise UsageError(
            f"participants={wanted.participants}, scale={wanted.scale}: want 1 to {cohort.MOST}, 0.02 to 1"
        )
    if not wanted.eyes or not set(wanted.eyes) <= {"L", "R"}:
        raise UsageError(f"eyes={wanted.eyes}: want L, R or both")
    recruits = cohort.sample_cohort(wanted.participants, wanted.seed)
    todo = jobs([one.person for one in recruits], wanted)
    facts_of: dict[str, list[Any]] = {}
    with ExitStack() as stack:
        zips = {name: _open_zip(stack, out, name) for name in DEVICES}
        for done, (job, (data, facts)) in enumerate(zip(todo, _made(todo, workers), strict=True), start=1):
            if job.defect != "missing_file":
                _add(zips[job.protocol.device], job, data)
            for column, value in facts.items():
                facts_of.setdefault(column, []).append(value)
            on_progress(done, len(todo), "")
    tables.write_table(store.join(out, "truth.parquet"), facts_of)
    text = "\ufeff" + _tsv([HEAD, *(_row(job) for job in todo)])
    store.write(store.join(out, "manifest.tsv"), text.encode())
    rng = rng_for(wanted.seed, "participants.tsv")
    text = _tsv([cohort.COLUMNS, *(one.record(rng) for one in recruits)])
    store.write(store.join(out, "participants.tsv"), text.encode())
    size = sum(store.size(_zip_url(out, name)) for name in DEVICES)
    return ReleaseSummary(len(recruits), len(todo), size)


def jobs(persons: Iterable[Person], wanted: ReleaseSpec) -> tuple[ScanJob, ...]:
    """Every scan: each device scans one eye of each person by its main protocol, and some by its others."""
    found = []
    for person in persons:
        rng = rng_for(wanted.seed, "visit", person.participant)
        side = {name: wanted.eyes[int(rng.integers(len(wanted.eyes)))] for name in DEVICES}
        for protocol in PROTOCOLS:
            if rng.random() < protocol.share:
                found.append(ScanJob(person, side[protocol.device], protocol, wanted.scale, wanted.seed, ""))
    return tuple(_with_defects(found) if wanted.defects else found)


def make(job: ScanJob) -> tuple[bytes, dict[str, Any]]:
    """The DICOM file of a scan (defect and all) and its row of truth.parquet."""
    eye = _grown(job.person, job.side, job.seed)
    rng = rng_for(job.seed, "scan", *job.place, job.protocol.name)
    closed_DW = _blinks(job).lid(*_shape(job)[::2]) if job.defect == "blinks" else None
    picture = scan.acquire(eye, job.protocol, job.scale, rng, closed_DW)
    picture = defects.corrupt_picture(picture, job.defect)
    lossless = rng.random() < DEVICES[job.protocol.device].lossless_share
    data = writer.write(_scan(job, picture, lossless=lossless))
    return defects.corrupt_file(data, job.defect), _facts(job, eye, picture)


def _shape(job: ScanJob) -> tuple[int, int, int]:
    return scan.shape_of(job.protocol, job.scale)


def _blinks(job: ScanJob) -> Blinks:
    return Blinks.of(_shape(job)[0])


@lru_cache(maxsize=4)
def _grown(person: Person, side: str, seed: int) -> anatomy.Eye:
    """The eyes of whoever is being scanned."""
    return anatomy.generate(person, side, seed)


def _made(todo: tuple[ScanJob, ...], workers: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """`make` of every job, in order; a few are under way at once, so memory does not grow."""
    if workers == 1:
        yield from map(make, todo)
        return
    with pool.process_pool(workers, pool.no_setup) as executor:
        waiting: deque[Future[tuple[bytes, dict[str, Any]]]] = deque()
        for job in todo:
            waiting.append(executor.submit(make, job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _with_defects(found: list[ScanJob]) -> Iterator[ScanJob]:
    """One scan of a device's main protocol gets each of its defects; copies follow what they repeat."""
    main = {protocol.device: protocol for protocol in reversed(PROTOCOLS) if protocol.share == 1.0}
    scans = {
        device: [i for i, job in enumerate(found) if job.protocol is protocol]
        for device, protocol in main.items()
    }
    planted = defects.assign_defects(scans)
    for i, job in enumerate(found):
        if i not in planted or planted[i].copies:
            yield job
        if i in planted:
            yield replace(job, defect=planted[i].name)


def _scan(job: ScanJob, picture: scan.Picture, *, lossless: bool) -> writer.Scan:
    device = DEVICES[job.protocol.device]
    step, dy, dx = _spacing(job)
    thickness = {"step": step, "column": dx, "none": None}[job.protocol.thickness]
    unknown = job.defect == "no_spacing"
    return writer.Scan(
        voxels_DHW=picture.voxels_DHW,
        sop_instance_uid=job.uid_in_file,
        participant=job.person.participant,
        eye={"L": "R", "R": "L"}[job.side] if job.defect == "other_eye" else job.side,
        manufacturer=device.manufacturer,
        model=device.model,
        region="Optic Disc" if "Disc" in job.protocol.region else "Macula",
        pixel_spacing_mm=None if unknown else (dy, dx),
        slice_thickness_mm=None if unknown else thickness,
        locations=picture.grid.locations,
        measures="none" if unknown else job.protocol.measures,
        encoding="native" if device.encoding == "native" else "j2k" if lossless else "j2k_lossy",
    )


def _spacing(job: ScanJob) -> tuple[float, float, float]:
    """(step, axial, lateral) mm of a scan; the step of a radial pattern is 0."""
    step, dy, dx = (mm / n for mm, n in zip(job.protocol.extent_mm, _shape(job), strict=True))
    return step, dy, dx


def _facts(job: ScanJob, eye: anatomy.Eye, picture: scan.Picture) -> dict[str, Any]:
    """The scan's row of truth.parquet. expected: what prep must say of it; flags are the least it has."""
    defect, blinks = NAMED.get(job.defect), _blinks(job) if job.defect == "blinks" else None
    no_volume = "" if job.protocol.pattern == "raster" else "geometry_mixed"
    return {
        "participant": job.person.participant,
        "device": job.protocol.device,
        "protocol": job.protocol.name,
        "eye": job.side,
        "sop_instance_uid": job.uid,
        "state": job.person.state,
        "severity": eye.severity,
        "age": job.person.age,
        "defect": job.defect,
        "expected_reason": defect.reason if defect else no_volume,
        "expected_flags": ",".join(defect.flags) if defect else "",
        "blank_frames": len(blinks.blank) if blinks else 0,
        "no_retina_frames": len(blinks.closed) if blinks else 0,
        "shape": list(picture.voxels_DHW.shape),
        "spacing_mm": list(_spacing(job)),
        **truth.measure(eye, picture),
    }


def _row(job: ScanJob) -> tuple[str, ...]:
    """The scan's row of manifest.tsv; a missing value is spelt in the release's several ways."""
    device, (step, dy, dx) = DEVICES[job.protocol.device], _spacing(job)
    frames, height, width = _shape(job)
    pixel = (
        "Varies by frame"
        if job.protocol.measures == "per_frame"
        else str([float(f"{s:.6g}") for s in (dy, dx)])
    )
    thickness = f"{step:.6g}" if job.protocol.thickness == "step" else "Not reported"
    if job.defect == "no_spacing":
        pixel, thickness = "Not Reported", ""
    return (
        job.person.participant, device.manufacturer, device.model, job.protocol.region, "OCT", job.side,
        str(height), str(width), str(frames), pixel, thickness, job.uid,
        f"/retinal_oct/structural_oct/{job.protocol.device}/{job.member}", "Not reported", "Not reported",
    )  # fmt: skip


def _tsv(rows: Iterable[Iterable[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def _zip_url(out: str, device: str) -> str:
    return store.join(out, device, f"{device}.zip")


def _open_zip(stack: ExitStack, out: str, device: str) -> zipfile.ZipFile:
    file = stack.enter_context(store.open_write(_zip_url(out, device)))
    return stack.enter_context(zipfile.ZipFile(file, "w"))


def _add(archive: zipfile.ZipFile, job: ScanJob, data: bytes) -> None:
    """Native pixels are deflated, JPEG 2000 is stored: a release holds both."""
    how = zipfile.ZIP_DEFLATED if DEVICES[job.protocol.device].encoding == "native" else zipfile.ZIP_STORED
    info = zipfile.ZipInfo(job.member, ZIP_DATE)
    archive.writestr(info, data, compress_type=how)

"""An AI-READI-shaped release of made-up eyes: device ZIPs, manifest.tsv, participants.tsv, and truth.parquet.

Bytes depend on the `ReleaseSpec` alone, not on the number of workers. participants.tsv is written last: a
release that has one is complete. truth.parquet is for evaluation, never for training.
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
from octshard.phantom.defects import BY_NAME, Blinks
from octshard.phantom.device import DEVICES, PROTOCOLS, Protocol
from octshard.phantom.eye import Person
from octshard.prep.dicom import writer
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for, seed_for
from octshard.storage import store

ZIP_DATE = (2024, 11, 8, 0, 0, 0)
UID_ROOT = "2.25"  # UIDs made from numbers need no registration (DICOM PS3.5 B.2)
COLUMNS = (
    "participant_id", "manufacturer", "manufacturers_model_name", "anatomic_region", "imaging", "laterality",
    "height", "width", "number_of_frames", "pixel_spacing", "slice_thickness", "sop_instance_uid", "filepath",
    "reference_instance_uid", "reference_filepath",
)  # fmt: skip


@dataclass(frozen=True)
class ReleaseSpec:
    """All that a release depends on. scale: voxels per axis, as a share of the real shapes."""

    participants: int
    seed: int
    scale: float
    defects: bool
    eyes: tuple[str, ...] = ("L", "R")  # each device scans one of these
    devices: tuple[str, ...] = tuple(DEVICES)  # those that scan; a scan does not depend on the others


@dataclass(frozen=True)
class ReleaseSummary:
    """Counts of a written release; bytes: size of the ZIPs."""

    participants: int
    volumes: int
    bytes: int


@dataclass(frozen=True)
class ScanJob:
    """One scan to generate."""

    person: Person
    side: str
    protocol: Protocol
    scale: float
    seed: int
    defect: str  # a name of `defects`, or empty

    @property
    def copies(self) -> str:
        """The part of an intact scan that it repeats: file, pixels or nothing."""
        return BY_NAME[self.defect].copies if self.defect else ""

    @property
    def uid(self) -> str:
        """The scan's SOPInstanceUID in the manifest; a copy has the UID of its original plus one."""
        return f"{UID_ROOT}.{self._number + bool(self.copies)}"

    @property
    def uid_in_file(self) -> str:
        """The SOPInstanceUID in its file."""
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
    out: str, spec: ReleaseSpec, workers: int, on_progress: OnProgress = no_progress
) -> ReleaseSummary:
    """Writes the release below `out` (a path or URL); on_progress counts scans.

    UsageError if `spec` is out of range.
    """
    most = cohort.MAX_PARTICIPANTS
    if not 1 <= spec.participants <= most or not 0.02 <= spec.scale <= 1.0:
        raise UsageError(f"participants={spec.participants}, scale={spec.scale}: want 1 to {most}, 0.02 to 1")
    if not spec.eyes or not set(spec.eyes) <= {"L", "R"}:
        raise UsageError(f"eyes={spec.eyes}: want L, R or both")
    if not spec.devices or not set(spec.devices) <= set(DEVICES):
        raise UsageError(f"devices={spec.devices}: want some of {', '.join(DEVICES)}")
    for folder in (out, *(store.join(out, name) for name in spec.devices)):
        store.remove_partials(folder)  # of a run that was killed
    participants = cohort.sample_cohort(spec.participants, spec.seed)
    scan_jobs = jobs([participant.person for participant in participants], spec)
    truth_columns: dict[str, list[Any]] = {}
    with ExitStack() as stack:
        zips = {name: _open_zip(stack, out, name) for name in spec.devices}
        results = zip(scan_jobs, _make_all(scan_jobs, workers), strict=True)
        for count, (job, (data, truth_row)) in enumerate(results, start=1):
            if job.defect != "missing_file":
                _add(zips[job.protocol.device], job, data)
            for column, value in truth_row.items():
                truth_columns.setdefault(column, []).append(value)
            on_progress(count, len(scan_jobs), "")
    tables.write_table(store.join(out, "truth.parquet"), truth_columns)
    text = "\ufeff" + _tsv([COLUMNS, *(_row(job) for job in scan_jobs)])
    store.write(store.join(out, "manifest.tsv"), text.encode())
    rng = rng_for(spec.seed, "participants.tsv")
    text = _tsv([cohort.COLUMNS, *(participant.row(rng) for participant in participants)])
    store.write(store.join(out, "participants.tsv"), text.encode())
    size = sum(store.size(_zip_url(out, name)) for name in spec.devices)
    return ReleaseSummary(len(participants), len(scan_jobs), size)


def jobs(persons: Iterable[Person], spec: ReleaseSpec) -> tuple[ScanJob, ...]:
    """Every scan: each device scans one eye of each person by its main protocol, and some by its others."""
    scan_jobs = []
    for person in persons:
        rng = rng_for(spec.seed, "visit", person.participant)
        side = {name: spec.eyes[int(rng.integers(len(spec.eyes)))] for name in DEVICES}
        for protocol in PROTOCOLS:
            if rng.random() < protocol.share and protocol.device in spec.devices:
                scan_jobs.append(ScanJob(person, side[protocol.device], protocol, spec.scale, spec.seed, ""))
    return tuple(_with_defects(scan_jobs) if spec.defects else scan_jobs)


def make(job: ScanJob) -> tuple[bytes, dict[str, Any]]:
    """The DICOM file of a scan, with its defect, and its row of truth.parquet."""
    eye = _cached_eye(job.person, job.side, job.seed)
    rng = rng_for(job.seed, "scan", *job.place, job.protocol.name)
    closed_DW = _blinks(job).lid(*_shape(job)[::2]) if job.defect == "blinks" else None
    picture = scan.acquire(eye, job.protocol, job.scale, rng, closed_DW)
    picture = defects.corrupt_picture(picture, job.defect)
    lossless = rng.random() < DEVICES[job.protocol.device].lossless_share
    data = writer.write(_scan(job, picture, lossless=lossless))
    return defects.corrupt_file(data, job.defect), _truth_row(job, eye, picture)


def _shape(job: ScanJob) -> tuple[int, int, int]:
    return scan.shape_of(job.protocol, job.scale)


def _blinks(job: ScanJob) -> Blinks:
    return Blinks.of(_shape(job)[0])


@lru_cache(maxsize=4)
def _cached_eye(person: Person, side: str, seed: int) -> anatomy.Eye:
    """The eyes of the current participants, which several devices scan."""
    return anatomy.generate(person, side, seed)


def _make_all(scan_jobs: tuple[ScanJob, ...], workers: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """`make` of every job, in order; at most 2 * workers + 1 are in flight, so memory stays bounded."""
    if workers == 1:
        yield from map(make, scan_jobs)
        return
    with pool.process_pool(workers, pool.no_setup) as executor:
        futures: deque[Future[tuple[bytes, dict[str, Any]]]] = deque()
        for job in scan_jobs:
            futures.append(executor.submit(make, job))
            if len(futures) > 2 * workers:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()


def _with_defects(scan_jobs: list[ScanJob]) -> Iterator[ScanJob]:
    """Gives each defect of a device to one scan of its main protocol; copies follow their original."""
    main = {protocol.device: protocol for protocol in reversed(PROTOCOLS) if protocol.share == 1.0}
    scans = {
        device: [i for i, job in enumerate(scan_jobs) if job.protocol is protocol]
        for device, protocol in main.items()
    }
    defect_of = defects.assign_defects(scans)
    for i, job in enumerate(scan_jobs):
        if i not in defect_of or defect_of[i].copies:
            yield job
        if i in defect_of:
            yield replace(job, defect=defect_of[i].name)


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


def _truth_row(job: ScanJob, eye: anatomy.Eye, picture: scan.Picture) -> dict[str, Any]:
    """The scan's row of truth.parquet. expected_*: the reason and flags that prep must give at least."""
    defect, blinks = BY_NAME.get(job.defect), _blinks(job) if job.defect == "blinks" else None
    no_raster = "" if job.protocol.pattern == "raster" else "geometry_mixed"
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
        "expected_reason": defect.reason if defect else no_raster,
        "expected_flags": ",".join(defect.flags) if defect else "",
        "blank_frames": len(blinks.blank) if blinks else 0,
        "no_retina_frames": len(blinks.closed) if blinks else 0,
        "shape": list(picture.voxels_DHW.shape),
        "spacing_mm": list(_spacing(job)),
        **truth.measure(eye, picture),
    }


def _row(job: ScanJob) -> tuple[str, ...]:
    """The scan's row of manifest.tsv; missing values are spelt in the several ways of AI-READI."""
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
    """Native pixels are deflated, JPEG 2000 is stored, so that a release holds both kinds of members."""
    compression = (
        zipfile.ZIP_DEFLATED if DEVICES[job.protocol.device].encoding == "native" else zipfile.ZIP_STORED
    )
    info = zipfile.ZipInfo(job.member, ZIP_DATE)
    archive.writestr(info, data, compress_type=compression)

"""Made-up eyes as a hospital or a public data set delivers them: a folder of scans, and a table of labels.

To practise on before real files are at hand, and to try the roads of the docs. Half of the people are
healthy, half have fluid in the macula. The bytes depend on the `DeliverySpec` alone.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from octshard.errors import UsageError
from octshard.export import volume_file
from octshard.imaging.volume import Spacing
from octshard.phantom import cohort, e2e_file, release, scan
from octshard.phantom import eye as anatomy
from octshard.phantom.cohort import Participant
from octshard.phantom.device import DEVICES, PROTOCOLS, Protocol
from octshard.phantom.e2e_file import Series
from octshard.phantom.eye import Person
from octshard.phantom.release import ScanJob
from octshard.phantom.scan import Picture
from octshard.prep.dicom import writer
from octshard.prep.readers.heidelberg_e2e import MM_PER_DEGREE
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for
from octshard.storage import json_object, store

SCANS, LABELS = "scans", "labels.csv"  # in the folder of a delivery
NOTE = "delivery.json"  # what it was made of
STATES = ("healthy", "fluid")
MOST_PEOPLE = cohort.MAX_PARTICIPANTS * len(STATES) // len(anatomy.STATES)
SIDES = {"R": "OD", "L": "OS"}
BOM = "\ufeff"
_SPECTRALIS, _MAESTRO2, _TRITON, _CIRRUS = (
    next(protocol for protocol in PROTOCOLS if protocol.device == name) for name in DEVICES
)
Files = Iterator[tuple[str, bytes]]  # below SCANS


@dataclass(frozen=True)
class DeliverySpec:
    """All that a delivery depends on. form: one of FORMS; scale: as of a release."""

    form: str
    participants: int
    seed: int
    scale: float


@dataclass(frozen=True)
class DeliverySummary:
    """Counts of what was written."""

    participants: int
    files: int
    bytes: int


def write(out: str, spec: DeliverySpec, on_progress: OnProgress = no_progress) -> DeliverySummary:
    """Writes the delivery below `out` (a path or URL); on_progress counts people.

    UsageError as a release, and if something else is there.
    """
    if not 1 <= spec.participants <= MOST_PEOPLE or not 0.02 <= spec.scale <= 1.0:
        raise UsageError(
            f"participants={spec.participants}, scale={spec.scale}: want 1 to {MOST_PEOPLE}, 0.02 to 1"
        )
    _check_folder(out, spec)
    people = _people(spec)
    files = size = 0
    for done, participant in enumerate(people, start=1):
        for path, data in FORMS[spec.form](participant.person, spec):
            store.write(store.join(out, SCANS, path), data)
            files, size = files + 1, size + len(data)
        on_progress(done, len(people), participant.person.participant)
    store.write(store.join(out, LABELS), _TABLES[spec.form](people).encode())
    return DeliverySummary(len(people), files, size)


def check_is_none(out: str) -> None:
    """UsageError if a delivery is there."""
    if store.exists(store.join(out, NOTE)):
        raise UsageError(f"{out}: holds practice scans ({NOTE}), want another folder for a release")


def _check_folder(out: str, spec: DeliverySpec) -> None:
    """A folder holds one delivery: old scans beside new labels would be nobody's."""
    url, settings = store.join(out, NOTE), asdict(spec)
    store.remove_partials(out)  # of a run that was killed
    if store.exists(url):
        try:
            before = json_object.read(url)
        except json_object.DamagedJson as error:
            raise UsageError(f"{error}; choose another folder or remove {out}") from error
        if before != settings:
            texts = (
                ", ".join(f"{name} {value}" for name, value in each.items()) for each in (before, settings)
            )
            raise UsageError(f"{out}: holds {', want '.join(texts)}; choose another folder or remove it")
    elif names := store.list_names(out):
        raise UsageError(f"{out}: holds {names[0]}, and no practice scans; want an empty or a new folder")
    store.write(url, json.dumps(settings).encode())


def _people(spec: DeliverySpec) -> list[Participant]:
    everybody = cohort.sample_cohort(spec.participants * len(anatomy.STATES) // len(STATES), spec.seed)
    return [one for one in everybody if one.person.state in STATES]


def _picture(person: Person, side: str, protocol: Protocol, spec: DeliverySpec, visit: int = 0) -> Picture:
    eye = anatomy.generate(person, side, spec.seed)
    rng = rng_for(spec.seed, "delivery", person.participant, side, protocol.name, visit)
    return scan.acquire(eye, protocol, spec.scale, rng)


def _spacing(picture: Picture) -> Spacing:
    step, axial, lateral = (mm / n for mm, n in zip(picture.extent_mm, picture.shape, strict=True))
    return step, axial, lateral


def _e2e(person: Person, spec: DeliverySpec) -> Files:
    """A file for each person: both eyes, of every fourth person twice, of every fifth a single line too."""
    number = int(person.participant)
    visits = [("R", 0), ("L", 0), *([("R", 1), ("L", 1)] if number % 4 == 0 else [])]
    pictures = [_picture(person, side, _SPECTRALIS, spec, visit) for side, visit in visits]
    series = [
        _series(10 + i, side, picture)
        for i, ((side, _), picture) in enumerate(zip(visits, pictures, strict=True))
    ]
    if number % 5 == 0:
        middle = len(pictures[0].voxels_DHW) // 2
        series.append(_series(10 + len(series), "R", pictures[0], slice(middle, middle + 1)))
    yield f"{person.participant}.E2E", e2e_file.write(series)


def _series(number: int, side: str, picture: Picture, frames: slice = slice(None)) -> Series:
    """Levels are the fourth roots of reflectance; places count from the fovea, downwards."""
    grid, mm = picture.grid, _spacing(picture)[2]
    along = np.stack([grid.u_DW[:, -1] - grid.u_DW[:, 0], grid.v_DW[:, -1] - grid.v_DW[:, 0]], axis=1)
    half = (
        along / np.hypot(along[:, 0], along[:, 1])[:, None] * mm / 2
    )  # from the centre of a voxel to its edge
    begin = np.stack([grid.u_DW[:, 0], grid.v_DW[:, 0]], axis=1) - half
    end = np.stack([grid.u_DW[:, -1], grid.v_DW[:, -1]], axis=1) + half
    lines = np.concatenate([begin, end], axis=1)[frames] / MM_PER_DEGREE
    values_DHW = (picture.voxels_DHW[frames] / np.float32(255)) ** 4
    return Series(number, values_DHW, [tuple(line) for line in lines.tolist()], side, _spacing(picture)[1])


def _nifti(person: Person, spec: DeliverySpec) -> Files:
    for side, name in SIDES.items():
        picture = _picture(person, side, _TRITON, spec)
        data = volume_file.nifti_file(picture.voxels_DHW, _spacing(picture), gzipped=True)
        yield f"sub-{person.participant}_{name}.nii.gz", data


def _tiff(person: Person, spec: DeliverySpec) -> Files:
    """A page for each B-scan, and no spacing."""
    for side, name in SIDES.items():
        first, *others = map(Image.fromarray, _picture(person, side, _TRITON, spec).voxels_DHW)
        file = io.BytesIO()
        first.save(file, "TIFF", save_all=True, append_images=others, compression="tiff_lzw")
        yield f"{person.participant}/{name}.tif", file.getvalue()


def _dicom(person: Person, spec: DeliverySpec) -> Files:
    """A study: a scan and a photograph of each eye, and a report; by one of two makers."""
    maker = _CIRRUS if rng_for(spec.seed, "maker", person.participant).random() < 0.5 else _MAESTRO2
    names = (f"{person.participant}/20230718/IM{number:04}" for number in range(1, 6))
    for side in SIDES:
        data, _ = release.make(ScanJob(person, side, maker, spec.scale, spec.seed, ""))
        yield next(names), data
        yield next(names), writer.beside(data, writer.LOCALIZER_STORAGE)
    yield next(names), writer.beside(data, writer.PDF_STORAGE)


def _from_a_spreadsheet(people: Sequence[Participant]) -> str:
    """As a spreadsheet of a European clinic saves it: a byte-order mark, semicolons, its own words."""
    words = {"healthy": "healthy", "fluid": "macular oedema"}
    lines = [f"{p.participant};{p.age};{words[p.state]}" for p in map(_person, people)]
    return BOM + "\r\n".join(["Patient;Age;Diagnosis", *lines]) + "\r\n"


def _of_eyes(people: Sequence[Participant]) -> str:
    """A row for each eye, and the split that the data set recommends."""
    lines = [
        f"{one.person.participant},{eye},{int(one.person.state == 'fluid')},{one.split}"
        for one in people
        for eye in SIDES.values()
    ]
    return "\n".join(["subject,eye,oedema,split", *lines]) + "\n"


def _of_people(people: Sequence[Participant]) -> str:
    lines = [f"{p.participant},{p.age},{p.state}" for p in map(_person, people)]
    return "\n".join(["PatientID,age,diagnosis", *lines]) + "\n"


def _person(participant: Participant) -> Person:
    return participant.person


FORMS: Mapping[str, Callable[[Person, DeliverySpec], Files]] = {
    "e2e": _e2e,
    "nifti": _nifti,
    "tiff": _tiff,
    "dicom": _dicom,
}
_TABLES: Mapping[str, Callable[[Sequence[Participant]], str]] = {
    "e2e": _from_a_spreadsheet,
    "nifti": _of_eyes,
    "tiff": _of_people,
    "dicom": _of_people,
}

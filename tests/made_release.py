"""Small AI-READI-shaped releases for tests: DICOMs made by `dicom.write`, a manifest, participants, ZIPs."""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from octshard.prep import dicom
from octshard.rng import rng_for

HEAD = [
    "participant_id", "manufacturer", "manufacturers_model_name", "anatomic_region", "imaging", "laterality",
    "height", "width", "number_of_frames", "pixel_spacing", "slice_thickness", "sop_instance_uid", "filepath",
]  # fmt: skip
RASTER = tuple(np.array([[900.0 - 10 * i, 128.0], [900.0 - 10 * i, 640.0]]) for i in range(6))


def scan(number: int = 1, participant: str = "1001") -> dicom.Scan:
    """A native 6 x 20 x 24 raster, 0.04 x 0.01 x 0.02 mm, of smooth seeded noise."""
    voxels = rng_for("scan", number).integers(0, 256, (6, 20, 24), dtype=np.uint8)
    return dicom.Scan(
        voxels_DHW=np.sort(voxels, axis=1),
        sop_instance_uid=f"2.25.7000{number}",
        participant=participant,
        eye="L",
        manufacturer="Topcon",
        model="Triton",
        region="Macula",
        pixel_spacing_mm=(0.01, 0.02),
        slice_thickness_mm=0.04,
        locations=RASTER,
        measures="shared",
        encoding="native",
    )


@dataclass(frozen=True)
class File:
    """One manifest row and its file; data None: listed, but not there."""

    scan: dicom.Scan
    data: bytes | None
    device: str = "topcon_triton"

    @property
    def path(self) -> str:
        s = self.scan
        name = f"{s.participant}_triton_3d_macula_oct_{s.eye.lower()}_{s.sop_instance_uid}.dcm"
        return f"retinal_oct/structural_oct/{self.device}/{s.participant}/{name}"

    def row(self) -> list[str]:
        s = self.scan
        frames, rows, cols = s.voxels_DHW.shape
        spacing = str(list(s.pixel_spacing_mm)) if s.pixel_spacing_mm else "Not reported"
        step = str(s.slice_thickness_mm or "Not Reported")
        sizes = [str(rows), str(cols), str(frames)]
        head = [s.participant, s.manufacturer, s.model, s.region, "OCT", s.eye]
        return [*head, *sizes, spacing, step, s.sop_instance_uid, "/" + self.path]


def sound(number: int, participant: str = "1001") -> File:
    """A file that becomes a volume."""
    made = scan(number, participant)
    return File(made, dicom.write(made))


def changed(number: int, change: Callable[[bytes], bytes | None], participant: str = "1001") -> File:
    """A sound file with its bytes changed, or without any."""
    file = sound(number, participant)
    assert file.data is not None
    return replace(file, data=change(file.data))


def tables(root: Path, files: Sequence[File], splits: dict[str, str]) -> None:
    """manifest.tsv (with a byte-order mark) and participants.tsv."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(row) for row in [HEAD, *(file.row() for file in files)]]
    (root / "manifest.tsv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    people = [
        "participant_id\tstudy_group\trecommended_split",
        *(f"{p}\thealthy\t{s}" for p, s in splits.items()),
    ]
    (root / "participants.tsv").write_text("\n".join(people) + "\n")


def unpacked(root: Path, files: Sequence[File], splits: dict[str, str]) -> Path:
    """A release with its DICOMs in place."""
    tables(root, files, splits)
    for file in files:
        if file.data is not None:
            target = root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
    return root


def zipped(root: Path, files: Sequence[File], splits: dict[str, str]) -> Path:
    """A release with one ZIP per device, its members under PERSON/FILE."""
    tables(root, files, splits)
    for device in sorted({file.device for file in files}):
        (root / device).mkdir(exist_ok=True)
        with zipfile.ZipFile(root / device / f"{device}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                if file.device == device and file.data is not None:
                    archive.writestr("/".join(file.path.split("/")[-2:]), file.data)
    return root

"""A folder with files of every format that is read, sound and damaged, and foreign ones between them."""

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from octshard.prep.dicom import writer
from tests.support import every_format
from tests.support.array_files import Files
from tests.support.changed_dicom import changed, label
from tests.support.damage import scan_files
from tests.support.device_files import heidelberg_e2e
from tests.support.made_release import scan
from tests.support.scan_folder import write
from tests.support.scan_parts import concatenation, single_frames
from tests.support.small_png import small_png

SERIES = (3, 12, 15)  # scans of one .e2e
MAGICS: Mapping[str, bytes] = {  # nothing but the beginning of a format
    "a.dcm": bytes(128) + b"DICM",
    "a.nii": bytes(344) + b"n+1\0",
    "a.npy": b"\x93NUMPY",
    "a.tif": b"II*\0",
    "a.mha": b"ObjectType = Image\n",
    "a.nrrd": b"NRRD0004\n",
    "a.vol": b"HSF-OCT-103",
    "a.e2e": b"CMDb",
    "a.fda": b"FOCTFDA",
}


class Mixed(NamedTuple):
    """A folder, and paths in it. sound: scans that must be stored; cut: files that hold no whole scan."""

    root: Path
    sound: frozenset[str]
    cut: frozenset[str]


def write_mixed(root: Path, *, every_way: bool) -> Mixed:
    """Each scan in the folder of a person, below `any`. every_way: in which a format stores it; else one."""
    sound: dict[str, Files] = {}
    for form, ways in every_format.scans().items():
        for i, files in enumerate(list(ways.values())[: None if every_way else 1]):
            if form != "image":  # alone it is no scan
                sound[f"{form}{i}"] = files
    folders = {
        **sound,
        **{f"cut {name}": _cut(files) for name, files in sound.items()},
        **{f"hit {form}": scan_files.case(form, 0, 1).files for form in every_format.scans()},
        **{f"magic {name}": {name: data} for name, data in MAGICS.items()},
        "exam": {"exam.E2E": _exam()},
        "parts": {f"{i}.dcm": data for i, data in enumerate(concatenation(scan(5), 2, 1, 3))},
        "frames": {f"{i}.dcm": data for i, data in enumerate(single_frames(scan(6)))},
        "both": {"both.dcm": changed(scan(7), lambda item, i: label(item, eye="LR"[i % 2]))},
        "foreign": _foreign(),
        "again": next(iter(sound.values())),
    }
    for folder, files in folders.items():
        write(root / "any" / folder, files)
    (root / "any" / "foreign" / "link.dcm").symlink_to("nowhere")
    first = {folder: f"any/{folder}/{_listed(next(iter(files)))}" for folder, files in folders.items()}
    exam = [f"{first['exam']}#{number}" for number in SERIES]
    several = [f"{first['both']}#volume-{number}" for number in (1, 2)] + [first["parts"], first["frames"]]
    cut = [path for folder, path in first.items() if folder.startswith(("cut ", "magic "))]
    return Mixed(root, frozenset([*(first[folder] for folder in sound), *exam, *several]), frozenset(cut))


def _listed(name: str) -> str:
    """A folder of B-scans stands for those in it."""
    return every_format.FOLDER if name.startswith(every_format.FOLDER) else name


def _cut(files: Files) -> Files:
    """The listed file without its last third."""
    (name, data), *beside = files.items()
    return {name: data[: len(data) * 2 // 3], **dict(beside)}


def _exam() -> bytes:
    """An .e2e of both eyes."""
    made = [dataclasses.replace(scan(i), eye=eye) for i, eye in enumerate("LRL", 1)]
    return heidelberg_e2e.write(
        [every_format.e2e_series(number, one) for number, one in zip(SERIES, made, strict=True)]
    )


def _foreign() -> Files:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.dcm", b"x")
    fundus = writer.write(dataclasses.replace(scan(), voxels_DHW=scan().voxels_DHW[:1], locations=()))
    photograph = fundus.replace(b"1.2.840.10008.5.1.4.1.1.77.1.5.4", b"1.2.840.10008.5.1.4.1.1.77.1.5.1")
    return {
        "notes.txt": b"seen twice",
        "page.dcm": b"<html><body>403</body></html>",
        "letter.pdf": b"%PDF-1.7\n",
        "fundus.png": small_png(9),
        "fundus.dcm": photograph,
        "archive.zip": packed.getvalue(),
        "pointer.dcm": b"version https://git-lfs.github.com/spec/v1\n",
        "empty.dcm": b"",
        "noise": bytes(range(256)) * 40,
        "labels.csv": b"person,label\nP1,0\n",
        ".hidden/a.dcm": fundus,
    }

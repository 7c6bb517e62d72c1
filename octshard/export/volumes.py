"""`octshard export-volume`: volumes by key out of shards, one at a time, into files for any viewer.

All keys and places are checked before anything is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.dataset import folders, stored_scale, tables
from octshard.dataset.stored_volumes import StoredVolume, by_keys
from octshard.errors import UsageError
from octshard.export import volume_file
from octshard.progress import OnProgress, no_progress
from octshard.storage import store

DIGITS = 5  # of the number of a B-scan, in the name of its picture
NIFTI, NPY, PNG = "nifti", "npy", "png"
FORMATS = (NIFTI, NPY, PNG)
ENDINGS = {".nii.gz": NIFTI, ".nii": NIFTI, ".npy": NPY}


@dataclass(frozen=True)
class VolumeRequest:
    """out: a file of one of ENDINGS, for one key, or a folder. form: one of FORMATS, or empty: by that
    ending, and PNG in a folder.
    """

    shards: str
    keys: Sequence[str]
    out: str
    form: str
    replace: bool


@dataclass(frozen=True)
class _Target:
    """Where a volume goes: a file, for PNG a folder. described: the JSON beside it, empty for NIfTI."""

    form: str
    url: str
    described: str = ""


def export(request: VolumeRequest, on_progress: OnProgress = no_progress) -> Iterator[str]:
    """Writes the volumes; a line on each, which says if its spacing is assumed."""
    form = _form(request)
    if form == NIFTI:
        volume_file.import_nibabel()
    datasets = [tables.open_dataset(url) for url in folders.dataset_folders([request.shards])]
    volumes = by_keys(datasets, request.keys, request.shards)
    targets = [_target(request.out, form, volume.row.key) for volume in volumes]
    for target in targets:
        _check(target, replace=request.replace)
    for done, (volume, target) in enumerate(zip(volumes, targets, strict=True), start=1):
        yield _write(volume, target)
        on_progress(done, len(volumes), volume.row.key)


def _form(request: VolumeRequest) -> str:
    """UsageError if format, place and number of keys do not agree."""
    if not request.out or not request.keys:
        raise UsageError(
            f"--out {request.out!r}, {len(request.keys)} keys: want a place and at least one key"
        )
    ending = _ending(request.out)
    if not ending:
        return request.form or PNG
    if request.form not in ("", ENDINGS[ending]):
        text = f"{request.out}: a file {ending}, and --format {request.form}"
        raise UsageError(f"{text}; want the same of both, or a folder")
    if len(set(request.keys)) > 1:
        raise UsageError(
            f"{request.out}: one file, and {len(set(request.keys))} keys; want a folder, with --format"
        )
    return ENDINGS[ending]


def _ending(url: str) -> str:
    return next((ending for ending in ENDINGS if url.lower().endswith(ending)), "")


def _target(out: str, form: str, key: str) -> _Target:
    ending = _ending(out)
    if form == NIFTI:
        return _Target(form, out if ending else store.join(out, f"{key}.nii.gz"))
    if form == NPY and ending:
        return _Target(form, out, f"{out[: -len(ending)]}.json")
    place = store.join(out, key)
    return _Target(form, f"{place}.npy" if form == NPY else place, f"{place}.json")


def _check(target: _Target, *, replace: bool) -> None:
    """UsageError if something is there already, StoreError if nothing can be written there."""
    there = [url for url in (target.url, target.described) if url and store.exists(url)]
    if there and not replace:
        raise UsageError(f"{there[0]}: is there already; want another place, or --replace")
    if target.form == PNG and (foreign := [name for name in store.list_names(target.url) if not _ours(name)]):
        raise UsageError(f"{target.url}: holds {foreign[0]!r}, which is no B-scan; want another folder")
    store.check_writable(_frame_url(target, 0) if target.form == PNG else target.url)


def _write(volume: StoredVolume, target: _Target) -> str:
    row, stored = volume.row, volume.read()
    voxels_DHW, gzipped = stored.voxels_DHW, target.url.lower().endswith(".gz")
    is_wide = voxels_DHW.dtype != np.uint8
    levels = stored_scale.from_json(stored.meta, voxels_DHW.dtype, row.key) if is_wide else None
    write: Mapping[str, Callable[[], None]] = {
        NIFTI: lambda: store.write(
            target.url, volume_file.nifti(row, voxels_DHW, gzipped=gzipped, scale=levels)
        ),
        NPY: lambda: store.write(target.url, volume_file.npy(voxels_DHW)),
        PNG: lambda: _write_frames(target, voxels_DHW),
    }
    write[target.form]()
    if target.described:
        store.write(target.described, volume_file.description(row, voxels_DHW, levels))
    shape = " x ".join(map(str, voxels_DHW.shape))
    spacing = volume_file.spacing_mm(row)
    why = "spacing assumed" if row.assumed_spacing else f"slices are no stack ({row.geometry})"
    scale = (
        f"{' x '.join(f'{mm:.4g}' for mm in spacing)} mm" if spacing else f"{why}, so no spacing is written"
    )
    return f"{target.url}: {row.key}, {shape} voxels (B-scans, depth, A-scans), {scale}"


def _write_frames(target: _Target, voxels_DHW: np.ndarray) -> None:
    """One PNG a B-scan; those of an older, longer volume go."""
    for d, bscan_HW in enumerate(voxels_DHW):
        store.write(_frame_url(target, d), volume_file.png(bscan_HW))
    for name in store.list_names(target.url)[len(voxels_DHW) :]:
        store.remove(store.join(target.url, name))


def _frame_url(target: _Target, number: int) -> str:
    return store.join(target.url, f"{number:0{DIGITS}d}.png")


def _ours(name: str) -> bool:
    stem, _, ending = name.partition(".")
    return ending == "png" and stem.isdecimal() and len(stem) == DIGITS

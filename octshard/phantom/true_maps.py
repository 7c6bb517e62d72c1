"""The truth of a release as maps for `octshard eval segment` and `translate`: a label of every voxel, and the
vessels seen from above. One .npy a scan, called by its SOPInstanceUID, on the grid and in the order of its
file.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from octshard.dataset import tables
from octshard.phantom import truth
from octshard.phantom.eye import BM, CSI, EZ, GCL, ILM, INL, ONL, OPL
from octshard.storage import store

LABELS, VESSELS = "labels", "vessels"  # folders of the release
EDGES = (ILM, GCL, INL, OPL, ONL, EZ, BM, CSI)  # the upper boundary of each layer from 1 on
# by the value of a voxel; lesions stand instead of the layer that they lie in
CLASSES = (
    "vitreous", "RNFL", "GCL+IPL", "INL", "OPL", "ONL", "EZ+RPE", "choroid", "sclera", "drusen", "fluid",
)  # fmt: skip


def write(release: str) -> int:
    """Writes both maps of every scan of truth.parquet below `release`; how many scans that are."""
    columns = tables.read_table(store.join(release, "truth.parquet"))
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        name = f"{row['sop_instance_uid']}.npy"
        _save(store.join(release, LABELS, name), labels_of(row))
        _save(store.join(release, VESSELS, name), truth.vessels_of(row["vessels"], row["shape"]))
    return len(columns["sop_instance_uid"])


def labels_of(row: Mapping[str, Any]) -> np.ndarray:
    """uint8 (D, H, W), values of CLASSES, of a row of truth.parquet: what lies at the centre of a voxel."""
    shape = row["shape"]
    rows_KDW = truth.boundaries_of(row["boundaries"], shape)
    centre_H1 = np.arange(shape[1], dtype=np.float32)[:, None] + 0.5
    labels_DHW = np.zeros(shape, np.uint8)
    for edge in EDGES:
        labels_DHW += centre_H1 >= rows_KDW[edge][:, None]
    for lesion in ("drusen", "fluid"):
        labels_DHW[truth.mask_of(row[lesion], shape)] = CLASSES.index(lesion)
    return labels_DHW


def _save(url: str, array: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, array)
    store.write(url, file.getvalue())

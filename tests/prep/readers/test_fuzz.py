"""Damaged files of every format of arrays: each becomes a row, and takes no more memory than its bytes.

`byte_damage` changes bytes, numbers and lengths by a seed; what is packed is damaged before it is packed too.
"""

import gzip
import io
import zipfile
from collections.abc import Callable

import pytest

from tests.support.array_files import WRITERS
from tests.support.device_files.conversion import survivors
from tests.support.made_release import scan

SPACING = 0.04, 0.01, 0.02
QUICK = ("npy", "npz", "nifti", "tiff by OME", "metaimage, by hand", "nrrd, by hand")


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "count"),
    [(kind, 200) for kind in QUICK] + [pytest.param(kind, 1000, marks=pytest.mark.slow) for kind in WRITERS],
)
def test_every_damaged_file_becomes_a_row(kind: str, count: int) -> None:
    (name, data), *beside = WRITERS[kind](scan().voxels_DHW, SPACING).items()
    outcomes = survivors(name, data, count, dict(beside))
    assert len(outcomes) > 1
    assert outcomes.total() == count


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "packed"), [("npy", zipped), ("nifti", gzip.compress)])
def test_every_file_that_was_damaged_before_it_was_packed_becomes_a_row(
    kind: str, packed: Callable[[bytes], bytes], count: int
) -> None:
    ((name, data),) = WRITERS[kind](scan().voxels_DHW, SPACING).items()
    outcomes = survivors(name, data, count, packed=packed)
    assert outcomes["ok"] > count / 10
    assert len(outcomes) > 2

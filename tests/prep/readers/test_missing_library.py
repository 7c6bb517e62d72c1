"""A format whose library is not there: a refusal that names the extra, and is tried again."""

import sys

import pytest

from octshard.prep.build import source_versions
from tests.support.array_files import WRITERS
from tests.support.device_files.conversion import row_of
from tests.support.made_release import scan


@pytest.mark.parametrize(
    ("kind", "library", "extra"), [("nifti", "nibabel", "nifti"), ("tiff", "tifffile", "tiff")]
)
def test_the_extra_is_named(kind: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ((name, data),) = WRITERS[kind](scan().voxels_DHW, (0.04, 0.01, 0.02)).items()
    assert row_of(name, data).status == "ok"
    monkeypatch.setitem(sys.modules, library, None)
    row = row_of(name, data)
    assert (row.reason, row.format) == ("missing_library", kind)
    assert row.detail == f"{library} is not installed, want the extra octshard[{extra}]"
    assert row.reason in source_versions.BY_THE_MACHINE

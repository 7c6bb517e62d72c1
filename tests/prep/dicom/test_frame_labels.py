"""Whether frames may be of several volumes, by raw bytes: never less than a walk of the file tells."""

import dataclasses
import io
from typing import Any

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from octshard.prep.dicom import frame_labels
from tests.support.changed_dicom import changed, label
from tests.support.made_release import scan


def eyes(item: Any, i: int) -> None:
    label(item, eye="LR"[i % 2])


def stacks(item: Any, i: int) -> None:
    label(item, stack="abc"[i % 3])


def times(item: Any, i: int) -> None:
    label(item, time=1 + i % 2)


def alike(item: Any, i: int) -> None:
    label(item, eye="L", stack="a", time=1)


@pytest.mark.parametrize("encoding", ["native", "j2k"])
@pytest.mark.parametrize(("mark", "differ"), [(eyes, True), (stacks, True), (times, True), (alike, False)])
def test_labels_are_seen_in_front_of_the_pixels(mark: Any, differ: bool, encoding: str) -> None:
    data = changed(dataclasses.replace(scan(), encoding=encoding), mark)
    assert frame_labels.may_differ(data) == differ
    assert frame_labels.may_differ(memoryview(data)) == differ


def test_implicit_and_deflated_files_too() -> None:
    for mark, expected in ((eyes, True), (alike, False)):
        ds = pydicom.dcmread(io.BytesIO(changed(scan(), mark)))
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        out = io.BytesIO()
        ds.save_as(out, enforce_file_format=True)
        assert frame_labels.may_differ(out.getvalue()) == expected
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    assert frame_labels.may_differ(out.getvalue())  # a walk will tell


@pytest.mark.parametrize("data", [b"", b"\x20\x00\x72\x90", changed(scan())[:140], b"x" * 128 + b"DICM"])
def test_damaged_files_are_left_to_prep(data: bytes) -> None:
    assert not frame_labels.may_differ(data)

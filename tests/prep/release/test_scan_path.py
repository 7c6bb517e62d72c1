"""Paths that name one scan of several in a file."""

import pytest

from octshard.prep.release import scan_path


@pytest.mark.parametrize(
    ("path", "file", "series"),
    [
        ("a/exam.E2E#12", "a/exam.E2E", 12),
        ("exam.sdb#0", "exam.sdb", 0),
        ("exam.e2e", "exam.e2e", None),
        ("a#3/exam.e2e", "a#3/exam.e2e", None),
        ("exam#3.dcm", "exam#3.dcm", None),
        ("exam.dcm#3", "exam.dcm#3", None),  # a name that a file may have
        ("exam.e2e#", "exam.e2e#", None),
        ("exam.e2e#1#2", "exam.e2e#1#2", None),
        ("", "", None),
    ],
)
def test_only_formats_that_hold_several_scans_have_a_series(path: str, file: str, series: int | None) -> None:
    assert (scan_path.file_of(path), scan_path.series_of(path)) == (file, series)


@pytest.mark.parametrize(
    ("path", "file", "volume", "scan"),
    [
        ("a/b.dcm#volume-2", "a/b.dcm", 2, "volume-2"),
        ("IM0001#volume-12", "IM0001", 12, "volume-12"),  # DICOM files have any name, or one with #
        ("a#1#volume-01", "a#1", 1, "volume-1"),
        ("#volume-1", "#volume-1", None, ""),
        ("a.dcm#volume-", "a.dcm#volume-", None, ""),
        ("a.dcm#volume-1/b.dcm", "a.dcm#volume-1/b.dcm", None, ""),
        ("exam.E2E#007", "exam.E2E", None, "7"),
    ],
)
def test_a_volume_of_a_file_is_named_by_its_number(
    path: str, file: str, volume: int | None, scan: str
) -> None:
    assert (scan_path.file_of(path), scan_path.volume_of(path), scan_path.scan_of(path)) == (
        file,
        volume,
        scan,
    )

"""Sums of rows by hand: tallies, causes, forms, crossings."""

import dataclasses

import pytest

from octshard.dataset.splits import split_overlaps
from octshard.dataset.tables import SampleRow
from octshard.prep.report.statistics import (
    EXAMPLES,
    GroupCounts,
    compression,
    group_counts,
    reason_counts,
    shape_summaries,
)

OK = SampleRow(
    "k1", "p1", "d1", "", "", "cube", "Macula", "L", "train", "b.dcm", source_bytes=100,
    frames=4, rows=5, cols=6, spacing_in=(0.1, 0.00399, 0.01), shape_out=(2, 3, 4),
    spacing_out=(0.2, 0.00601, 0.015), nbytes=12,
)  # fmt: skip
BAD = dataclasses.replace(OK, status="refused", reason="empty", nbytes=None, shape_out=None, source="a.dcm")


def test_a_tally_counts_people_and_bytes_of_what_is_stored_only() -> None:
    rows = [
        OK,
        dataclasses.replace(OK, nbytes=20),
        dataclasses.replace(OK, participant="p2", source_bytes=None),
        BAD,
    ]
    assert group_counts(rows, lambda row: (row.device, row.split)) == [
        GroupCounts(("d1", "train"), 4, 3, 2, 200, 44)
    ]
    assert group_counts(rows[3:], lambda row: (row.split,)) == [GroupCounts(("train",), 1, 0, 0, 0, 0)]
    assert group_counts([], lambda row: (row.split,)) == []


def test_causes_come_by_frequency_with_the_first_paths() -> None:
    rows = [
        dataclasses.replace(OK, source=f"{i:02d}.dcm", flags=("odd",), detail="so") for i in range(9, 0, -1)
    ]
    rows += [dataclasses.replace(BAD, flags=("odd", "rare"), device="d0")]
    odd, rare = reason_counts(rows, lambda row: row.flags)
    assert (odd.name, odd.stored, odd.refused, odd.devices) == ("odd", 9, 1, ("d0", "d1"))
    assert odd.examples == tuple(f"{i:02d}.dcm: so" for i in range(1, EXAMPLES + 1))
    assert (rare.name, rare.stored, rare.refused, rare.examples) == ("rare", 0, 1, ("a.dcm",))


def test_forms_name_the_most_frequent_shape_and_its_rivals() -> None:
    rows = [
        dataclasses.replace(OK, protocol="p", assumed_spacing=1),
        dataclasses.replace(OK, protocol="p", slice_axis="degrees"),
    ]
    (form,) = shape_summaries(rows)
    assert form.spacings_in == (((None, 4.0, 10.0), 1),)  # no micrometres of what was assumed
    rows = [OK, OK, dataclasses.replace(OK, frames=9), dataclasses.replace(OK, spacing_in=None), BAD]
    (form,) = shape_summaries(rows)
    assert (form.device, form.protocol, form.volumes) == ("d1", "cube", 4)
    assert form.shapes_in == (((4, 5, 6), 3), ((9, 5, 6), 1))
    assert form.shapes_out == (((2, 3, 4), 4),)
    assert form.spacings_in == (((100.0, 4.0, 10.0), 3),)
    assert form.spacings_out == (((200.0, 6.0, 15.0), 4),)


def test_a_person_in_two_splits_crosses_even_by_a_refused_file() -> None:
    assert split_overlaps([OK, BAD]) == {}
    assert split_overlaps([OK, dataclasses.replace(BAD, split="test")]) == {"p1": ("test", "train")}


def test_compression_is_voxels_by_stored_bytes() -> None:
    assert compression(OK) == pytest.approx(24 / 12)
    assert compression(BAD) != compression(BAD)  # nan

"""What rows of labels are about: one name for each person, eye or scan, on both sides."""

import pytest

from octshard import delimited
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.probes import label_join
from octshard.probes.label_join import Join


def names(text: str, join: str) -> tuple[Join, list[str]]:
    return label_join.names(delimited.parse(text, "t.csv"), join)


def test_both_sides_call_a_person_an_eye_and_a_scan_alike():
    row = SampleRow("k1", "007.0", "", "", "", "", "", "l", "train", "a/b.dcm", sop_instance_uid="1.2")
    for join, text in (
        ("participant", "person_id,x\n7,1\n"),
        ("participant", "Subject,x\n07,1\n"),
        ("eye", "id,EYE,x\n7,OS,1\n"),
        ("eye", "patient,laterality,x\n7,Left,1\n"),
        ("key", "key,x\nk1,1\n"),
        ("source", "x,source\n1,a/b.dcm\n"),
        ("SOP_Instance_UID", "sop_instance_uid,x\n1.2,1\n"),
        ("volunteer", "volunteer,x\n7,1\n"),
    ):
        joined, about = names(text, join)
        assert about == [joined.name(row)]


def test_a_row_that_names_nothing_is_about_nothing():
    assert names("id,eye,x\n1,,a\n,L,b\nn/a,R,c\n2,R,d\n", "eye")[1] == ["", "", "", "2/R"]
    assert Join("eye").name(SampleRow("k", "7", "", "", "", "", "", "", "train", "")) == ""


@pytest.mark.parametrize(
    ("text", "join", "message"),
    [
        ("id,x\n1,a\n", "eye", "columns id, x, want one of eye, laterality for join=eye"),
        ("id,eye,x\n1,both,a\n", "eye", "line 2: eye 'both', want one of l, left"),
        ("id,x\n1,a\n", "key", "want one of key for join=key"),
        ("id,x\n1,a\n", "volunteer", "want one of volunteer for"),
        ("device,x\n1,a\n", "device", "join=device: many scans share one"),
        ("id,x\n1,a\n01,b\n", "participant", "call participant 1 '1' and '01'"),
    ],
)
def test_what_cannot_be_joined_is_said(text, join, message):
    with pytest.raises(UsageError, match=message):
        names(text, join)

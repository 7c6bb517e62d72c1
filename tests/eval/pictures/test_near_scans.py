"""Nearest scans: by hand, never of the same person; frames and words say whether the class is the same."""

import csv
import dataclasses
import io

import numpy as np
import pytest

from octshard.eval.pictures import near_scans, scan_reader, truth
from octshard.eval.pictures.request import PictureRequest
from tests.support.picture_request import made_request


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    monkeypatch.setattr(near_scans, "SHOWN", 2)


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> PictureRequest:
    return made_request(tmp_path_factory.mktemp("eyes"))


def test_they_are_those_of_a_search_pair_by_pair(eyes) -> None:
    known, rows = truth.of(eyes.labelled), eyes.scans.rows
    test = eyes.labelled.subsets["test"].places_N.tolist()
    values_NF = eyes.values["ours"].astype(float)
    z_NF = (values_NF - values_NF.mean(0)) / values_NF.std(0)
    for near in near_scans.nearest(eyes, known, test):
        cosines = {
            place: z_NF[place]
            @ z_NF[near.place]
            / np.linalg.norm(z_NF[place])
            / np.linalg.norm(z_NF[near.place])
            for place in range(len(rows))
            if rows[place].participant != rows[near.place].participant
        }
        best = sorted(cosines, key=cosines.__getitem__, reverse=True)[: near_scans.NEIGHBOURS]
        assert near.near_M.tolist() == best
        np.testing.assert_allclose(near.cosine_M, [cosines[place] for place in best], atol=1e-6)
        assert near.same_class == pytest.approx(18 / 38)


def test_equal_features_are_ordered_by_key_and_the_other_scan_of_a_person_is_none(eyes) -> None:
    """The two scans of a person are equal, and so nearest; everybody else is equally far."""
    request = dataclasses.replace(eyes, values={"ours": np.zeros((len(eyes.scans.rows), 3), np.float32)})
    (near,) = near_scans.nearest(request, truth.of(eyes.labelled), [0])
    rows = eyes.scans.rows
    keys = sorted(row.key for row in rows if row.participant != rows[0].participant)
    assert [rows[place].key for place in near.near_M] == keys[: near_scans.NEIGHBOURS]


def test_rows_say_who_is_of_the_same_class(eyes) -> None:
    """Features are the class: every neighbour of every scan is of it."""
    y_N = np.array([float(int(row.participant[-3:]) % 2) for row in eyes.scans.rows])
    values_NF = np.stack([y_N, 1 - y_N], 1).astype(np.float32)
    request = dataclasses.replace(eyes, values={"ours": values_NF})
    made = near_scans.pictures(request, scan_reader.open_reader(eyes.scans))
    text = "".join(part if isinstance(part, str) else part.markup for part in made.sections[0].parts)
    assert text.count("same class") == 1 + 2 * near_scans.SHOWN * near_scans.NEIGHBOURS  # alt and caption
    assert "another class" not in text
    assert "100 % are of its class (by chance 47 %), " in text
    table = list(csv.DictReader(io.StringIO(made.files["near-scans.csv"].decode())))
    assert len(table) == 12 * near_scans.NEIGHBOURS
    assert all(row["label"] == row["its_label"] for row in table)
    worse = near_scans.pictures(
        dataclasses.replace(request, values={"ours": eyes.values["ours"]}),
        scan_reader.open_reader(eyes.scans),
    )
    text = "".join(part if isinstance(part, str) else part.markup for part in worse.sections[0].parts)
    assert ". another class: " in text


def test_numbers_have_no_right_or_wrong(tmp_path) -> None:
    ages = {f"{split}{i:03}": 40.0 + i for split in ("train", "val", "test") for i in range(8)}
    request = made_request(tmp_path, ages)
    made = near_scans.pictures(request, scan_reader.open_reader(request.scans))
    text = "".join(part if isinstance(part, str) else part.markup for part in made.sections[0].parts)
    assert "class" not in text.replace('class="', "")
    assert "are of its third of the numbers" in text

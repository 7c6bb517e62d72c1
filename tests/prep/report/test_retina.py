"""The lines of the band lie on the pixels of its rows, and the table counts volumes by device."""

import dataclasses

import numpy as np

from octshard.dataset.tables import SampleRow
from octshard.prep.report import retina

ROW = SampleRow("k", "p", "a", "", "", "", "", "L", "train", "s")
TOP, BOTTOM = retina.LINES.values()


def test_lines_stand_just_outside_of_the_band() -> None:
    rows_Q2 = np.array([(3, 7), (-1, -1), (0, 10)], np.int16)
    image = retina.with_lines(np.full((10, 20), 9, np.uint8), rows_Q2, (1, 10, 20))
    for column, (above, behind) in {0: (2, 7), 7: (2, 7), 16: (0, 9), 19: (0, 9)}.items():
        assert tuple(image[above, column]) == TOP
        assert tuple(image[behind, column]) == BOTTOM
    assert (image[:, 8:16] == 9).all()  # not found there
    assert (image != 9).any(axis=2).sum() == 2 * 12


def test_lines_of_a_picture_that_was_averaged_down() -> None:
    rows_Q2 = np.array([(8, 20), (12, 24)], np.int16)
    image = retina.with_lines(np.zeros((10, 8), np.uint8), rows_Q2, (1, 40, 16))  # 4 x 2 voxels to a pixel
    assert tuple(image[1, 0]) == tuple(image[2, 4]) == TOP
    assert tuple(image[5, 3]) == tuple(image[6, 7]) == BOTTOM


def test_the_table_counts_what_was_looked_at() -> None:
    shares = {"a": [1.0, 0.5, 0.0, None], "b": [None, None]}
    rows = [
        dataclasses.replace(ROW, device=device, retina_found=share)
        for device, values in shares.items()
        for share in values
    ]
    rows.append(dataclasses.replace(ROW, status="refused", retina_found=0.0))
    markup = retina.counts(rows, ["a", "b"])
    assert not isinstance(markup, str)
    cells = [cell.split(">", 1)[1] for cell in markup.markup.split("<td")[1:]]
    assert [cell.split("</td>")[0] for cell in cells] == ["a", "4", "3", "50.0", "1", "1"]
    assert "octshard 0.1" in str(retina.counts(rows[4:], ["b"]))

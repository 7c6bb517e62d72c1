"""Labels of tables and of files in one spelling."""

import pytest

from octshard.prep.index import layout_label


@pytest.mark.parametrize(
    ("values", "disease", "cells"),
    [
        ({"glaucoma": "yes"}, "glaucoma", {"glaucoma": "1"}),
        ({"glaucoma": "1.0"}, "glaucoma", {"glaucoma": "1"}),
        ({"glaucoma": ""}, "", {"glaucoma": ""}),
        ({"glaucoma": "suspect"}, "", {"glaucoma": "suspect"}),  # what nobody described stays what it is
        ({"amd": "Late AMD"}, "amd", {"amd": "3"}),
        ({"dr": "non-vision threatening dr"}, "dr", {"dr": "0"}),
        ({"dr_subtype": "not.in.icd.table"}, "amd", {"dr_subtype": "not.in.icd.table", "amd": "0"}),
        ({"dr_subtype": "pdr"}, "", {"dr_subtype": "pdr", "dr": "1"}),
        ({"dr_subtype": "pdr", "dr": "0"}, "dr", {"dr_subtype": "pdr", "dr": "0"}),
        ({"male": "0", "hispanic": "1.0"}, "", {"gender": "female", "ethnicity": "hispanic"}),
        ({"gender": "Female", "male": ""}, "", {"gender": "female"}),
        ({"race": "-1", "language": "7", "md": "-1.0"}, "", {"race": "", "language": "7", "md": "-1.0"}),
        ({"note": " a\nb\tc "}, "", {"note": "a b c"}),
    ],
)
def test_labels_have_one_spelling(values: dict[str, str], disease: str, cells: dict[str, str]) -> None:
    assert layout_label.cells(values, disease) == cells

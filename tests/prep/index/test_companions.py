"""What lies beside a scan and was used with it is counted as that, in whatever order the walk has it."""

from collections import Counter

from octshard.prep.index.companions import USED, Others
from octshard.prep.index.look import OTHER, SCAN, Finding

WALK = {
    "P1/.txt": "text",
    "P1/b.TXT": "text",  # before its scan
    "P1/b.img": "img",
    "P1/in/b.txt": "text",  # of no scan in its folder
    "P1/in/c.OCT": "optovue",
    "P1/in/c.txt": "text",
    "P1/in/d.OCT": "oct",  # Bioptigen's need no text
    "P1/in/d.txt": "text",
    "P1/notes.txt": "text",
    "P1/v.mhd": "metaimage",
    "P1/v.raw": "of no known format",
    "P1/w.raw": "of no known format",
    "a.txt": "text",
    "z.pdf": "PDF",
}
SCANS = ("img", "optovue", "oct", "metaimage")


def test_texts_and_values_of_scans_are_told_from_others() -> None:
    counts = Counter[str]()
    others = Others(counts)
    for path, what in WALK.items():
        others.add(path, Finding(SCAN if what in SCANS else OTHER, what))
    others.finish()
    assert counts == {USED: 3, "text": 5, "of no known format": 1, "PDF": 1}

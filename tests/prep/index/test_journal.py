"""The journal: what is kept, of whom, and what a damaged or another's part is worth."""

from pathlib import Path

import pytest

from octshard.prep.index.journal import Journal, Record
from octshard.prep.index.look import SCAN, UNREAD, Finding
from octshard.prep.index.place import Place

PLACES = [Place(path, 9, "v1") for path in ("a", "a/b", "a/c", "a-b", "b")]  # in the order of a walk
DIGEST = "0123456789abcdef"


def written(url: str, places: list[Place], digest: str = DIGEST, kind: str = SCAN) -> Journal:
    journal = Journal(url, digest)
    for place in places:
        journal.add(journal.find(place) or Record.of(place, Finding(kind, "dicom")))
    return journal


def test_a_file_that_is_what_it_was_is_known_and_nothing_is_written_again(tmp_path: Path) -> None:
    assert not written(str(tmp_path), PLACES).finish()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = written(str(tmp_path), PLACES)
    assert again.finish()
    assert [place for place, _ in again.records()] == PLACES
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "change",
    [
        lambda places: places[:-1],
        lambda places: places[1:],
        lambda places: [*places, Place("c", 1, "v")],
        lambda places: [places[0]._replace(version="v2"), *places[1:]],
        lambda places: [places[0]._replace(size=8), *places[1:]],
        lambda places: [],
    ],
)
def test_what_is_new_changed_or_gone_is_so_in_the_next_journal(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    written(str(tmp_path), PLACES).finish()
    journal = written(str(tmp_path), change(list(PLACES)))
    assert not journal.finish()
    journal.forget_earlier()
    assert [place for place, _ in journal.records()] == change(list(PLACES))
    assert len(list(tmp_path.iterdir())) == bool(change(list(PLACES)))
    found = Journal(str(tmp_path), DIGEST)
    assert [found.find(place) is not None for place in PLACES] == [p in change(list(PLACES)) for p in PLACES]


def test_what_a_killed_run_found_is_known_beside_what_the_one_before_did(tmp_path: Path) -> None:
    written(str(tmp_path), PLACES).finish()
    changed = [place._replace(version="v2") for place in PLACES]
    killed = written(str(tmp_path), changed[:2])
    killed.save()
    journal = Journal(str(tmp_path), DIGEST)
    assert [journal.find(place) is not None for place in [*changed[:2], *PLACES[2:]]] == [True] * 5
    assert [Journal(str(tmp_path), DIGEST).find(place) is None for place in changed[2:]] == [True] * 3


def test_a_damaged_part_or_one_of_other_questions_is_not_used(tmp_path: Path) -> None:
    written(str(tmp_path), PLACES).finish()
    assert Journal(str(tmp_path), DIGEST[::-1]).find(PLACES[0]) is None
    (part,) = tmp_path.iterdir()
    part.write_bytes(part.read_bytes().replace(b"dicom", b"dixom", 1))
    journal = Journal(str(tmp_path), DIGEST)
    assert journal.find(PLACES[0]) is None


def test_what_could_not_be_read_is_looked_at_again(tmp_path: Path) -> None:
    written(str(tmp_path), PLACES, kind=UNREAD).finish()
    assert Journal(str(tmp_path), DIGEST).find(PLACES[0]) is None
    pipe = Place("p", 0, "", "a pipe")
    written(str(tmp_path / "other"), [pipe], kind=UNREAD).finish()
    assert Journal(str(tmp_path / "other"), DIGEST).find(pipe) is not None

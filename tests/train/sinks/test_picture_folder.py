"""Pictures in the run folder: the newest of each name, none of what a resumed run has yet to see."""

from pathlib import Path

import pytest

from octshard.storage import store
from octshard.train.sinks.picture_folder import PictureFolder
from octshard.train.sinks.sink import Picture


def picture(name: str, samples_seen: int) -> Picture:
    return Picture(name, samples_seen // 4, samples_seen, f"{name} {samples_seen}".encode())


def names(out: str) -> list[str]:
    return store.list_names(store.join(out, "pictures"))


@pytest.mark.parametrize("place", ["local", "memory://pictures"])
def test_the_newest_of_each_name_are_kept(tmp_path: Path, place: str) -> None:
    """Also beyond twelve digits, where names alone would not sort, and beside a name that begins alike."""
    out = str(tmp_path) if place == "local" else place
    folder = PictureFolder(out, 2, 0)
    store.write(store.join(out, "pictures", "notes.png"), b"the user's")
    folder.write_picture(picture("tokens-2", 4))
    for samples_seen in (4, 8, 999_999_999_999, 1_000_000_000_000):
        folder.write_picture(picture("tokens", samples_seen))
    assert names(out) == [
        "notes.png",
        "tokens-1000000000000.png",
        "tokens-2-000000000004.png",
        "tokens-999999999999.png",
    ]
    kept = store.read(store.join(out, "pictures", "tokens-1000000000000.png"))
    assert kept == b"tokens 1000000000000"


def test_a_resume_removes_what_is_yet_to_be_seen(tmp_path: Path) -> None:
    """Also where no picture comes any more; what is the user's stays, and so does what comes later."""
    folder = PictureFolder(str(tmp_path), 9, 0)
    for samples_seen in (4, 8, 12):
        folder.write_picture(picture("views", samples_seen))
    store.write(str(tmp_path / "pictures" / "views-12.png"), b"the user's")
    resumed = PictureFolder(str(tmp_path), 9, 8)
    resumed.flush()
    assert names(str(tmp_path)) == ["views-000000000004.png", "views-000000000008.png", "views-12.png"]
    resumed.write_picture(picture("views", 16))
    resumed.close(0)
    assert "views-000000000016.png" in names(str(tmp_path))
    PictureFolder(str(tmp_path), 9, 4).close(0)
    assert names(str(tmp_path)) == ["views-000000000004.png", "views-12.png"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "Views", "a b"])
def test_a_name_that_is_none_for_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="want lower case, digits and hyphens"):
        PictureFolder(str(tmp_path), 3, 0).write_picture(picture(name, 4))

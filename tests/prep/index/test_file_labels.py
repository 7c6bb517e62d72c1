"""Labels in files: read once, kept in a journal, read again where a file changed, and nothing is made up."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from octshard.prep.index import file_labels, journal, walk
from octshard.prep.index.walk import Place
from octshard.prep.readers import npz
from octshard.prep.refusals import Refused
from tests.support import fairvision_folder
from tests.support.scan_folder import write


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened for their labels from now on."""
    names: list[str] = []
    whole = npz.single_values
    monkeypatch.setattr(
        npz, "single_values", lambda file: names.append(file.name.rpartition("/")[2]) or whole(file)
    )
    return names


def files(count: int) -> dict[str, bytes]:
    return {f"train/data_{n}.npz": fairvision_folder.scan(n, glaucoma=n % 2, age=50.5) for n in range(count)}


def labels(root: Path, kept: Path) -> list[dict[str, str]]:
    places = list(walk.walk(str(root)))
    return [dict(values) for values in file_labels.read(str(root), places, str(kept), 2)]


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, read: list[str]) -> None:
    root = write(tmp_path / "in", files(5))
    first = labels(root, tmp_path / "kept")
    assert [values["glaucoma"] for values in first] == ["0", "1", "0", "1", "0"]
    assert (first[0]["age"], len(read)) == ("50.5", 5)
    read.clear()
    assert labels(root, tmp_path / "kept") == first
    assert read == []
    write(root, {"train/data_1.npz": fairvision_folder.scan(1, glaucoma=0, age=51)})
    (root / "train/data_0.npz").unlink()
    write(root, {"train/data_9.npz": b"PK\3\4 torn"})
    again = labels(root, tmp_path / "kept")
    assert sorted(read) == ["data_1.npz", "data_9.npz"]
    assert [values.get("glaucoma") for values in again] == ["0", "0", "1", "0", None]
    read.clear()
    assert labels(root, tmp_path / "kept") == again
    assert read == []  # of the torn one too: its bytes are what they were


def test_labels_are_read_in_a_zip_that_lies_in_a_folder_called_like_one(tmp_path: Path) -> None:
    data = zipped({f"x.zip/{name}": data for name, data in files(2).items()})
    root = write(
        tmp_path / "in", {"old.zip/new.zip": data, "old.zip/data_0.npz": next(iter(files(1).values()))}
    )
    assert [values["glaucoma"] for values in labels(root, tmp_path / "kept")] == ["0", "0", "1"]


def test_a_run_that_ends_early_keeps_what_it_read(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PART_LINES", 2)
    monkeypatch.setattr(file_labels, "AHEAD", 1)
    root = write(tmp_path / "in", files(12))
    places = list(walk.walk(str(root)))
    some = file_labels.read(str(root), places, str(tmp_path / "kept"), 1)
    begun = [next(some) for _ in range(5)]
    some.close()
    read.clear()
    whole = labels(root, tmp_path / "kept")
    assert whole[:5] == begun
    assert len(read) == 7
    assert labels(root, tmp_path / "kept") == whole


def test_a_damaged_part_of_the_journal_is_read_anew(tmp_path: Path, read: list[str]) -> None:
    root = write(tmp_path / "in", files(3))
    first = labels(root, tmp_path / "kept")
    (part,) = (tmp_path / "kept").iterdir()
    part.write_bytes(part.read_bytes().replace(b"50.5", b"99.9"))
    read.clear()
    assert labels(root, tmp_path / "kept") == first
    assert len(read) == 3


def test_what_stands_in_the_journal_is_json_in_a_line(tmp_path: Path) -> None:
    values = {"name": 'a"b\n\u2028c'}
    record = file_labels.Record.of(Place("x", 1, "v"), file_labels.Finding("scan", json.dumps(values)))
    assert "\n" not in record.line
    assert json.loads(record.read()[1].what) == values
    assert issubclass(Refused, Exception)

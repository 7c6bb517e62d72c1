"""The device of a manifest's row: as its column says, or as a release's folders do; never a person's name."""

import pytest

from octshard.errors import UsageError
from octshard.prep.release import aireadi


def device(path: str, cell: str | None = None, person: str = "P1", model: str = "") -> str:
    """cell: None for a manifest without the column."""
    heads = ["person_id", "filepath", "manufacturers_model_name", *([] if cell is None else ["device"])]
    cells = [person, path, model, *([] if cell is None else [cell])]
    (entry,) = aireadi.parse_manifest("\t".join(heads) + "\n" + "\t".join(cells) + "\n", "m")
    return entry.device


@pytest.mark.parametrize("cell", ["unknown", "Unknown"])
@pytest.mark.parametrize(
    "path",
    [
        "P1/2023-07-18/OD_cube.npy",
        "siteA/P1/a.npy",
        "x.zip/P1/a.npy",
        "retinal_oct/structural_oct/new_maker/P1/a.dcm",
        "zeiss_cirrus/P1/a.dcm",
    ],
)
def test_a_device_that_is_said_to_be_unknown_stays_so(path: str, cell: str) -> None:
    assert device(path, cell, model="Triton") == "unknown"


@pytest.mark.parametrize("cell", [None, "", "n/a", "none"])
@pytest.mark.parametrize(
    "path",
    [
        "P1/2023-07-18/OD_cube.npy",
        "P1/all/a.npy",
        "P1/P1/a.npy",
        "p1/all/P2/a.npy",
        "x.zip/P1/a.npy",
        "structural_oct/P1/a.npy",
        "retinal_oct/P1/a.npy",
        "scans/Meyer_Anna/2023/a.npy",  # the person is P1 by the column
        "scans/Meyer_Anna/a.npy",
        "a.b/C/a.npy",
        "P1/a.npy",
        "a.npy",
    ],
)
def test_without_a_device_no_folder_that_may_be_a_person_is_taken_for_one(
    path: str, cell: str | None
) -> None:
    assert device(path, cell) == "unknown"


@pytest.mark.parametrize(
    ("path", "person", "model", "name"),
    [
        ("a/topcon_maestro2/1/x.dcm", "1", "Triton", "topcon_maestro2"),
        ("scans/1/x.dcm", "1", "Maestro 2", "topcon_maestro2"),
        ("/retinal_oct/structural_oct/new_maker/1001/x.dcm", "1001", "Other", "new_maker"),
        ("new_maker/1001/x.dcm", "", "", "new_maker"),
        ("new_maker/1001.zip/x.dcm", "1001", "", "new_maker"),
    ],
)
def test_without_the_column_the_folders_of_a_release_tell_the_device_then_its_model(
    path: str, person: str, model: str, name: str
) -> None:
    assert device(path, None, person, model) == name


@pytest.mark.parametrize("name", ["all", "a.b", "my device", "none", "_x"])
def test_a_folder_of_a_release_that_cannot_be_a_dataset_folder_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=r"^m line 2, by its path: device .* names a folder of DST; want"):
        device(f"scans/{name}/P1/a.dcm")

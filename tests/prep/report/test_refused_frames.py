"""Pictures of refused files: of the stored frames, from folder or ZIPs, and never the end of the page."""

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import Dataset, SampleRow
from octshard.prep.build import run
from octshard.prep.build.source_versions import Origin
from octshard.prep.report import cards, page, refused_frames
from octshard.prep.report.content import Shards
from octshard.prep.report.refused_frames import Frame
from octshard.report.page import Html
from tests.support.image_files import b_scans, below
from tests.support.made_release import changed, scan, sound, unpacked, zipped
from tests.support.scan_folder import write

DEVICE = "topcon_triton"
FRAMES = b"\x28\x00\x08\x00IS\x02\x00%d "


def more_frames(data: bytes) -> bytes:
    """NumberOfFrames is 9 and not 6."""
    assert FRAMES % 6 in data
    return data.replace(FRAMES % 6, FRAMES % 9)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a sound file, of one that promises more frames than it has, a cut one and a missing one."""
    there = tmp_path_factory.mktemp("built")
    files = [
        sound(1),
        changed(2, more_frames),
        changed(3, lambda data: data[:-100]),
        changed(4, lambda data: None),
    ]
    unpacked(there / "dicom", files, {"1001": "train"})
    zipped(there / "zips", files, {"1001": "train"})
    cfg = PrepConfig(src=str(there / "dicom"), dst=str(there / "shards"), workers=1)
    run.shard(cfg, [DEVICE])
    return there


def rows(built: Path) -> dict[str, SampleRow]:
    """Of the refused files by reason."""
    return {row.reason: row for row in tables.open_dataset(str(built / "shards" / DEVICE)).refused}


@pytest.mark.parametrize(("folder", "from_zip"), [("dicom", False), ("zips", True)])
def test_the_middle_one_of_the_stored_frames_is_drawn(built: Path, folder: str, from_zip: bool) -> None:
    refused = rows(built)
    assert set(refused) == {"frame_count", "truncated", "missing_file"}
    frames = refused_frames.draw(list(refused.values()), Origin(str(built / folder), from_zip))
    assert frames
    assert list(frames) == [refused["frame_count"].source]  # of the others no frame can be trusted
    (frame,) = frames.values()
    np.testing.assert_array_equal(frame.image_HW, scan(2).voxels_DHW[3])
    # 24 columns of 20 µm and 20 rows of 10 µm; square pixels until the spacing was looked for
    assert frame.aspect == pytest.approx(24 / 20 if refused["frame_count"].spacing_in is None else 48 / 20)


def test_no_more_bytes_are_read_than_allowed(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = rows(built)["frame_count"]
    monkeypatch.setattr(refused_frames, "MOST_BYTES", row.source_bytes - 1)  # type: ignore[operator]
    assert refused_frames.draw([row], Origin(str(built / "dicom"), from_zip=False)) == {}


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_that_kills_its_reader_or_takes_too_long_has_no_picture(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, place = rows(built)["frame_count"], Origin(str(built / "dicom"), from_zip=False)
    with monkeypatch.context() as patch:
        patch.setattr(refused_frames, "_frame", killed)
        assert refused_frames.draw([row], place) == {}
    monkeypatch.setattr(refused_frames, "PATIENCE_S", 1e-3)
    assert refused_frames.draw([row], place) == {}


@pytest.mark.parametrize("damage", ["gone", "no manifest", "a manifest of something else", "a file"])
def test_a_source_that_is_not_there_costs_the_pictures_alone(
    built: Path, tmp_path: Path, damage: str
) -> None:
    there = tmp_path / "src"
    if damage == "a file":
        there.write_text("x")
    elif damage != "gone":
        there.mkdir()
    if damage == "a manifest of something else":
        (there / "manifest.tsv").write_bytes(b"\xff\xfe\x00")
    assert refused_frames.draw(list(rows(built).values()), Origin(str(there), from_zip=False)) is None
    out = page.write(str(built / "shards"), str(tmp_path / "page.html"), 0, source=str(there))
    text = Path(out).read_text()
    assert "where their source can be reached" in text
    assert "refused: frame_count" not in text


def test_the_page_finds_the_source_that_prep_read(built: Path, tmp_path: Path) -> None:
    text = Path(page.write(str(built / "shards"), str(tmp_path / "page.html"), 0)).read_text()
    assert f'alt="Frame of {rows(built)["frame_count"].source}, refused: frame_count"' in text
    assert "9 frames declared, 6 stored" in text


def test_files_of_one_path_in_two_sources_keep_their_own_pictures(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = rows(built)["frame_count"]
    other = dataclasses.replace(ours, device="other")
    datasets = tuple(Dataset("", {}, (row,), ()) for row in (ours, other))
    origins = tuple(Origin(src, from_zip=False) for src in ("/one", "/two"))
    shards = Shards(datasets, ({}, {}), (), origins=origins)
    image_HW = np.zeros((2, 2), np.uint8)

    def drawn(of: list[SampleRow], place: Origin) -> dict[str, Frame]:
        return {of[0].source: Frame(image_HW, 2.0 if place.src == "/two" else 1.0)}

    monkeypatch.setattr(refused_frames, "draw", drawn)
    for given in ("", "/one"):
        frames = page.frames(shards, [ours, other], given)
        assert frames is not None
        assert {key[0]: frame.aspect for key, frame in frames.items()} == {ours.device: 1.0, "other": 2.0}
        text = "".join(
            part.markup for part in cards.worst([ours, other], frames, []) if isinstance(part, Html)
        )
        assert text.count(f'alt="Frame of {ours.source}') == 2


def test_a_frame_of_a_folder_of_images_is_drawn(tmp_path: Path) -> None:
    """A B-scan is missing, so the folder is refused; those that are there decode."""
    images = b_scans(scan().voxels_DHW)
    del images["2.png"]
    root = write(tmp_path / "src", below("1/", images))
    (root / "manifest.tsv").write_text("person_id\tfilepath\tdevice\n1\t1/\td\n")
    run.shard(PrepConfig(src=str(root), dst=str(tmp_path / "shards"), workers=1), ["d"])
    (row,) = tables.open_dataset(str(tmp_path / "shards/d")).refused
    assert row.reason == "geometry_uneven"
    frames = refused_frames.draw([row], Origin(str(root), from_zip=False))
    assert frames
    np.testing.assert_array_equal(frames["1/"].image_HW, scan().voxels_DHW[3])  # the third of five

"""What preview and stream-check say of masks: misfits, and the coverage of the retinal band."""

from pathlib import Path

import numpy as np
import pytest

from octshard.imaging.retina_band import RetinaBand
from octshard.pictures.panels import BAND, panels
from octshard.stream.index import load_index
from octshard.train import mask_report, preview, stream_check
from octshard.train.preview import PreviewRequest
from tests.support.tiny_run import config_for, write_dataset

RETINA = "objective.masks=[{kind: retina, cube: [1,1,1], ratio: 0.6, band: 0.6, context: 0.3, target: 0.5}]"


def band_of(key: str) -> RetinaBand:
    """Rows 8 to 12 of 20, the second of three rows of tokens: 6 of 18."""
    return RetinaBand(np.tile(np.array([8, 12], np.int16), (6, 3, 1)))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 4}, band_of=band_of)


def test_stream_check_says_the_coverage_of_the_placement(shards: str, tmp_path: Path) -> None:
    """Of 9 targets 0.6 are 5, and 0.6 of the 6 tokens of the band are 3."""
    cfg = config_for(shards, tmp_path, RETINA)
    expected = (
        "masks (1): 33% of the targets lie in the retinal band, 50% of it is target (inner-retina coverage), "
        "over 16 volumes"
    )
    assert list(mask_report.coverage_lines(cfg, load_index(cfg, "train", 1))) == [expected]
    assert expected in list(stream_check.lines(cfg, 1, 0, 0.01))


def test_a_misfit_is_said_without_reading(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path, "objective.masks=[{kind: cubes, ratio: 0.9, context: 6, target: 5}]")
    (line,) = (line for line in stream_check.lines(cfg, 1, 0, 0) if "do not fit" in line)
    assert line.startswith("objective.masks[0]: 100% of its draws do not fit K = 6 and T = 5 of 18 valid")


@pytest.mark.parametrize("key", ["", "val001-device-proto-l-0000000001"])
def test_preview_shows_the_band_and_the_same_numbers(shards: str, tmp_path: Path, key: str) -> None:
    """Of training, with its views, and of validation."""
    cfg = config_for(shards, tmp_path, RETINA, "views.zoom=0", "views.tilt=0", "run.epochs=1")
    view = next(preview.previews(cfg, PreviewRequest((key,) if key else (), 1, ""))).view
    assert view.band_dhw is not None
    assert view.band_dhw.sum() == 6
    assert view.band_dhw[:, 1].all()
    assert view.detail.endswith("; 33 % of the targets in the retinal band, 50 % of it target")
    outlines = [outline.colour for panel in panels(view) for outline in panel.outlines(0)]
    assert outlines.count(BAND) == 1


def test_without_bands_nothing_is_said(tmp_path: Path) -> None:
    bare = write_dataset(tmp_path / "device", {"train": 21, "val": 4})
    cfg = config_for(bare, tmp_path, "run.epochs=1")
    assert list(mask_report.coverage_lines(cfg, load_index(cfg, "train", 1))) == []
    view = next(preview.previews(cfg, PreviewRequest((), 1, ""))).view
    assert view.band_dhw is None
    assert "band" not in view.detail

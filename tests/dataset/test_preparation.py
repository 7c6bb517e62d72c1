"""What decides the stored voxels of a scan is read out of dataset.json, once for equal folders."""

import json
from typing import Any

from octshard.config import fields
from octshard.config.prep import PrepConfig
from octshard.dataset import preparation
from octshard.dataset.tables import Dataset

CFG = PrepConfig(target_spacing=[0.1, 0.01, 0.02], fit="resize", decode="fast", include_geometry=["radial"])


def dataset(cfg: PrepConfig) -> Dataset:
    info: dict[str, Any] = json.loads(json.dumps({"config": fields.result_values(cfg)}))
    return Dataset("folder", info, (), ())


def test_it_goes_round() -> None:
    (settings,) = preparation.preparations([dataset(CFG)])
    assert preparation.prep_config(settings) == CFG


def test_folders_that_differ_in_other_things_alone_are_prepared_alike() -> None:
    alike = PrepConfig(
        target_spacing=[0.1, 0.01, 0.02], fit="resize", decode="fast", include_geometry=["radial"]
    )
    alike.limit, alike.seed, alike.zstd_level, alike.src = 3, 7, 9, "elsewhere"
    other = PrepConfig()
    settings = preparation.preparations([dataset(CFG), dataset(other), dataset(alike)])
    assert [s["fit"] for s in settings] == ["resize", "crop_pad"]


def test_kept_bits_stand_for_both_and_eight_stand_nowhere() -> None:
    eight, kept = preparation.preparations([dataset(PrepConfig()), dataset(PrepConfig(bits="keep"))])
    assert "bits" not in eight
    assert preparation.settings_of(PrepConfig()) == eight
    for settings in ([eight, kept], [kept, eight], [kept]):
        alike, differing = preparation.agreed(settings)
        assert (preparation.prep_config(alike), differing) == (PrepConfig(bits="keep"), {})
    assert preparation.agreed([eight])[0] == eight


def test_a_folder_that_holds_no_config_says_nothing() -> None:
    assert preparation.preparations([Dataset("folder", {"counts": {}}, (), ())]) == ()

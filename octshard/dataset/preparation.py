"""How the volumes of a dataset were prepared: the settings of prep that decide what is stored of one scan.

They stand in dataset.json. A checkpoint records those of its shards, so that its encoder can be given a scan
that was never stored and see it as it would have been.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from octshard.config import fields
from octshard.config.prep import KEEP, PrepConfig
from octshard.dataset.tables import Dataset

KEYS = ("target_spacing", "image_size", "fit", "decode", "include_geometry", "bits")


def preparations(datasets: Iterable[Dataset]) -> tuple[dict[str, Any], ...]:
    """The settings of each dataset, equal ones once; nothing for a dataset.json that holds no config."""
    configs = (dataset.info.get("config") for dataset in datasets)
    settings = (
        {key: config[key] for key in KEYS if key in config} for config in configs if isinstance(config, dict)
    )
    return tuple(_distinct(found for found in settings if found))


def agreed(preparations: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """One preparation for all of them, and the settings in which they differ with their values.

    What changes no voxel that is stored is joined: a geometry counts as included if one of them includes
    it, and "exact" decoding stands for both. So does `bits: keep`, which stands in no older dataset.json.
    """
    values = {key: _distinct(settings[key] for settings in preparations if key in settings) for key in KEYS}
    if values["include_geometry"]:
        values["include_geometry"] = [
            sorted({name for names in values["include_geometry"] for name in names})
        ]
    if len(values["decode"]) > 1:
        values["decode"] = ["exact"]
    if KEEP in values["bits"]:
        values["bits"] = [KEEP]
    settings = {key: found[0] for key, found in values.items() if len(found) == 1}
    return settings, {key: found for key, found in values.items() if len(found) > 1}


def prep_config(settings: Mapping[str, Any]) -> PrepConfig:
    """`settings` as a config of prep, everything else at its default."""
    return dataclasses.replace(PrepConfig(), **settings)


def settings_of(prep: PrepConfig) -> dict[str, Any]:
    """What `prep_config` makes that config of."""
    values = fields.result_values(prep)
    return {key: values[key] for key in KEYS if key in values}


def voxel_limit(info: Mapping[str, Any]) -> int:
    """The most voxels that prep stored of one scan, by dataset.json; a sample that claims more is damaged."""
    config = info.get("config")
    limit = config.get("max_output_voxels") if isinstance(config, dict) else None
    return limit if isinstance(limit, int) else PrepConfig().max_output_voxels


def _distinct(values: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct

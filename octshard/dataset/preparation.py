"""How the volumes of a dataset were prepared: the settings of prep that decide what is stored of one scan.

They stand in dataset.json. A checkpoint records those of its shards, so that its encoder can be given a scan
that was never stored and see it as it would have been.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import Dataset

KEYS = ("target_spacing", "image_size", "fit", "decode", "include_geometry")


def preparations(datasets: Iterable[Dataset]) -> tuple[dict[str, Any], ...]:
    """The settings of each dataset, equal ones once; nothing for a dataset.json that holds no config."""
    distinct: list[dict[str, Any]] = []
    for dataset in datasets:
        config = dataset.info.get("config", {})
        settings = {key: config[key] for key in KEYS if key in config}
        if settings and settings not in distinct:
            distinct.append(settings)
    return tuple(distinct)


def prep_config(settings: Mapping[str, Any]) -> PrepConfig:
    """`settings` as a config of prep, everything else at its default."""
    return dataclasses.replace(PrepConfig(), **settings)

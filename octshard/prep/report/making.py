"""Two sections of the report page: how fast the shards were made, and with which settings."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from octshard.prep.report.content import Shards
from octshard.report import page
from octshard.report.page import Cell, Content, Section, table

SPEED = {  # key of run.json -> its heading
    "engine": "engine",
    "workers": "workers",
    "files": "files",
    "seconds": "seconds",
    "files_per_s": "files/s",
    "mb_read_per_s": "MB/s read",
}


def throughput(shards: Shards) -> Iterable[Section]:
    """The section on speed, if any dataset has a run.json."""
    runs = [(device, run) for device, run in zip(shards.devices, shards.runs, strict=True) if run]
    keys = [key for key in SPEED if any(key in run for _, run in runs)]
    if not keys:
        return ()
    lines: list[list[Cell]] = [
        [page.breakable(device), *(_shown(run.get(key)) for key in keys)] for device, run in runs
    ]
    note = "Of the last run that made anything; what was kept from earlier runs is not in it."
    return (
        Section("Throughput", (table(["device", *(SPEED[key] for key in keys)], lines, note, stacked=True),)),
    )


def settings(shards: Shards) -> tuple[Content, ...]:
    """The config and the versions of every dataset."""
    infos = [dataset.info for dataset in shards.datasets]
    raw_configs = [info.get("config") for info in infos]
    configs = [config if isinstance(config, Mapping) else {} for config in raw_configs]
    info_keys = {"code version": "code_version", "format": "format", "config digest": "config_digest"}
    lines = {name: [str(info.get(key, "not said")) for info in infos] for name, key in info_keys.items()}
    for key in sorted({key for config in configs for key in config}):
        lines[key] = [json.dumps(config[key]) if key in config else "not said" for config in configs]
    if all(len(set(values)) == 1 for values in lines.values()):
        return (
            table(
                ["setting", "value"], [[name, values[0]] for name, values in lines.items()], "", stacked=True
            ),
        )
    cells = [[name, *values] for name, values in lines.items()]
    note = "These datasets were not all made with the same settings."
    return (note, table(["setting", *shards.devices], cells, "", stacked=True))


def _shown(value: Any) -> Cell:
    return value if value is None or isinstance(value, int | float) else str(value)

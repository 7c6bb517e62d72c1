"""The section that says what to do next: about refused files, then with the shards, each with its command."""

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from octshard.config import fields
from octshard.config.load import load, shipped_configs
from octshard.config.prep import PrepConfig
from octshard.dataset.tables import Dataset
from octshard.prep.report import content, remedies
from octshard.prep.report.content import Shards
from octshard.prep.report.remedies import DAMAGED, LIBRARY, UNEXPLAINED
from octshard.report import steps
from octshard.report.numbers import pluralize
from octshard.report.page import Content
from octshard.report.steps import Step, command

EXTRA_NAME = re.compile(r"octshard\[([a-z0-9_-]+)\]")
SHUT = "geometry_"  # reasons that a setting lifts
BY_THE_MACHINE = ("decoder_crash", "decoder_timeout")
OF_GRIDS = {"demo": "demo", "retina": "pretrain_vjepa_retina"}  # shipped config of prep -> that of train
ONE, SEVERAL = "pretrain_vjepa_single_domain", "pretrain_vjepa_multi_domain"  # else, by the number of devices
EXTRA = {  # what a second try of a reason is given
    "decoder_crash": ("--workers", "1"),
    "decoder_timeout": ("--workers", "1", "--set", "decode_timeout_s=3600"),
}


def section(shards: Shards) -> tuple[Content, ...]:
    """The list; commands have the paths that the commands before were given."""
    unknown = any(origin is None for origin in shards.origins) or not shards.origins
    note = ("SRC is the release root, the folder that holds manifest.tsv.",) if unknown else ()
    made = [*_unfinished(shards), *_refused(shards), *_onwards(shards)]
    has_src = any("prep shard SRC" in line for step in made for line in step.commands)
    return (steps.html(made), *(note if has_src else ()))


def _unfinished(shards: Shards) -> Iterator[Step]:
    if shards.unfinished and shards.datasets:
        words = [_shard(shards, 0, device=name) for name in shards.unfinished]
        yield Step(
            f"Finish {', '.join(shards.unfinished)}: the same command as before goes on.", tuple(words)
        )


def _refused(shards: Shards) -> Iterator[Step]:
    """A step for each thing that can be done about refused files."""
    for reason in BY_THE_MACHINE:
        if numbers := _with_reason(shards, lambda name, reason=reason: name == reason):
            text = f"Try {_files(numbers)} again that a decoder did not finish, alone on the machine:"
            yield Step(text, tuple(_shard(shards, i, *EXTRA[reason]) for i in numbers))
    others = _with_reason(shards, lambda r: remedies.kind_of(r) == UNEXPLAINED and r not in BY_THE_MACHINE)
    if others:
        text = f"Read why {_files(others)} could not be used: the detail names the value. Codecs at hand:"
        yield Step(text, (command("octshard", "doctor"),))
    if numbers := _with_reason(shards, lambda reason: remedies.kind_of(reason) == LIBRARY):
        extras = sorted({name for i in numbers for name in _extras(shards.datasets[i])})
        text = f"Install what reads {_files(numbers)} (the detail names the extra), then the same command:"
        install = [command("pip", "install", f"octshard[{','.join(extras)}]")] if extras else []
        yield Step(text, (*install, *(_shard(shards, i) for i in numbers)))
    if numbers := _with_reason(shards, lambda reason: remedies.kind_of(reason) == DAMAGED):
        text = (
            f"Fetch {_files(numbers)} again that {_are(numbers)} damaged or missing (out of ZIPs: "
            "prep unzip, or --from-zip); only their shards are made anew:"
        )
        yield Step(text, tuple(_shard(shards, i) for i in numbers))
    if numbers := _with_reason(shards, lambda reason: reason.startswith(SHUT)):
        text = f"Only if {_files(numbers)} that {_are(numbers)} no stack shall be volumes all the same:"
        yield Step(text, tuple(_open_geometry(shards, i) for i in numbers))


def _onwards(shards: Shards) -> Iterator[Step]:
    """With what is stored."""
    url, stored = shards.url, [d for d in shards.datasets if len(d.refused) < len(d.rows)]
    if not stored:
        return
    yield Step("Check every byte, above all after a copy:", (command("octshard", "prep", "verify", url),))
    config = OF_GRIDS.get(_grid(stored[0]), ONE if len(shards.datasets) == 1 else SEVERAL)
    words = ("--config", config, steps.setting("data.shards", url))
    look = command("octshard", "preview", *words, "--out", "preview.png")
    yield Step("See what a model will see of a volume:", (look,))
    if config != OF_GRIDS["demo"]:
        trial = ("--config", "smoke_test", steps.setting("data.shards", url))
        yield Step("Try ten steps on this machine:", (command("octshard", "train", *trial),))
    run = steps.setting("run.out", f"runs/{content.place_of(url)[1]}")
    yield Step("Pretrain:", (command("octshard", "train", *words, run),))
    settings = {"checkpoint": run.partition("=")[2], "shards": url, "labels": "LABELS", "label": "COLUMN"}
    probe = [steps.setting(name, value) for name, value in settings.items()]
    text = (
        "Ask the frozen encoder. LABELS is a TSV or CSV with a row for each person, who is named in a column "
        "person_id, patient or the like, and COLUMN its column of labels; join=eye for a row for each eye:"
    )
    yield Step(text, (command("octshard", "eval", "linear-probe", *probe, "out=runs/probe"),))


def _extras(dataset: Dataset) -> list[str]:
    """The extras that the details of files without a library name."""
    details = [row.detail for row in dataset.refused if remedies.kind_of(row.reason) == LIBRARY]
    return [name for detail in details for name in EXTRA_NAME.findall(detail)]


def _with_reason(shards: Shards, wanted: Any) -> Mapping[int, int]:
    """Number of a dataset -> its refused files whose reason is `wanted`."""
    counts = {
        i: sum(wanted(row.reason) for row in dataset.refused) for i, dataset in enumerate(shards.datasets)
    }
    return {i: count for i, count in counts.items() if count}


def _are(numbers: Mapping[int, int]) -> str:
    return "is" if sum(numbers.values()) == 1 else "are"


def _files(numbers: Mapping[int, int]) -> str:
    return pluralize(sum(numbers.values()), "file")


def _shard(shards: Shards, number: int, *more: str, device: str = "") -> str:
    """The command that made a dataset."""
    dataset, dst = shards.datasets[number], content.place_of(shards.datasets[number].url)[0]
    return command(*_words(shards, number, dst, device or content.device_of(dataset)), *more)


def _open_geometry(shards: Shards, number: int) -> str:
    """The same into another DST, with the geometries that were refused."""
    dataset = shards.datasets[number]
    shut = Counter(r.reason.removeprefix(SHUT) for r in dataset.refused if r.reason.startswith(SHUT))
    dst = content.place_of(dataset.url)[0]
    if dst == ".":
        dst = f"../{content.place_of(dst)[1]}"
    config = dataset.info.get("config")
    opened = config.get("include_geometry") if isinstance(config, Mapping) else None
    opened = opened if isinstance(opened, list) else []
    words = _words(shards, number, f"{dst.rstrip('/')}-all", content.device_of(dataset))
    value = json.dumps([*opened, *sorted(shut)])
    return command(*words, "--set", f"include_geometry={value}")


def _words(shards: Shards, number: int, dst: str, device: str) -> list[str]:
    origin = shards.origins[number] if shards.origins else None
    words = ["octshard", "prep", "shard", origin.src if origin else "SRC", dst, "--device", device]
    return [
        *words,
        *(["--from-zip"] if origin and origin.from_zip else []),
        *(["--manifest", origin.manifest] if origin and origin.manifest else []),
        *_settings(shards.datasets[number]),
    ]


def _settings(dataset: Dataset) -> list[str]:
    """The words that give the config of a dataset: a shipped one, or what differs from the defaults."""
    if name := _grid(dataset):
        return ["--config", name]
    config = dataset.info.get("config")
    ours = fields.result_values(PrepConfig())
    theirs = config if isinstance(config, Mapping) else {}
    changed = {key: theirs[key] for key in ours if key in theirs and theirs[key] != ours[key]}
    texts = (
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in changed.items()
    )
    return [word for text in texts for word in ("--set", text)]


def _grid(dataset: Dataset) -> str:
    """The shipped config of prep that a dataset was made with; nothing for the default and for any other."""
    config = dataset.info.get("config")
    if config == fields.result_values(PrepConfig()):
        return ""
    return next((name for name, values in _shipped().items() if values == config), "")


@functools.cache
def _shipped() -> dict[str, dict[str, Any]]:
    """What each shipped config of prep says of the result."""
    return {name: fields.result_values(load(PrepConfig, [name])) for name in shipped_configs("prep")}

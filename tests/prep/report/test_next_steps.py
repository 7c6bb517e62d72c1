"""What to do next: commands with the user's own paths that the command line takes, only those that help."""

import dataclasses
import html
import re
import shlex
from pathlib import Path

import click
import pytest

from octshard.cli.main import cli
from octshard.config import fields
from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset.tables import Dataset, SampleRow
from octshard.prep.build.source_versions import Origin
from octshard.prep.report import next_steps
from octshard.prep.report.content import Shards

ROW = SampleRow("k", "p", "topcon_triton", "", "", "often", "", "L", "train", "s")
TRITON, CIRRUS = "my data/shards/topcon_triton", "my data/shards/zeiss_cirrus"


def dataset(url: str, *reasons: str, cfg: PrepConfig | None = None) -> Dataset:
    rows = [ROW, *(dataclasses.replace(ROW, status="refused", reason=reason) for reason in reasons)]
    info = {"device": url.rpartition("/")[2], "config": fields.result_values(cfg or PrepConfig())}
    return Dataset(url, info, tuple(rows), ())


def lines(*datasets: Dataset, url: str = "my data/shards", origin: Origin | None = None) -> list[list[str]]:
    """The commands, in words; each is one that the command line takes."""
    shards = Shards(datasets, ({},) * len(datasets), (), url, (origin,) * len(datasets))
    blocks = re.findall(r"<code>(.*?)</code>", "".join(map(markup, next_steps.section(shards))), re.DOTALL)
    commands = [
        shlex.split(line)
        for block in blocks
        for line in html.unescape(re.sub("</?span>", "", block)).splitlines()
    ]
    for _, *words in commands:
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context(str(command.name), words)
    return commands


def markup(part: object) -> str:
    return getattr(part, "markup", str(part))


def test_where_all_is_well_the_next_steps_are_those_with_the_shards() -> None:
    commands = lines(dataset(TRITON), dataset(CIRRUS))
    names = [" ".join(words[1:3]) for words in commands]
    assert names == [
        "prep verify",
        "preview --config",
        "train --config",
        "train --config",
        "eval linear-probe",
    ]
    assert commands[0][3:] == ["my data/shards"]
    assert commands[-1][3:] == [
        "checkpoint=runs/shards", "shards=my data/shards", "labels=LABELS", "label=COLUMN", "out=runs/probe",
    ]  # fmt: skip
    for words in commands[1:-1]:
        config = words[words.index("--config") + 1]
        overrides = [word for word in words if "=" in word]
        assert load(TrainConfig, [config], overrides).data.shards == ["my data/shards"]
    assert commands[-2][3] == "pretrain_vjepa_multi_domain"
    assert lines(dataset(TRITON), url=TRITON)[-2][3] == "pretrain_vjepa_single_domain"


@pytest.mark.parametrize(
    "cfg",
    [
        PrepConfig(),
        load(PrepConfig, ["demo"]),
        load(PrepConfig, ["retina"]),
        PrepConfig(target_spacing=[0.1, 0.02, 0.03], fit="resize", include_geometry=["radial"], limit=7),
    ],
)
def test_the_command_for_damaged_files_is_the_one_that_made_the_shards(cfg: PrepConfig) -> None:
    origin = Origin("gs://bucket/a b", from_zip=True)
    first, *_ = lines(dataset(TRITON, "truncated", "missing_file", cfg=cfg), url=TRITON, origin=origin)
    assert first[:7] == [
        "octshard",
        "prep",
        "shard",
        origin.src,
        "my data/shards",
        "--device",
        "topcon_triton",
    ]
    assert first[7] == "--from-zip"
    options = dict(zip(first[8::2], first[9::2], strict=True))
    words = [value for name, value in zip(first[8::2], first[9::2], strict=True) if name == "--set"]
    configs = [options["--config"]] if "--config" in options else []
    assert fields.result_values(load(PrepConfig, configs, words)) == fields.result_values(cfg)


def test_each_kind_of_refusal_has_the_step_that_helps() -> None:
    broken = dataset(
        TRITON, "decoder_timeout", "unreadable", "geometry_radial", "geometry_mixed", "duplicate"
    )
    commands = lines(broken, dataset(CIRRUS, "truncated"), origin=Origin("src", from_zip=False))
    assert commands[0][2:] == [
        "shard", "src", "my data/shards", "--device", "topcon_triton", "--workers", "1", "--set",
        "decode_timeout_s=3600",
    ]  # fmt: skip
    assert commands[1] == ["octshard", "doctor"]
    assert commands[2][2:] == ["shard", "src", "my data/shards", "--device", "zeiss_cirrus"]
    assert commands[3][2:] == [
        "shard", "src", "my data/shards-all", "--device", "topcon_triton", "--set",
        'include_geometry=["mixed", "radial"]',
    ]  # fmt: skip
    assert commands[4][:3] == ["octshard", "prep", "verify"]


def test_a_missing_library_is_to_be_installed_by_the_name_that_the_detail_gives() -> None:
    made = dataset(TRITON, "missing_library", "missing_library")
    detail = 'nibabel is not installed; pip install "octshard[nifti]"'
    made = dataclasses.replace(made, rows=tuple(dataclasses.replace(row, detail=detail) for row in made.rows))
    shards = Shards((made,), ({},), (), TRITON, (Origin("src", from_zip=False),))
    text = markup(next_steps.section(shards)[0])
    assert "Install what reads 2 files" in text
    assert "<span>pip</span> <span>install</span> <span>&#x27;octshard[nifti]&#x27;</span>" in text
    assert "<span>prep</span> <span>shard</span> <span>src</span>" in text


def test_an_unknown_source_is_called_by_a_name_that_is_explained() -> None:
    shards = Shards((dataset(TRITON, "truncated"),), ({},), (), TRITON, (None,))
    steps, note = next_steps.section(shards)
    assert "<span>SRC</span>" in markup(steps)
    assert "SRC is the release root" in markup(note)


def test_shards_of_no_volume_are_not_to_be_trained_on() -> None:
    empty = dataset(TRITON, "geometry_radial")
    empty = dataclasses.replace(empty, rows=empty.rows[1:])
    (command,) = lines(empty, url=TRITON)
    assert command[:3] == ["octshard", "prep", "shard"]


def test_an_unfinished_device_is_to_be_finished_first() -> None:
    shards = Shards((dataset(TRITON),), ({},), ("zeiss_cirrus",), "my data/shards", (Origin("src", False),))
    text = markup(next_steps.section(shards)[0])
    assert text.index("Finish zeiss_cirrus") < text.index("prep</span> <span>verify")
    assert "<span>--device</span> <span>zeiss_cirrus</span>" in text


def test_shards_in_the_folder_one_stands_in_have_neighbours_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *_ = lines(dataset("./topcon_triton", "geometry_radial"), url=".")
    assert first[4:7] == [f"../{tmp_path.name}-all", "--device", "topcon_triton"]


def test_the_command_names_a_manifest_that_lies_elsewhere() -> None:
    origin = Origin("scans", from_zip=False, manifest="lists/m.tsv")
    first, *_ = lines(dataset(TRITON, "truncated"), url=TRITON, origin=origin)
    assert first[first.index("--manifest") + 1] == "lists/m.tsv"

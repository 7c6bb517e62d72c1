"""docs/training.md: its commands parse and their keys exist; its two phases run, tiny."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.models import checkpoint
from octshard.train import metrics_log, no_effect
from tests.support.tiny_run import SETTINGS, write_dataset

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
COMMANDS = [
    line
    for block in PAGE.split("```")[1::2]
    for line in block.strip().splitlines()
    if line.startswith("octshard train")
]


def words_of(line: str) -> tuple[str, list[str]]:
    """The config and the KEY=VALUE words of a command."""
    context = cli.commands["train"].make_context("train", shlex.split(line)[2:])
    (config,) = context.params["config"]
    return config, list(context.params["overrides"])


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_have_keys_that_exist_and_do_something(line: str) -> None:
    config, words = words_of(line)
    cfg = load(TrainConfig, [config], words)
    backend: Any = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    assert not list(no_effect.lines(cfg, backend))


def test_the_lines_of_the_table_are_the_code_s() -> None:
    """But for names and numbers, which are examples."""
    code = "".join(
        path.read_text() for path in (Path(__file__).parents[2] / "octshard").rglob("*.py") if path.exists()
    )
    section = PAGE.split("## From given weights\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    assert len(rows) == 7
    for row in rows:
        parts = re.split(r"[A-Z]{3,}|\d+(?:\.\d+)?|\.\.\.|model\.width=|norm\.bias|patch_embed\S+", row)
        longest = max(parts, key=len).strip(" :,;[]=")
        assert longest in code.replace('"\n', "").replace('" f"', ""), longest


def test_the_two_phases_run(tmp_path: Path) -> None:
    """The commands of the page on made-up volumes: an image of a quarter, then the whole, of other people."""
    first, second = (words_of(line)[1] for line in COMMANDS[-2:])
    coarse = write_dataset(tmp_path / "coarse", {"train": 21, "val": 9}, (6, 10, 12), "coarse")
    fine = write_dataset(tmp_path / "fine", {"train": 33, "val": 9}, (6, 20, 24), "fine")
    tiny = ("run.log_every_steps=1", "run.val_samples=9", "optim.base_lr=1e-3")
    tiny += ("run.compile=false", "run.pictures=0", "model.depth=4")
    tiny += ("objective.masks=[{kind: cubes, cube: [1,1,1], context: 0.4, target: 0.4}]",)
    places = {"runs/": f"{tmp_path}/", "shards_coarse/topcon_triton": coarse, "shards/topcon_triton": fine}
    for words, image, epochs in ((first, "[8,16,16]", 1.0), (second, "[8,32,32]", 0.75)):
        for old, new in places.items():
            words = [word.replace(old, new) for word in words]
        more = [*SETTINGS, *words, *tiny, f"model.image_size={image}", f"run.epochs={epochs}"]
        result = CliRunner().invoke(cli, ["train", "--config", "pretrain_vjepa_single_domain", *more])
        assert result.exit_code == 0, result.output
    lr = [[line["lr"] for line in metrics_log.read(str(tmp_path / name)) if "lr" in line] for name in
          ("phase1", "phase2")]  # fmt: skip
    assert lr[0][-1] == 1e-3
    assert lr[1] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 5.005e-4, 1e-6])  # half a pass up, then down
    payload = checkpoint.load_newest(str(tmp_path / "phase2"))[1]
    assert payload["init_from"]["path"].startswith(f"{tmp_path}/phase1/checkpoints/")
    assert payload["init_from"]["new"] == []
    people = participant_digests.from_payload(payload["participants"])
    assert people is not None
    assert people.members([f"train{i:03d}" for i in range(40)]) == {f"train{i:03d}" for i in range(33)}

"""Other projects' words: each is told, and a whole file is written in ours."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from omegaconf import OmegaConf

from octshard.cli.main import cli
from octshard.config.fields import known_keys
from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.config.translation import ELSEWHERE, NAMES, called_here, foreign, translate, written
from octshard.errors import UsageError

OLD = """
experiment_name: vjepa_single
data: {gcs_root: gs://bucket/oct, manifest_path: manifest.tsv, list_strategy: single_domain, workers: 4}
mask_ratio: 0.5
train:
  global_batch_size: 64
  per_core_batch_size: 4
  grad_accum_steps: 2
  lr: 2.5e-4
  betas: [0.9, 0.95]
  epochs: 3
  precision: bfloat16
ema_base: 0.99
ckpt_dir: runs/old
weather: fine
model: {depth: 6}
"""


def test_a_file_is_written_in_our_words_and_is_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    ran = CliRunner().invoke(cli, ["config", "--translate", str(tmp_path / "old.yaml")])
    assert ran.exit_code == 0, ran.output
    (tmp_path / "new.yaml").write_text(ran.output)
    cfg = load(TrainConfig, [tmp_path / "new.yaml"])
    assert (cfg.run.name, cfg.run.out, cfg.run.epochs, cfg.run.precision) == (
        "vjepa_single", "runs/old", 3, "bf16",
    )  # fmt: skip
    assert (cfg.run.global_batch, cfg.run.per_device_batch, cfg.data.threads) == (64, 4, 4)
    assert (cfg.optim.base_lr, cfg.optim.beta1, cfg.optim.beta2) == (2.5e-4, 0.9, 0.95)
    assert (cfg.objective.ema_start, cfg.model.depth) == (0.99, 6)
    assert [(each.kind, each.ratio) for each in cfg.objective.masks] == [("cubes", 0.5)]
    comments = [line for line in ran.output.splitlines() if line.startswith("#")]
    for key in ("data.gcs_root", "data.manifest_path", "data.list_strategy", "train.grad_accum_steps"):
        assert sum(line.startswith(f"# {key}: ") and "left out" in line for line in comments) == 1, key
    assert "# weather: not known here; left out (fine)" in comments
    assert len(comments) == 16  # every key but ours


def test_a_file_of_another_project_is_told_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    with pytest.raises(UsageError) as error:
        load(TrainConfig, [tmp_path / "old.yaml"])
    text = str(error.value)
    for part in (
        "experiment_name is run.name",
        "data.gcs_root is src of `octshard prep shard`",
        "train.per_core_batch_size is run.per_device_batch",
        "ckpt_dir is run.out",
        f"octshard config --translate {tmp_path / 'old.yaml'} writes it with our keys",
    ):
        assert part in text
    assert "\n" not in text


def test_one_word_is_told_too() -> None:
    with pytest.raises(UsageError, match=r"^config lr=1: lr is optim.base_lr$"):
        load(TrainConfig, [], ["lr=1"])


@pytest.mark.parametrize("name", [*NAMES, "betas", "mask_ratio"])
def test_every_word_leads_to_keys_that_are_there(name: str) -> None:
    values = {"betas": [0.9, 0.99]}.get(name, 1)
    translation = translate(OmegaConf.create({"group": {name: values}}))
    assert set(translation.values) <= set(known_keys(TrainConfig))
    assert translation.values
    assert called_here(name)


def test_words_that_no_setting_holds_have_no_value() -> None:
    translation = translate(OmegaConf.create(dict.fromkeys(ELSEWHERE, 1)))
    assert translation.values == {}
    assert len(translation.lines) == len(ELSEWHERE)


def test_our_own_files_are_not_foreign() -> None:
    assert foreign(OmegaConf.create({"model": {"depth": 3, "mlp_ratio": 4.0}, "optim": {"base_lr": 1}})) == []
    ours = {"run": {"seed": 3}, "optim": {"weight_decay": 0.1}}
    assert yaml.safe_load(written(translate(OmegaConf.create(ours)))) == ours


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "found a ListConfig, want key: value pairs"),
        ("epochs: many\n", "run.epochs is 'many'"),
        ("patch_size: 16\n", "model.patch"),
        ("a: [\n", "not YAML"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "old.yaml").write_text(text)
    ran = CliRunner().invoke(cli, ["config", "--translate", str(tmp_path / "old.yaml")])
    assert isinstance(ran.exception, UsageError)
    assert says in str(ran.exception)


def test_no_such_file(tmp_path: Path) -> None:
    ran = CliRunner().invoke(cli, ["config", "--translate", str(tmp_path / "none.yaml")])
    assert isinstance(ran.exception, UsageError)
    assert "no such file" in str(ran.exception)

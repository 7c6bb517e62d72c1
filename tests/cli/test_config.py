"""`octshard config` lists every setting, and what it lists is what `load` holds values to."""

import itertools
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.config import fields
from octshard.config.eval import ProbeConfig
from octshard.config.kinds import CLASSES
from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.errors import UsageError


@pytest.mark.parametrize("which", CLASSES)
def test_every_key_is_listed_with_its_meaning(which: str) -> None:
    listed = CliRunner().invoke(cli, ["config", which])
    assert listed.exit_code == 0
    for setting in fields.settings(CLASSES[which]):
        assert f"{setting.key} " in listed.output
        assert setting.rule.doc in listed.output
        assert setting.rule.doc, f"{setting.key} has no meaning"


def test_every_kind_of_config_can_be_listed() -> None:
    choices = cli.commands["config"].params[0].type.choices  # type: ignore[attr-defined]
    assert list(choices) == list(CLASSES)


def test_each_setting_of_a_run_says_whether_it_may_change_on_the_way() -> None:
    lines = CliRunner().invoke(cli, ["config", "train"]).output.splitlines()
    marks = {line.split()[0]: below for line, below in itertools.pairwise(lines) if "  = " in line}
    assert marks["run.per_device_batch"].endswith(
        " [on resume: free; with --accept-changes where volumes of a batch are normalised together (byol)]"
    )
    assert marks["optim.base_lr"].endswith(" [on resume: with --accept-changes]")
    assert marks["model.width"].endswith(" [on resume: never: the weights have their shape from it]")
    assert all("[on resume: " in mark for mark in marks.values())
    assert len(marks) == len(list(fields.settings(TrainConfig)))
    assert "on resume" not in CliRunner().invoke(cli, ["config", "prep"]).output


def test_a_prefix_narrows_the_list_and_a_wrong_one_is_an_error() -> None:
    listed = CliRunner().invoke(cli, ["config", "train", "optim."])
    assert "optim.base_lr" in listed.output
    assert "run.seed" not in listed.output
    wrong = CliRunner().invoke(cli, ["config", "train", "optin"])
    assert wrong.exit_code == 2
    assert "no setting of train begins with 'optin'" in wrong.output


@pytest.mark.parametrize(("which", "kind"), CLASSES.items())
def test_defaults_keep_to_their_own_bounds(which: str, kind: Any) -> None:
    fields.check(kind())
    for setting in fields.settings(kind):
        assert setting.rule.problem(setting.default) == "", setting.key


@pytest.mark.parametrize(
    ("kind", "word", "message"),
    [
        (TrainConfig, "views.zoom=0.6", "views.zoom=0.6: want 0 to 0.5"),
        (TrainConfig, "views.gamma=.nan", "views.gamma=nan: want 0 to 10"),
        (TrainConfig, "run.wandb=cloud", "run.wandb=cloud: want off, offline or online"),
        (TrainConfig, "model.patch=[4,16]", r"model.patch=\[4, 16\]: want three numbers, each at least 1"),
        (TrainConfig, "objective.masks=[]", r"objective.masks=\[\]: want at least 1"),
        (
            TrainConfig,
            "objective.masks=[{ratio: 1}]",
            r"masks\[0\].ratio=1.0: want more than 0 and less than 1",
        ),
        (TrainConfig, "run.compile=maybe", "run.compile is 'maybe', want true or false"),
        (TrainConfig, "run.seed=1.5", "run.seed is 1.5, want a whole number"),
        (TrainConfig, "model=3", "model is 3, want a group of settings"),
        (TrainConfig, "data.shards={a: b}", r"data.shards\[0\] is {'a': 'b'}, want text"),
        (TrainConfig, "objective.name=seed", "objective.name=seed is called objective.name=byol now"),
        (TrainConfig, "data.shuffle_window=8", "data.shuffle_window is called data.shuffle_block_size now"),
        (PrepConfig, "fit=stretch", "fit=stretch: want crop_pad or resize"),
        (PrepConfig, "include_geometry=[raster,spiral]", "want raster, radial, .* or unknown"),
        (PrepConfig, "target_spacing=[0,1,1]", "want three numbers, each 1e-09 to 1e"),
        (ProbeConfig, "regularisation=[]", "want at least 1, each more than 0"),
    ],
)
def test_what_is_wrong_is_said_in_our_words(kind: Any, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(kind, [], [word])


def test_one_folder_is_a_list_of_one() -> None:
    assert load(TrainConfig, [], ["data.shards=shards/topcon_triton"]).data.shards == ["shards/topcon_triton"]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("run.out=007", "007"),
        ("run.out=1e3", "1e3"),
        ("run.out= true ", "true"),
        ("run.out='007'", "007"),
        ("run.out=2026-11-26", "2026-11-26"),
        ("run.out=x${run.seed}", "x0"),
        ("run.out={key}.npy", "{key}.npy"),
        ("run.out={key}", "{key}"),
    ],
)
def test_text_stays_as_it_is_written(word: str, text: str) -> None:
    assert load(TrainConfig, [], [word]).run.out == text
    assert load(TrainConfig, [], ["data.shards=012"]).data.shards == ["012"]
    assert load(TrainConfig, [], ["run.seed=012"]).run.seed == 10  # YAML's octal number
    assert load(TrainConfig, [], ["run.wandb=off"]).run.wandb == "off"


def test_half_an_interpolation_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"config run.out=\$\{: not YAML: "):
        load(TrainConfig, [], ["run.out=${"])


def test_shipped_configs_are_loaded_by_name(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(TrainConfig, ["pretrain_vjepa_single_domain"]).run.epochs == 120
    assert load(PrepConfig, ["retina"]) != PrepConfig()
    with pytest.raises(
        UsageError, match=r"config retina: no such file, want a path or one of demo, pretrain"
    ):
        load(TrainConfig, ["retina"])
    (tmp_path / "demo").write_text("run: {seed: 7}")  # a file of that name comes first
    assert load(TrainConfig, ["demo"]).run.seed == 7


def test_a_wrong_type_is_told_before_torch_is_imported() -> None:
    code = (
        "import sys; sys.argv = ['octshard', 'train', '--config', 'smoke_test', 'run.seed=many']\n"
        "from octshard.cli.main import main\n"
        "try: main()\nexcept SystemExit as leaving: code = leaving.code\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 False"
    assert "run.seed is 'many', want a whole number" in done.stderr

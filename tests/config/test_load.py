"""Strict loading, digests, and every shipped config."""

from pathlib import Path

import pytest

from octshard.config import fields
from octshard.config.eval import ProbeConfig, ReportConfig
from octshard.config.head import HEADS
from octshard.config.load import load, save
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.errors import UsageError

CONFIGS = Path(__file__).parents[2] / "configs"


def parse(*words: str) -> TrainConfig:
    return load(TrainConfig, overrides=words)


def test_overrides_win_over_files_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model: {width: 96}\nrun: {seed: 3}\n")
    cfg = load(TrainConfig, [file], ["run.seed=4"])
    assert (cfg.model.width, cfg.run.seed, cfg.model.depth) == (96, 4, TrainConfig().model.depth)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("depht=8", "unknown key depht; did you mean model.depth?"),
        ("model.depht=8", "unknown key model.depht; did you mean model.depth?"),
        ("objective.masks=[{ratoi: 1}]", r"unknown key objective.masks\[0\].ratoi; did you mean ratio?"),
        ("run.seed=many", "run.seed=many: run.seed is 'many', want a whole number"),
        ("run.seed", "want KEY=VALUE"),
        ("model.patch=[1,", "not YAML"),
        ("run.out=${nowhere}", "nowhere"),
        (
            "run.seed=${run.out}",
            r"config: run.seed: .* '\$\{run.out\}': Value 'runs/run' of type 'str' could",
        ),
        ("data=${run}", "config: .*RunConfig is not a subclass of DataConfig$"),
        ("run.out=???", r"run.out is '\?\?\?', want text"),
        ("data.shards=???", r"data.shards is '\?\?\?', want a list of text"),
        ("data.shards=null", "data.shards is nothing, want a list of text"),
        ("objective.masks=null", "objective.masks is nothing, want a list of groups of settings"),
        ("run.seed=1.5", "run.seed is 1.5, want a whole number"),
        ("run.epochs=.inf", "run.epochs=inf: want a finite number, more than 0"),
        ("data.weights=[1, .nan]", r"data.weights=\[1.0, nan\]: want a finite number"),
    ],
)
def test_mistakes_are_one_clear_line(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(word)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(TrainConfig, [tmp_path / "absent.yaml"])
    (tmp_path / "broken.yaml").write_text("model: [1,\n")
    with pytest.raises(UsageError, match="not YAML"):
        load(TrainConfig, [tmp_path / "broken.yaml"])
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="want key: value pairs"):
        load(TrainConfig, [tmp_path / "list.yaml"])


def test_a_folder_is_no_config_and_hides_no_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # as `octshard demo --out demo` makes it before it loads its configs
    assert load(TrainConfig, ["demo"]) == load(TrainConfig, [CONFIGS / "demo.yaml"])
    with pytest.raises(UsageError, match=r"config \.: a folder, want a path or one of demo, "):
        load(TrainConfig, ["."])


def test_a_truth_value_in_a_file_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run: {wandb: off}")
    with pytest.raises(UsageError, match=r"run.wandb is False, want text in quotes, as YAML reads off, no"):
        load(TrainConfig, [file])
    file.write_text("run: {wandb: 'off', out: 7}")
    assert load(TrainConfig, [file]).run.out == "7"


def test_a_probe_has_no_shipped_config() -> None:
    with pytest.raises(UsageError, match=r"config smoke_test: no such file, want a path$"):
        load(ProbeConfig, ["smoke_test"])


def test_a_seed_may_be_any_whole_number() -> None:
    assert parse(f"run.seed={2**53 + 1}").run.seed == 2**53 + 1  # no float64


def test_the_digest_follows_the_result_only() -> None:
    assert fields.digest(parse()) == fields.digest(parse("data.threads=7", "run.out=elsewhere"))
    assert fields.digest(parse()) != fields.digest(parse("model.depth=11"))
    assert fields.digest(parse()) != fields.digest(parse("objective.masks=[{context: 0.1}]"))


def test_bits_of_prep_are_a_word_or_a_number(tmp_path: Path) -> None:
    """And stand in no digest at their default, so that folders of 0.1.0 agree."""
    file = tmp_path / "prep.yaml"
    for text, bits in (("bits: 8", "8"), ("bits: keep", "keep"), ("bits: '8'", "8")):
        file.write_text(text)
        assert load(PrepConfig, [file]).bits == load(PrepConfig, [], [f"bits={bits}"]).bits == bits
    assert "bits" not in fields.result_values(PrepConfig())
    with pytest.raises(UsageError, match="bits=16: want 8 or keep"):
        load(PrepConfig, [], ["bits=16"])


def test_differences_name_the_key() -> None:
    lines = fields.differences(fields.result_values(parse()), fields.result_values(parse("model.depth=11")))
    assert lines == ["model.depth: 12 -> 11"]


def test_saved_text_loads_again(tmp_path: Path) -> None:
    cfg = parse("objective.masks=[{kind: cubes, context: 20, target: 30}]", "run.epochs=2")
    (tmp_path / "c.yaml").write_text(save(cfg))
    assert load(TrainConfig, [tmp_path / "c.yaml"]) == cfg


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_configs_load_and_say_what_they_are(file: Path) -> None:
    cfg = load(TrainConfig, [file])
    assert (cfg.run.epochs is None) != (cfg.run.samples_budget is None)
    assert cfg.run.global_batch % cfg.run.per_device_batch == 0
    head = file.read_text().split("\n\n")[0].lower()
    assert all(word in head for word in ("command:", "cost:", "expect:"))


@pytest.mark.parametrize("file", sorted((CONFIGS / "prep").glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_prep_configs_load(file: Path) -> None:
    load(PrepConfig, [file])


@pytest.mark.parametrize("file", sorted((CONFIGS / "report").glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_report_configs_load(file: Path) -> None:
    cfg = load(ReportConfig, [file.stem])
    assert cfg.heads == list(HEADS)
    assert 1 / (1 + cfg.shuffles) <= 0.05


def test_seed_values_of_the_pretraining_configs() -> None:
    single = load(TrainConfig, [CONFIGS / "pretrain_vjepa_single_domain.yaml"])
    multi = load(TrainConfig, [CONFIGS / "pretrain_vjepa_multi_domain.yaml"])
    for cfg, epochs in ((single, 120), (multi, 150)):
        assert (cfg.model.width, cfg.model.depth, cfg.model.heads) == (768, 12, 12)
        assert (cfg.model.image_size, cfg.model.patch) == ([64, 384, 384], [4, 16, 16])
        assert (cfg.run.global_batch, cfg.run.per_device_batch, cfg.run.epochs) == (128, 2, epochs)
        assert (cfg.optim.weight_decay, cfg.optim.warmup_epochs) == (0.05, 10)
        assert cfg.optim.base_lr == 1.5e-4  # not the 1.5e-3 of the seed, which its file keeps as a comment
        assert (cfg.objective.ema_start, cfg.objective.ema_end) == (0.996, 1.0)
        assert (cfg.run.checkpoint_every_epochs, cfg.run.log_every_steps) == (5, 50)
        assert [m.ratio for m in cfg.objective.masks] == [0.6]


def test_a_whole_number_may_be_written_as_one_of_a_power_of_ten(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "run: {samples_budget: 1e6, global_batch: 128.0}\nmodel: {image_size: [6.4e+1, 384, 384]}\n"
    )
    cfg = load(TrainConfig, [file], ["run.seed=2e3", "run.val_samples='1e2'"])
    values = (
        cfg.run.samples_budget,
        cfg.run.global_batch,
        *cfg.model.image_size,
        cfg.run.seed,
        cfg.run.val_samples,
    )
    assert values == (1_000_000, 128, 64, 384, 384, 2000, 100)
    assert all(type(value) is int for value in values)
    for text in ("1.5", "1e-3", "1.5e0", "2e16"):  # the last one may stand for several whole numbers
        with pytest.raises(UsageError, match="want a whole number"):
            load(TrainConfig, [], [f"run.samples_budget={text}"])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("'saturated' not in flags", "'saturated' not in flags"),
        ("\"saturated\" in flags and eye == 'L'", "\"saturated\" in flags and eye == 'L'"),
        ("device == 'a' and eye == \"L\"", "device == 'a' and eye == \"L\""),
        ("(eye == 'L') or frames > 3", "(eye == 'L') or frames > 3"),
        ("'eye is None'", "eye is None"),
        ('"eye is None"', "eye is None"),
    ],
)
def test_an_expression_is_text_as_it_is_written(word: str, value: str) -> None:
    assert parse(f"data.filter={word}").data.filter == value

"""Resolvers: for places alone, reaching nothing else, and off in what was saved. A secret is never shown."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from octshard.config import fields
from octshard.config.eval import ProbeConfig
from octshard.config.interpolation import escape
from octshard.config.kinds import CLASSES
from octshard.config.load import load, load_saved, save, upgrade
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.errors import UsageError

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PLACE", SECRET)
    monkeypatch.delenv("NOWHERE", raising=False)
    OmegaConf.register_resolver("made_up", lambda: SECRET)
    yield
    OmegaConf.clear_resolver("made_up")


def test_the_short_list() -> None:
    places = {name: [s.key for s in fields.settings(kind) if s.rule.place] for name, kind in CLASSES.items()}
    assert places == {
        "train": ["data.shards", "data.cache_dir", "run.out", "run.probe_participants", "run.init_from"],
        "prep": ["src", "dst", "manifest"],
        "probe": ["checkpoint", "shards", "participants", "labels", "encoder_weights", "out"],
        "report": ["shards", "participants", "labels", "encoder_weights", "checkpoint", "out"],
        "robustness": ["participants", "labels", "features", "out"],
        "compare": ["shards", "participants", "labels", "features", "checkpoint", "out"],
        "segment": ["checkpoint", "shards", "masks.folder", "masks.table", "out"],
        "translate": ["checkpoint", "shards", "targets.folder", "targets.table", "out"],
        "embed": ["checkpoint", "shards", "participants", "out"],
        "finetune": ["checkpoint", "shards", "participants", "labels", "out"],
    }


def test_a_place_may_come_from_the_environment() -> None:
    words = ["run.out=${oc.env:PLACE}/run", "data.cache_dir=${run.out}/cache", "data.shards=${oc.env:PLACE}"]
    cfg = load(TrainConfig, [], words)
    assert (cfg.run.out, cfg.data.cache_dir) == (f"{SECRET}/run", f"{SECRET}/run/cache")
    assert cfg.data.shards == [SECRET]
    assert load(TrainConfig, [], ["data.shards=[a, '${made_up:}']"]).data.shards == ["a", SECRET]
    assert load(TrainConfig, [], ["run.out=${oc.env:NOWHERE,there}"]).run.out == "there"
    assert load(PrepConfig, [], ["src=${oc.env:PLACE}"]).src == SECRET
    assert load(ProbeConfig, [], ["checkpoint=${oc.env:PLACE}/run"]).checkpoint == f"{SECRET}/run"
    assert load(TrainConfig, [], ["model.depth=3", "predictor.depth=${model.depth}"]).predictor.depth == 3


@pytest.mark.parametrize(
    "words",
    [
        ["run.wandb_project=${oc.env:PLACE}"],
        ["run.wandb_project=x${made_up:}"],
        ["run.seed=${oc.env:PLACE}"],
        ["run.seed=${oc.decode:${oc.env:PLACE}}"],
        ["run.device=${oc.env:PLACE}"],
        ["run=${made_up:}"],
        ["model.image_size=[1, 2, '${oc.env:PLACE}']"],
        ["objective.masks=[{kind: '${oc.env:PLACE}'}]"],
        ["run.out=${oc.env:PLACE}", "run.wandb_project=${run.out}"],
        ["run.out=${oc.env:PLACE}", "run.seed=${run.out}"],
        ["run.out=${oc.env:PLACE}", "model.width=${model.${run.out}}"],
        ["data.cache_dir=${oc.env:PLACE}", "run.out=${data.cache_dir}", "run.device=${run.out}"],
        ["data.shards=[a, '${oc.env:PLACE}']", "run.wandb_project=${data.shards[1]}"],
        ["run.out=${oc.env:${oc.env:PLACE}}"],
        ["run.out=${oc.env:NOWHERE}"],
        ["run.out=${nowhere:}"],
        ["data.shards=${oc.decode:'{a: ${oc.env:PLACE}}'}"],
    ],
)
def test_any_other_use_is_one_line_without_the_value(words: list[str]) -> None:
    with pytest.raises(
        UsageError, match=r"^config.*(calls a resolver|what a resolver gives|gives no)"
    ) as error:
        load(TrainConfig, [], words)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None  # nor does a traceback show it


@pytest.mark.parametrize("key", ["run.out", "run.wandb_project", "model.width", "data.shards"])
@pytest.mark.parametrize("text", ["${oc.env:PLACE}", "${made_up:}", "${run.seed}", "a${oc.decode:'1'}"])
def test_nothing_saved_is_resolved(key: str, text: str) -> None:
    group, name = key.split(".")
    for parse in (lambda saved: load_saved(TrainConfig, saved, "a.pt"), lambda saved: upgrade(saved, "a.pt")):
        with pytest.raises(UsageError, match=f"a.pt: {key} is an interpolation") as error:
            parse(f'{group}: {{{name}: "{text}"}}')
        assert SECRET not in str(error.value)


@settings(deadline=None, max_examples=60)
@given(st.text("a\\${}:.\"' \n", max_size=12))
def test_saved_text_is_read_as_it_was(text: str) -> None:
    """A folder may be called `${oc.env:HOME}`: it stays that in config.yaml and in a checkpoint."""
    cfg = TrainConfig()
    cfg.run.out = text
    cfg.data.shards = [text, "b"]
    assert load_saved(TrainConfig, save(cfg), "a.pt") == cfg
    assert OmegaConf.create({"a": escape(text)}).a == text


def test_an_escaped_resolver_is_text_for_good() -> None:
    cfg = load(TrainConfig, [], [r"run.out=\${oc.env:PLACE}"])
    assert cfg.run.out == "${oc.env:PLACE}"
    assert load_saved(TrainConfig, save(cfg), "a.pt").run.out == "${oc.env:PLACE}"


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: ${",
        "[" * 3000,
        "- 1",
        "depth: 1",
        "&a [*a]",
        "a: &a [1, 1]\nb: &b [*a, *a]\n" + "".join(f"c{i}: [*b]\n" for i in range(9)),
        "run: {out: !!python/object/apply:os.system ['true']}",
        "\0",
    ],
)
def test_what_was_not_saved_by_us_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"a\.pt") as error:
        load_saved(TrainConfig, text, "a.pt")
    assert "\n" not in str(error.value)

"""A run goes on with other values only if that is said, and remembers what changed at which step."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from octshard.config import fields, on_resume
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.train import loop, metrics_log, resume
from octshard.train.augment import views
from octshard.train.inputs import TrainInputs
from octshard.train.loop import Outcome
from octshard.train.run_batches import run_batches
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset

LENGTH = ("run.samples_budget=32", "run.log_every_steps=1")  # 8 steps


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 6})


def payload_of(out: Path) -> Mapping[str, Any]:
    latest = checkpoint.latest(str(out))
    assert latest is not None
    return latest.payload


def stopped_at(step: int, cfg: TrainConfig, *, accept_changes: bool = False) -> Outcome:
    def on_progress(done: int, total: int, note: str) -> None:
        if done == step:
            signal.raise_signal(signal.SIGTERM)

    return loop.train(cfg, on_progress, accept_changes=accept_changes)


def test_changes_are_refused_then_accepted_used_and_remembered(shards: str, tmp_path: Path) -> None:
    stopped_at(2, config_for(shards, tmp_path, *LENGTH))
    gentler = config_for(
        shards, tmp_path, *LENGTH, "optim.base_lr=1e-4", "optim.weight_decay=0.2", "optim.beta2=0.9"
    )
    with pytest.raises(UsageError, match=r"optim.base_lr: 0.0015 -> 0.0001; .*or say --accept-changes"):
        loop.train(gentler)
    with log_lines() as lines:
        stopped_at(4, gentler, accept_changes=True)
    assert any("step 2: goes on with other values: optim.base_lr: 0.0015 -> 0.0001" in line for line in lines)
    assert loop.train(gentler).step == 8  # from the checkpoint of step 4 on nothing has changed
    payload = payload_of(tmp_path)
    expected = {
        "optim.base_lr": [0.0015, 1e-4],
        "optim.beta2": [0.999, 0.9],
        "optim.weight_decay": [0.05, 0.2],
    }
    assert payload["changes"] == [{"step": 2, "changes": expected}]
    assert json.loads((tmp_path / "changes.json").read_text()) == payload["changes"]
    group = payload["optimizer"]["param_groups"][0]
    assert (group["weight_decay"], group["betas"]) == (0.2, (0.9, 0.9))
    lr = {line["step"]: line["lr"] for line in metrics_log.read(str(tmp_path)) if "lr" in line}
    assert max(lr[step] for step in range(3, 9)) <= 1e-4 < lr[2]


def test_a_volume_is_dropped_and_never_seen_again(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = list[str]()

    def listen(*args: Any) -> Any:
        for batch in run_batches(*args):
            if isinstance(batch, TrainInputs):
                keys.extend(batch.batch.keys)
            yield batch

    monkeypatch.setattr(loop, "run_batches", listen)
    stopped_at(2, config_for(shards, tmp_path, *LENGTH))
    dropped, keys[:] = keys[:3], []
    fewer = config_for(shards, tmp_path, *LENGTH, f"data.drop={dropped}".replace("'", ""))
    with pytest.raises(UsageError, match=r"data.digest: .*data.drop: \[\] -> .*data.samples: 21 -> 18"):
        loop.train(fewer)
    with log_lines() as lines:
        assert loop.train(fewer, accept_changes=True).step == 8
    assert any(line.startswith("3 volumes of data.drop are not used") for line in lines)
    assert len(set(keys)) > 10
    assert not set(keys) & set(dropped)
    people = participant_digests.from_payload(payload_of(tmp_path)["participants"])
    assert people is not None  # who was trained on before is still among those who were
    everybody = {key.split("-")[0] for key in (*dropped, *keys)}
    assert people.members(sorted(everybody)) == everybody


def test_another_data_filter_is_another_run(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH, "data.filter=key > 'train005'")
    with log_lines() as lines:
        stopped_at(2, cfg)
    identity = json.loads((tmp_path / "run.json").read_text())["config"]
    assert identity["data.filter"] == "key > 'train005'"
    assert identity["data.filter leaves out"] == {"train": 5, "val": 0}
    assert "data.filter leaves out 5 train and 0 val volumes: key > 'train005'" in lines
    for other in ("''", "key > 'train006'"):
        with pytest.raises(
            UsageError, match=r"data.digest: .*data.filter: \"key > 'train005'\" -> .*accept-changes"
        ):
            loop.train(config_for(shards, tmp_path, *LENGTH, f"data.filter={other}"))
    with pytest.raises(UsageError, match=r"data.filter=\"eye == 'X'\": it leaves out 21 train volumes"):
        loop.train(config_for(shards, tmp_path / "none", *LENGTH, "data.filter=eye == 'X'"))


def test_a_key_that_nobody_has_is_a_mistake(shards: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data.drop: train099 is the key of no volume"):
        loop.train(config_for(shards, tmp_path, *LENGTH, "data.drop=[train099]"))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("model.width=48", "the weights have their shape from it"),
        ("model.image_size=[8,32,32]", "another image is a second phase: a new run with run.init_from"),
        ("predictor.depth=2", "the weights have their shape from it"),
        ("objective.name=byol", "another method has other weights"),
        ("run.global_batch=8", "steps are counted in it"),
        ("objective.masks=[{context: 2, target: 2}, {context: 2, target: 2}]", "a weight of its own"),
    ],
)
def test_what_cannot_change_on_the_way_is_refused_whatever_is_said(
    shards: str, tmp_path: Path, word: str, reason: str
) -> None:
    stopped_at(1, config_for(shards, tmp_path, *LENGTH))
    with pytest.raises(UsageError, match=f"cannot change on the way .*{reason}"):
        loop.train(config_for(shards, tmp_path, *LENGTH, word), accept_changes=True)


@pytest.mark.parametrize("setting", list(fields.settings(TrainConfig)), ids=lambda setting: setting.key)
def test_a_run_is_held_to_what_octshard_config_says_of_each_key(
    shards: str, tmp_path: Path, setting: fields.Setting
) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH)
    key, _, element = setting.key.partition("[i].")
    values = fields.result_values(cfg)
    if key not in values:
        assert on_resume.mark(setting).startswith("free")
        return
    old, new = ([{element: 1}], [{element: 2}]) if element else (values[key], "another value")
    said = ""
    try:
        resume.check(cfg, {key: (old, new)}, accept_changes=True)
    except UsageError as error:
        said = str(error)
    mark = on_resume.mark(setting)
    assert mark.startswith("never" if said else "with --accept-changes")
    assert mark.removeprefix("never: ") in said or not said
    with pytest.raises(UsageError):
        resume.check(cfg, {key: (old, new)}, accept_changes=False)


def test_the_advice_after_a_loss_that_is_not_finite_can_be_followed(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One volume of step 5 is nan: it alone is named, and the run goes on without it."""
    stopped_at(2, config_for(shards, tmp_path, *LENGTH))
    apply, calls = views.apply, list[int]()

    def spoil(*args: Any) -> Any:
        context, target = apply(*args)
        calls.append(1)
        if len(calls) == 3:
            context[1] = float("nan")
        return context, target

    with monkeypatch.context() as patch:
        patch.setattr(views, "apply", spoil)
        late = config_for(shards, tmp_path, *LENGTH, "run.log_every_steps=100")
        with pytest.raises(OctshardError, match=r"^step 5: .*the loss is not for \S+ \(all 4") as error:
            loop.train(late)
    report = json.loads((tmp_path / "nonfinite-step-00000005.json").read_text())
    (culprit,) = (volume["key"] for volume in report["volumes"] if volume["loss"] == "nan")
    assert culprit in str(error.value)
    assert payload_of(tmp_path)["step"] == 5  # made, and nothing changed
    assert "--accept-changes" in str(error.value)
    gentle = config_for(shards, tmp_path, *LENGTH, f"data.drop=[{culprit}]", "run.precision=bf16")
    assert loop.train(gentle, accept_changes=True).step == 8


def test_a_setting_that_an_older_checkpoint_does_not_know_was_as_by_default(
    shards: str, tmp_path: Path
) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH)
    stopped_at(2, cfg)
    payload = dict(payload_of(tmp_path))
    payload["result_values"] = {
        key: value for key, value in payload["result_values"].items() if key != "data.drop"
    }
    del payload["changes"], payload["participants"]
    checkpoint.write(str(tmp_path), payload, None, milestone=False)
    assert "data.drop" in fields.result_values(cfg)
    assert loop.train(cfg).step == 8


def test_a_run_whose_encoders_read_padding_goes_on_only_if_that_is_said(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH)
    stopped_at(2, cfg)
    payload = dict(payload_of(tmp_path))
    payload["data"] = {key: value for key, value in payload["data"].items() if key != "padding"}
    checkpoint.write(str(tmp_path), payload, None, milestone=False)
    with pytest.raises(UsageError, match=r"padding: None -> 'not read'; give run.out another folder, or say"):
        loop.train(cfg)
    assert loop.train(cfg, accept_changes=True).step == 8


def test_a_run_that_knows_no_draws_of_mask_sets_goes_on(shards: str, tmp_path: Path) -> None:
    """As octshard 0.1 wrote it: keys that a mask set got later were as by default."""
    cfg = config_for(shards, tmp_path, *LENGTH)
    stopped_at(2, cfg)
    payload = dict(payload_of(tmp_path))
    later = {"draws", "ratio_end"}
    (mask_set,) = payload["result_values"]["objective.masks"]
    assert later < mask_set.keys()
    first = {key: value for key, value in mask_set.items() if key not in later}
    payload["result_values"] = payload["result_values"] | {"objective.masks": [first]}
    checkpoint.write(str(tmp_path), payload, None, milestone=False)
    assert loop.train(cfg).step == 8


SHARES = "objective.masks=[{kind: cubes, cube: [1,1,1], context: 0.35, target: 0.5}]"


def test_a_run_whose_shares_were_of_the_grid_goes_on_only_if_that_is_said(
    shards: str, tmp_path: Path
) -> None:
    """18 of 32 tokens are valid. Counts are what they were: they leave no trace."""
    cfg = config_for(shards, tmp_path, *LENGTH, SHARES)
    stopped_at(2, cfg)
    payload = dict(payload_of(tmp_path))
    assert payload["data"]["mask shares"] == "of the valid tokens"
    payload["data"] = {key: value for key, value in payload["data"].items() if key != "mask shares"}
    checkpoint.write(str(tmp_path), payload, None, milestone=False)
    with pytest.raises(UsageError, match=r"mask shares: None -> 'of the valid tokens'; give run.out another"):
        loop.train(cfg)
    assert loop.train(cfg, accept_changes=True).step == 8
    counts = config_for(shards, tmp_path / "counts", *LENGTH)
    stopped_at(1, counts)
    assert "mask shares" not in payload_of(tmp_path / "counts")["data"]

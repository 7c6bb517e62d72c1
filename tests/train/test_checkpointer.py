"""Checkpoints: whole or not there, checked on load, kept by rule, written in the background."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.models.checkpoint_info import CheckpointInfo, CheckpointScore
from octshard.models.encoder import random_encoder, read_encoder
from octshard.storage import store
from octshard.storage.store import StoreError
from octshard.stream.sampler import StreamPosition
from octshard.train import checkpointer, optim
from octshard.train.checkpointer import TrainState
from octshard.train.objectives.build import build
from tests.support.tiny_run import config_for


def state_of(cfg: TrainConfig, step: int) -> TrainState:
    model = build(cfg)
    optimizer = optim.build(model, cfg.optim)
    torch.manual_seed(step)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for parameter in model.target_encoder.parameters():
            parameter += step
    return TrainState(step, 4 * step, StreamPosition(1, step), model, optimizer)


@pytest.fixture
def cfg(tmp_path: Path) -> TrainConfig:
    return config_for("nowhere", tmp_path / "run", "run.epochs=1")


def put(cfg: TrainConfig, step: int, score: CheckpointScore | None = None) -> CheckpointInfo:
    payload = checkpointer.state_payload(state_of(cfg, step), cfg, {"data.samples": 7})
    return checkpoint.write(cfg.run.out, payload, 1.0, score, milestone=False)


def path_of(cfg: TrainConfig, step: int) -> Path:
    return Path(cfg.run.out) / "checkpoints" / f"step-{step:08d}.pt"


def test_a_state_comes_back_bit_for_bit(cfg: TrainConfig) -> None:
    before = state_of(cfg, 3)
    checkpoint.write(cfg.run.out, checkpointer.state_payload(before, cfg, {}), None, milestone=False)
    latest = checkpoint.latest(cfg.run.out)
    assert latest is not None
    model = build(cfg)
    after = TrainState(0, 0, StreamPosition(0, 0), model, optim.build(model, cfg.optim))
    checkpointer.restore(latest.payload, after)
    assert (after.step, after.samples_seen, after.position) == (3, 12, StreamPosition(1, 3))
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name]), name
    old, new = before.optimizer.state_dict()["state"], after.optimizer.state_dict()["state"]
    assert all(torch.equal(old[i][name], new[i][name]) for i in old for name in old[i])


def test_a_checkpoint_of_another_device_does_not_bring_its_fused_adamw(cfg: TrainConfig) -> None:
    state = state_of(cfg, 1)
    payload = checkpointer.state_payload(state, cfg, {})
    for group in payload["optimizer"]["param_groups"]:
        group["fused"] = True
    checkpointer.restore(payload, state)
    assert [group["fused"] for group in state.optimizer.param_groups] == [False, False]


def test_the_file_loads_with_weights_only(cfg: TrainConfig) -> None:
    put(cfg, 1)
    assert torch.load(path_of(cfg, 1), weights_only=True)["position"] == [1, 1]


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_file_is_never_loaded_and_the_one_before_stands(cfg: TrainConfig, damage: str) -> None:
    put(cfg, 1)
    put(cfg, 2)
    path = path_of(cfg, 2)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    with pytest.raises(
        OctshardError, match=r"step-00000002.*(step-00000001|no finished checkpoint)"
    ) as raised:
        checkpoint.load(str(path))
    assert "\n" not in str(raised.value)
    latest = checkpoint.latest(cfg.run.out)
    assert latest is not None
    assert latest.info.step == 1
    assert len(latest.damaged) == 1


def test_when_all_are_damaged_nothing_starts_afresh(cfg: TrainConfig) -> None:
    put(cfg, 1)
    path_of(cfg, 1).write_bytes(b"")
    with pytest.raises(OctshardError, match="all 1 checkpoints are damaged"):
        checkpoint.latest(cfg.run.out)


def test_a_file_without_its_record_does_not_exist(cfg: TrainConfig) -> None:
    put(cfg, 1)
    put(cfg, 2)
    path_of(cfg, 2).with_suffix(".json").unlink()
    latest = checkpoint.latest(cfg.run.out)
    assert latest is not None
    assert latest.info.step == 1
    assert checkpoint.latest(str(Path(cfg.run.out) / "elsewhere")) is None


def test_an_unreachable_store_is_no_damage(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cfg, 1)
    put(cfg, 2)
    whole = store.read

    def unreachable(url: str) -> bytes:
        if url.endswith("2.pt"):
            raise StoreError(f"{url}: gave up after 6 attempts: 503")
        return whole(url)

    monkeypatch.setattr(store, "read", unreachable)
    with pytest.raises(StoreError, match="gave up"):
        checkpoint.latest(cfg.run.out)


def test_a_checkpoint_that_goes_while_a_run_is_listed_is_passed_over(
    cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cfg, 1)
    put(cfg, 2)
    names = store.list_names
    monkeypatch.setattr(store, "list_names", lambda url: [*names(url), "step-00000000.json"])
    assert [info.step for info in checkpoint.list_checkpoints(cfg.run.out)] == [1, 2]


def test_sweep_removes_what_no_record_names(cfg: TrainConfig) -> None:
    put(cfg, 1)
    put(cfg, 2)
    path_of(cfg, 2).with_suffix(".json").unlink()
    (path_of(cfg, 1).parent / ".step-00000003.pt.12.ab.partial").write_bytes(b"x")
    in_root = Path(cfg.run.out) / ".metrics.jsonl.12.ab.partial"
    in_root.write_bytes(b"x")
    checkpointer.remove_incomplete(cfg.run.out)
    assert sorted(path.name for path in path_of(cfg, 1).parent.iterdir()) == [
        "step-00000001.json", "step-00000001.pt",
    ]  # fmt: skip
    assert not in_root.exists()


def test_last_best_and_milestones_are_kept() -> None:
    losses, skills = [5.0, 1.0, 4.0, None, 3.0, 2.0], [0.1, 0.2, 0.4, None, 0.6, 0.3]
    infos = [
        CheckpointInfo(str(i), i, i, "", 0, loss, i == 2, skill, "skill" if skill else "")
        for i, (loss, skill) in enumerate(zip(losses, skills, strict=True))
    ]
    assert checkpointer.retained(infos, 0) == {"2", "4", "5"}  # not "1", whose loss is the lowest
    assert checkpointer.retained([*infos[:5], infos[3], infos[5]], 1) == {"2", "3", "4", "5"}
    assert checkpointer.retained(infos[:1], 2) == {"0"}


def test_without_a_score_as_octshard_0_1_wrote_it_none_is_the_best() -> None:
    infos = [CheckpointInfo(str(i), i, i, "", 0, loss, False) for i, loss in enumerate((1.0, 5.0, 2.0))]
    assert checkpointer.retained(infos, 0) == {"2"}


def test_the_saver_prunes_and_leaves_the_last(cfg: TrainConfig) -> None:
    with checkpointer.open_checkpointer(cfg.run.out, 0) as saver:
        for step, skill in ((1, 0.1), (2, 0.3), (3, 0.2), (4, 0.25)):
            payload = checkpointer.state_payload(state_of(cfg, step), cfg, {})
            saver.save(payload, 1.0 / step, CheckpointScore("skill", skill), milestone=step == 1)
    assert [record.step for record in checkpoint.list_checkpoints(cfg.run.out)] == [1, 2, 4]
    assert not path_of(cfg, 3).exists()


def test_who_listens_is_told_of_every_checkpoint_while_its_files_are_there(cfg: TrainConfig) -> None:
    """Also of one that the next line of the same thread would prune."""
    told: list[tuple[str, bool]] = []

    def on_written(info: CheckpointInfo) -> None:
        told.append((info.name, path_of(cfg, info.step).exists()))

    with checkpointer.open_checkpointer(cfg.run.out, 0, on_written) as checkpoints:
        for step in (1, 2, 3):
            payload = checkpointer.state_payload(state_of(cfg, step), cfg, {})
            checkpoints.save(payload, None, milestone=False)
    assert told == [("step-00000001", True), ("step-00000002", True), ("step-00000003", True)]


def test_a_score_that_comes_later_says_which_is_the_best(cfg: TrainConfig) -> None:
    with checkpointer.open_checkpointer(cfg.run.out, 0) as saver:
        for step, skill in ((1, 0.1), (2, 0.3), (3, 0.2)):
            payload = checkpointer.state_payload(state_of(cfg, step), cfg, {})
            saver.save(payload, None, CheckpointScore("skill", skill), milestone=step == 1)
        saver.add_score(1, CheckpointScore("probe", 0.5))
        saver.add_score(2, CheckpointScore("probe", 0.4))
        saver.add_score(7, CheckpointScore("probe", 0.9))  # has no checkpoint
        payload = checkpointer.state_payload(state_of(cfg, 4), cfg, {})
        saver.save(payload, None, CheckpointScore("skill", 0.9), milestone=False)
    infos = checkpoint.list_checkpoints(cfg.run.out)
    assert [(info.step, info.score_name, info.score) for info in infos] == [
        (1, "probe", 0.5),
        (4, "skill", 0.9),
    ]
    assert checkpoint.latest(cfg.run.out) is not None


def test_the_most_robust_stays_beside_the_best(cfg: TrainConfig) -> None:
    with checkpointer.open_checkpointer(cfg.run.out, 0) as saver:
        for step, score, index in ((1, 0.1, 0.9), (2, 0.3, 0.2), (3, 0.2, float("nan")), (4, 0.1, 0.5)):
            payload = checkpointer.state_payload(state_of(cfg, step), cfg, {})
            saver.save(payload, None, milestone=False)
            saver.add_score(step, CheckpointScore("probe", score), CheckpointScore("device", index))
        saver.save(checkpointer.state_payload(state_of(cfg, 5), cfg, {}), None, milestone=False)
    infos = checkpoint.list_checkpoints(cfg.run.out)
    assert [(info.step, info.score, info.robustness) for info in infos] == [
        (1, 0.1, 0.9), (2, 0.3, 0.2), (5, None, None),
    ]  # fmt: skip


def test_a_score_that_cannot_be_written_surfaces(cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cfg, 1)

    def full_disk(*_: Any) -> CheckpointInfo:
        raise store.StoreError("the disk is full")

    monkeypatch.setattr(checkpointer, "write_info", full_disk)
    with (
        pytest.raises(OctshardError, match="disk is full"),
        checkpointer.open_checkpointer(cfg.run.out, 1) as saver,
    ):
        saver.add_score(1, CheckpointScore("probe", 0.5))


def test_saving_does_not_stop_the_loop_and_its_error_surfaces(
    cfg: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()

    def full_disk(*_: Any, **__: Any) -> CheckpointInfo:
        may_write.wait(10)
        raise store.StoreError("the disk is full")

    monkeypatch.setattr(checkpointer, "write", full_disk)
    with (  # noqa: PT012
        pytest.raises(OctshardError, match="disk is full"),
        checkpointer.open_checkpointer(cfg.run.out, 1) as saver,
    ):
        saver.save({"step": 1}, None, milestone=False)  # comes back while the write still waits
        may_write.set()
        saver.save({"step": 2}, None, milestone=False)
        pytest.fail("the second save must raise what the first met")


def test_an_encoder_is_loaded_from_a_file_or_a_run(cfg: TrainConfig) -> None:
    record = put(cfg, 2)
    weights = state_of(cfg, 2).model.target_encoder.state_dict()  # type: ignore[union-attr, operator]
    for place in (cfg.run.out, str(path_of(cfg, 2))):
        trained = read_encoder(place)
        assert (trained.config.model, trained.digest, trained.preparations) == (cfg.model, record.sha256, ())
        assert (trained.path, trained.step, trained.samples_seen) == (str(path_of(cfg, 2)), 2, 8)
        assert trained.participants is None
        state = trained.encoder.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in state.items())
        assert not trained.encoder.training
    with pytest.raises(UsageError, match="no checkpoint here"):
        read_encoder(os.path.join(cfg.run.out, "nothing"))


def test_a_random_encoder_follows_from_its_seed_and_leaves_torchs_alone(cfg: TrainConfig) -> None:
    before = torch.random.get_rng_state()
    first, same, other = (random_encoder(cfg, seed).embed.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_checkpoints_live_in_remote_stores_too(cfg: TrainConfig) -> None:
    cfg.run.out = "memory://checkpoints/run"
    record = put(cfg, 1)
    latest = checkpoint.latest(cfg.run.out)
    assert latest is not None
    assert latest.info == record

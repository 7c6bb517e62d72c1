"""The training loop on tiny shards: resume, accumulation, SIGTERM, and one clear line for each failure."""

import os
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.dataset.shard import BadSample
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.storage import lease, lock, store
from octshard.storage.lease import LostLease
from octshard.train import loop, metrics_log, setup, step_stats
from octshard.train.loop import Outcome
from octshard.train.objectives.build import CLASSES, build
from octshard.train.objectives.byol import Byol
from octshard.train.objectives.jepa import Jepa
from tests.support.faulty_store import STALL, FaultyStore
from tests.support.log_lines import log_lines
from tests.support.tiny_run import COARSE_CONTEXT, FORM, config_for, objective_words, odd_wide, write_dataset

LENGTH = ("run.samples_budget=32", "run.checkpoint_every_epochs=1")  # 8 steps, passes of 20 samples


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 9})


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Listener:
    """Collects what a run logs and reports; a signal of `at_step` is sent after its step."""

    def __init__(self, at_step: dict[int, int] | None = None) -> None:
        self.lines: list[str] = []
        self.steps: list[int] = []
        self._signals = at_step or {}

    def on_progress(self, step: int, steps: int, note: str) -> None:
        self.steps.append(step)
        if step in self._signals:
            os.kill(os.getpid(), self._signals[step])


def run(cfg: TrainConfig, listener: Listener | None = None) -> Outcome:
    listener = listener or Listener()
    with log_lines() as listener.lines:
        return loop.train(cfg, listener.on_progress)


def final_of(cfg: TrainConfig) -> Mapping[str, Any]:
    latest = checkpoint.latest(cfg.run.out)
    assert latest is not None
    return latest.payload


def same_state(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Model, optimizer and positions, bit for bit."""
    model = all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
    old, new = a["optimizer"]["state"], b["optimizer"]["state"]
    moments = all(torch.equal(old[i][name], new[i][name]) for i in old for name in old[i])
    return model and moments and all(a[name] == b[name] for name in ("step", "samples_seen", "position"))


def untimed(out: str) -> list[dict[str, Any]]:
    """The metrics lines without what the clock decides."""
    return [{k: v for k, v in line.items() if k not in step_stats.SPEEDS} for line in metrics_log.read(out)]


def test_a_run_logs_validates_saves_and_is_complete(shards: str, tmp_path: Path) -> None:
    cfg, listener = config_for(shards, tmp_path, *LENGTH), Listener()
    outcome = run(cfg, listener)
    assert (outcome.step, outcome.samples_seen, outcome.stopped) == (8, 32, False)
    assert listener.steps == list(range(1, 9))
    assert "32 samples = 1.6 passes over 21 volumes; global batch 4 = 4 x 1 cpu x 1" in listener.lines[0]
    lines = metrics_log.read(str(tmp_path))
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 4, 6, 8]
    assert [line["step"] for line in lines if "val_loss" in line] == [5, 8]
    last = [line for line in lines if "loss" in line][-1]
    assert (last["lr"], last["ema"]) == (pytest.approx(cfg.optim.final_lr), 1.0)
    assert (last["skipped_files"], last["left_out"], last["passes"]) == (1, 0, 1.6)
    for name in ("grad_norm", "feature_std", "pooled_std", "rank", "weight_decay", "data_wait"):
        assert last[name] > 0, name
    assert final_of(cfg)["position"] == [1, 12]
    assert checkpoint.list_checkpoints(str(tmp_path))[-1].val_loss == outcome.val_loss
    again = Listener()
    assert run(cfg, again).step == 8
    assert (again.steps, len(again.lines)) == ([], 1)
    assert "already complete" in again.lines[0]


def test_skill_stands_beside_val_loss_and_says_which_checkpoint_is_the_best(
    shards: str, tmp_path: Path
) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH, "run.val_samples=9")
    notes = []
    loop.train(cfg, lambda step, steps, note: notes.append(note))
    lines = {line["step"]: line for line in metrics_log.read(str(tmp_path)) if "val_loss" in line}
    assert list(lines) == [5, 8]
    for info in checkpoint.list_checkpoints(str(tmp_path)):
        line = lines[info.step]
        assert (info.val_loss, info.score) == (line["val_loss"], line["skill"])
        assert info.score_name.startswith("skill, ")
        assert line["val_loss_other_context"] > 0
        # all positions of the volumes, which are of one size, are judged: the loss is that of validation
        assert line["skill"] == pytest.approx(1 - line["val_loss"] / line["val_loss_position_only"])
    shown = [note.split("skill ")[1].split()[0] for note in notes if "skill" in note]
    assert shown == [f"{lines[step]['skill']:.3g}" for step in (5, 5, 5, 8)]
    assert not any("rank" in note for note in notes)


@pytest.mark.parametrize(("val_samples", "warned"), [(0, False), (4, True), (9, False)])
def test_a_run_without_skill_says_so(shards: str, tmp_path: Path, val_samples: int, warned: bool) -> None:
    listener = Listener()
    run(config_for(shards, tmp_path, *LENGTH, f"run.val_samples={val_samples}"), listener)
    lines = [line for line in listener.lines if "no skill" in line]
    expected = "WARNING validation: 4 volumes of 4 participants, want 4 of each half of the participants"
    assert [line.startswith(expected) for line in lines] == [True] * warned


# with a blank embedding the features of rope are the same everywhere, those of sincos say where a token lies
@pytest.mark.parametrize("per_device_batch", [4, 1])
@pytest.mark.parametrize(
    ("embedding", "position", "warning"),
    [
        (0.0, "rope", "they are the same for all tokens"),
        (0.0, "sincos", "they say only where a token lies"),
        (1.0, "rope", ""),
        (1.0, "sincos", ""),
    ],
)
def test_a_collapse_is_warned_of_whatever_the_batch_and_a_sound_run_is_not(
    shards: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    embedding: float,
    position: str,
    warning: str,
    per_device_batch: int,
) -> None:
    def with_embedding(cfg: TrainConfig) -> Jepa:
        model = build(cfg)
        assert isinstance(model, Jepa)
        with torch.no_grad():
            for encoder in (model.encoder, model.target_encoder):
                encoder.embed.weight *= embedding
        return model

    monkeypatch.setattr(setup, "build", with_embedding)
    more = (f"model.position={position}", f"run.per_device_batch={per_device_batch}", "run.val_samples=9")
    lr = () if embedding else ("optim.base_lr=0", "optim.final_lr=0", "optim.weight_decay=0")
    listener = Listener()
    run(config_for(shards, tmp_path, *LENGTH, *more, *lr), listener)
    warnings = [line for line in listener.lines if "collapsed" in line]
    assert [warning in line for line in warnings] == [True] * (len(warnings) if warning else 0)
    assert bool(warnings) == bool(warning)
    assert [line.split(":")[0] for line in warnings if "validation" in line] == [
        "WARNING step 5",
        "WARNING step 8",
    ] * bool(warning)


@pytest.mark.parametrize(
    ("objective", "context"),
    [
        *((name, ()) for name in CLASSES),
        *((name, FORM) for name in CLASSES),
        ("vjepa2", COARSE_CONTEXT),
        ("vjepa2_1", COARSE_CONTEXT),
        ("vjepa2", (*COARSE_CONTEXT, *FORM)),
    ],
    ids=[*CLASSES, *(f"divided {name}" for name in CLASSES), "coarse", "coarse vjepa2_1", "coarse divided"],
)
def test_sigterm_saves_and_a_restart_is_the_run_that_was_never_stopped(
    shards: str, tmp_path: Path, objective: str, context: tuple[str, ...]
) -> None:
    more = (*LENGTH, *context, *objective_words(objective), "run.log_every_steps=1")
    whole, cut = (config_for(shards, tmp_path / name, *more) for name in ("whole", "cut"))
    run(whole)
    listener = Listener({2: signal.SIGTERM})
    outcome = run(cut, listener)
    assert (outcome.stop_signal, outcome.step) == (signal.SIGTERM, 2)
    assert "stopped by SIGTERM and saved at step 2 of 8" in listener.lines[-1]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = Listener()
    assert run(cut, resumed).stopped is False
    assert resumed.steps == [3, 4, 5, 6, 7, 8]
    assert same_state(final_of(whole), final_of(cut))
    assert untimed(whole.run.out) == untimed(cut.run.out)


def test_volumes_of_both_widths_are_trained_on_as_those_of_eight_bits(shards: str, tmp_path: Path) -> None:
    """The same pictures, half of them in 12 bits, stopped and resumed: the same weights, bit for bit."""
    mixed = write_dataset(tmp_path / "device", {"train": 21, "val": 9}, is_wide=odd_wide)
    eight, cut = (
        config_for(url, tmp_path / name, *LENGTH) for url, name in ((shards, "eight"), (mixed, "mixed"))
    )
    run(eight)
    assert run(cut, Listener({2: signal.SIGTERM})).step == 2
    run(cut)
    assert same_state(final_of(eight), final_of(cut))
    assert untimed(eight.run.out) == untimed(cut.run.out)


def test_a_damaged_checkpoint_is_warned_of_and_made_up_for(shards: str, tmp_path: Path) -> None:
    whole, hurt = (config_for(shards, tmp_path / name, *LENGTH) for name in ("whole", "hurt"))
    run(whole)
    run(hurt)
    (tmp_path / "hurt" / "checkpoints" / "step-00000008.pt").write_bytes(b"half")
    listener = Listener()
    run(hurt, listener)
    assert listener.lines[0].startswith("WARNING")
    assert "going on from step-00000005" in listener.lines[0]
    assert listener.steps == [6, 7, 8]
    assert same_state(final_of(whole), final_of(hurt))


def test_accumulation_gives_the_step_of_the_whole_batch(shards: str, tmp_path: Path) -> None:
    length = ("run.samples_budget=32", "run.global_batch=8", "run.val_samples=0")
    runs = [
        config_for(shards, tmp_path / str(each), *length, f"run.per_device_batch={each}") for each in (8, 2)
    ]
    for cfg in runs:
        run(cfg)
    first, four = (untimed(cfg.run.out) for cfg in runs)
    for a, b in zip(first, four, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    for name, tensor in final_of(runs[0])["model"].items():
        torch.testing.assert_close(tensor, final_of(runs[1])["model"][name], rtol=1e-3, atol=1e-4)


def test_only_keys_of_speed_may_change_on_resume(shards: str, tmp_path: Path) -> None:
    run(config_for(shards, tmp_path, *LENGTH), Listener({2: signal.SIGTERM}))
    with pytest.raises(
        UsageError, match=r"model\.width: 24 -> 48; optim\.base_lr: 0\.0015 -> 0\.1"
    ) as raised:
        run(config_for(shards, tmp_path, *LENGTH, "model.width=48", "optim.base_lr=0.1"))
    assert "\n" not in str(raised.value)
    faster = ("data.threads=3", "run.per_device_batch=2", "run.log_every_steps=3", "data.prefetch_bytes=1")
    assert run(config_for(shards, tmp_path, *LENGTH, *faster)).step == 8


def test_the_batch_of_byols_batchnorm_may_not_change_on_resume(shards: str, tmp_path: Path) -> None:
    """BatchNorm sees a micro-batch, so that with `byol` its size is part of the result."""
    byol = (*LENGTH, "objective.name=byol")
    run(config_for(shards, tmp_path, *byol), Listener({2: signal.SIGTERM}))
    with pytest.raises(UsageError, match=r"micro_batch: 4 -> 2"):
        run(config_for(shards, tmp_path, *byol, "run.per_device_batch=2"))


def test_a_run_of_byol_whose_mlp_had_relu_goes_on_only_if_that_is_accepted(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    byol = (*LENGTH, "objective.name=byol")
    with monkeypatch.context() as patch:
        patch.setattr(Byol, "fingerprint", {})  # as octshard 0.1 wrote it
        run(config_for(shards, tmp_path, *byol), Listener({2: signal.SIGTERM}))
    with pytest.raises(UsageError, match=r"activation: None -> 'gelu'; give run\.out another folder"):
        run(config_for(shards, tmp_path, *byol))


def test_other_data_is_not_resumed_on(shards: str, tmp_path: Path) -> None:
    run(config_for(shards, tmp_path / "run", *LENGTH), Listener({2: signal.SIGTERM}))
    other = write_dataset(tmp_path / "other", {"train": 22})
    with pytest.raises(UsageError, match=r"data\.digest: .*data\.samples: 21 -> 22"):
        run(config_for(other, tmp_path / "run", *LENGTH))


def test_a_bad_sample_stops_the_run_by_name(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "data", {"train": 8})
    path = tmp_path / "data" / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadSample, match=r"train-000001.tar at 0 \(train005"):
        run(config_for(shards, tmp_path / "run", *LENGTH))


def test_a_substitute_is_said_and_counted_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", {"train": 21})
    path = tmp_path / "data" / "train-000002.tar"
    data = bytearray(path.read_bytes())
    data[900] ^= 4  # of its first sample
    path.write_bytes(data)
    cfg = config_for(
        folder, tmp_path / "run", *LENGTH, "data.on_bad_sample=substitute", "run.log_every_steps=1"
    )
    heard = Listener()
    assert run(cfg, heard).step == 8
    warnings = [line for line in heard.lines if "stands in for it" in line]
    assert 1 <= len(warnings) <= 2  # once in each epoch of 20 samples, of which 32 are seen
    assert warnings[0].startswith("WARNING step ")
    assert "train-000002.tar at 0 (train010-" in warnings[0]
    assert [line["substituted"] for line in metrics_log.read(cfg.run.out)][-1] == len(warnings)


def test_a_run_that_diverges_names_its_step_and_saves_only_finite_weights(
    shards: str, tmp_path: Path
) -> None:
    cfg = config_for(shards, tmp_path, *LENGTH, "optim.base_lr=1000", "run.log_every_steps=100")
    with pytest.raises(OctshardError, match=r"step [2-9]: loss or gradient is not finite.*train0\d\d-"):
        run(cfg)
    assert all(torch.isfinite(tensor).all() for tensor in final_of(cfg)["model"].values())


def test_a_second_run_in_the_same_folder_is_refused(shards: str, tmp_path: Path) -> None:
    with (
        lock.one_writer(store.join(str(tmp_path), "lock"), str(tmp_path)),
        pytest.raises(OctshardError, match="one writer per target"),
    ):
        run(config_for(shards, tmp_path, *LENGTH))


def test_a_remote_run_folder_works_alike(shards: str) -> None:
    cfg = config_for(shards, "memory://loop/run", *LENGTH)
    assert run(cfg, Listener({2: signal.SIGTERM})).stopped
    assert run(cfg).step == 8
    assert [line["step"] for line in metrics_log.read(cfg.run.out) if "val_loss" in line] == [5, 8]


def test_sigterm_saves_while_the_store_is_silent(shards: str, tmp_path: Path, faulty: FaultyStore) -> None:
    far = f"gs://faulty/{uuid.uuid4().hex}"
    for name in store.list_names(shards):
        store.copy(store.join(shards, name), store.join(far, name))
    cfg = config_for(
        far, tmp_path, *LENGTH, "data.read_ahead_bytes=1", "data.prefetch_bytes=1", "data.connections=1"
    )
    steps = []

    def fall_silent(step: int, total: int, note: str) -> None:
        steps.append(step)
        if step == 1:
            faulty.fail(*[STALL] * 1000)
            stalled = faulty.stalled
            threading.Thread(target=lambda: stalled.wait(60) and os.kill(os.getpid(), signal.SIGTERM)).start()

    outcome = loop.train(cfg, fall_silent)
    assert outcome.stop_signal == signal.SIGTERM
    assert outcome.step == steps[-1] < 8
    assert faulty.faults  # it was not the store's failing that ended the run
    assert [info.step for info in checkpoint.list_checkpoints(cfg.run.out)] == [outcome.step]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("feed", "stream"))]


def test_a_run_folder_may_lie_in_cloud_storage(shards: str, cloud: str) -> None:
    """It begins with an empty metrics.jsonl, which Cloud Storage may describe without a size."""
    cfg = config_for(shards, cloud, *LENGTH)
    assert run(cfg, Listener({6: signal.SIGTERM})).step == 6
    assert run(cfg).step == 8
    assert [line["step"] for line in metrics_log.read(cfg.run.out) if "val_loss" in line] == [5, 8]
    assert not [name for name in store.list_names(cloud) if name.startswith("lock")]


def test_a_run_that_lost_its_lease_ends_and_saves_nothing(
    shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine was suspended for 125 s after step 2; the next line of the log is the last."""
    cfg = config_for(shards, f"memory://{uuid.uuid4().hex}", *LENGTH)
    now = lease.clock
    steps = []

    def suspend(step: int, total: int, note: str) -> None:
        steps.append(step)
        if step == 2:
            monkeypatch.setattr(lease, "clock", lambda: now() + 125)

    with pytest.raises(LostLease, match="the lock was lost while writing"):
        loop.train(cfg, suspend)
    assert steps == [1, 2, 3]
    assert checkpoint.list_checkpoints(cfg.run.out) == []


def test_validation_sees_neither_flips_nor_noise(shards: str, tmp_path: Path) -> None:
    """Before anything is learned (base_lr 0, target = encoder) only views could make a difference."""
    still = (*LENGTH, "optim.base_lr=0", "optim.final_lr=0")
    losses = [
        run(config_for(shards, tmp_path / str(noise), *still, f"views.noise={noise}", f"views.flip_w={flip}"))
        for noise, flip in ((0.0, 0.0), (0.9, 1.0))
    ]
    assert losses[0].val_loss == losses[1].val_loss


def test_left_out_volumes_are_said_and_listed(shards: str, tmp_path: Path) -> None:
    small = write_dataset(tmp_path / "small", {"train": 2}, (2, 8, 8))
    listener = Listener()
    cfg = config_for(f"{shards},{small}", tmp_path / "run", *LENGTH)
    run(cfg, listener)
    assert any("2 of 23 train volumes" in line and "left-out.txt" in line for line in listener.lines)
    assert len((tmp_path / "run" / "left-out.txt").read_text().splitlines()) == 2


def test_bf16_and_sets_of_masks_run(shards: str, tmp_path: Path) -> None:
    sets = "objective.masks=[{kind: blocks, blocks: 2, scale: 0.2, context: 6, target: 3}, {kind: cubes, context: 4, target: 5}]"  # noqa: E501
    outcome = run(config_for(shards, tmp_path, "run.samples_budget=8", "run.precision=bf16", sets))
    assert outcome.step == 2


def test_the_loss_of_context_tokens_is_logged_by_itself(shards: str, tmp_path: Path) -> None:
    """It is what a weight adds to the loss, whatever the micro-batch; other objectives have none."""
    words = (*objective_words("vjepa2_1"), "run.samples_budget=4", "objective.context_ramp=[0,0]",
             "run.log_every_steps=1", "run.val_samples=0")  # fmt: skip
    lines = []
    for number, more in enumerate(("weight=0", "weight=0.5", "weight=0.5 run.per_device_batch=1")):
        weight, *batch = more.split()
        cfg = config_for(shards, tmp_path / str(number), *words, f"objective.context_{weight}", *batch)
        run(cfg)
        lines.append(metrics_log.read(cfg.run.out)[0])
    none, half, parts = lines
    assert none["context_loss"] == half["context_loss"] == pytest.approx(parts["context_loss"], rel=1e-5)
    assert half["loss"] == pytest.approx(none["loss"] + 0.5 * none["context_loss"], rel=1e-5)
    plain = config_for(shards, tmp_path / "plain", "run.samples_budget=4", "run.log_every_steps=1")
    run(plain)
    assert "context_loss" not in metrics_log.read(plain.run.out)[0]


def test_a_checkpoint_knows_who_was_trained_on(shards: str, tmp_path: Path) -> None:
    cfg = config_for(shards, tmp_path / "run", "run.samples_budget=4")
    run(cfg)
    known = participant_digests.from_payload(final_of(cfg)["participants"])
    assert known is not None
    # write_dataset: the first six letters of a key; "9" has a refused file alone
    assert known.members({"train000", "val000", "9"}) == {"train000"}

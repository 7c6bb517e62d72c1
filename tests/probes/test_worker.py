"""The worker's side of the socket: scores of the encoder it is sent, and what failed in one line."""

import dataclasses
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.imaging.crop import Window
from octshard.models.encoder import random_encoder
from octshard.models.vit import Encoder
from octshard.probes import embedding, task, worker
from octshard.probes.judge import judge
from octshard.probes.protocol import ALIVE, CONTROL, FAILED, SCORES, ProbeJob, receive_weights, send_weights
from octshard.probes.task import ProbeScores, ProbeTask
from octshard.rng import seed_for
from octshard.stream.index import load_index
from tests.support.tiny_run import SHAPE, config_for, voxels_of, write_dataset


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ProbeJob:
    shards = write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 14, "val": 5})
    rows = [row for row in tables.open_dataset(shards).rows if row.status == "ok"]
    people = Path(shards).parent / "participants.tsv"
    lines = [f"{row.participant}\t{'ab'[i % 2]}\n" for i, row in enumerate(rows)]
    people.write_text("person_id\tstudy_group\n" + "".join(lines))
    cfg = config_for(shards, "nowhere", "run.samples_budget=4", f"run.probe_participants={people}")
    indexes = (load_index(cfg, split, 0) for split in ("train", "val"))
    return ProbeJob(cfg, task.make_task(cfg.run, *indexes), None)


@pytest.fixture(scope="module")
def snapshots(job: ProbeJob) -> list[dict[str, torch.Tensor]]:
    """Drawn before there is a worker: as a thread it shares torch's generator, and draws its control."""
    return [random_encoder(job.cfg, seed).state_dict() for seed in (1, 2)]


@pytest.fixture
def pipe(job: ProbeJob, snapshots: list[dict[str, torch.Tensor]]) -> Iterator[Connection]:
    """To a worker in a thread that has its job."""
    yield from serving(job)


def serving(job: ProbeJob) -> Iterator[Connection]:
    ours, theirs = Pipe()

    def serve() -> None:
        with pytest.raises(EOFError):
            worker.serve(theirs)

    thread = threading.Thread(target=serve)
    thread.start()
    ours.send(job)
    yield ours
    ours.close()
    thread.join()


def answers(pipe: Connection) -> list[tuple[str, Any]]:
    """Until the last one of a snapshot."""
    received = []
    while not received or received[-1][0] not in (SCORES, FAILED):
        received.append(pipe.recv())
    return received


def by_hand(cfg: TrainConfig, probe: ProbeTask, weights: dict[str, torch.Tensor]) -> ProbeScores:
    """Volume by volume, without the worker."""
    encoder = random_encoder(cfg, 0)
    encoder.load_state_dict(weights)
    backend = worker.devices.open_backend(worker.probe_config(cfg).run)
    parts = [embedding.embed(encoder, part, cfg, backend, lambda: None) for part in (probe.train, probe.val)]
    return judge(probe, *parts)


def test_a_snapshot_is_scored_beside_the_control_which_is_scored_once(
    job: ProbeJob, pipe: Connection, snapshots: list[dict[str, torch.Tensor]]
) -> None:
    send_weights(pipe, snapshots[0])
    first = answers(pipe)
    assert [kind for kind, _ in first if kind != ALIVE] == [CONTROL, SCORES]
    assert [kind for kind, _ in first].count(ALIVE) == 2 * (4 + 2)  # batches of 4 of 14 and of 5 volumes
    control = random_encoder(job.cfg, seed_for("probe", "random")).state_dict()
    assert dict(first)[CONTROL] == by_hand(job.cfg, job.task, control)
    assert dict(first)[SCORES] == by_hand(job.cfg, job.task, snapshots[0])
    send_weights(pipe, snapshots[1])
    second = answers(pipe)
    assert [kind for kind, _ in second if kind != ALIVE] == [SCORES]
    assert dict(second)[SCORES] == by_hand(job.cfg, job.task, snapshots[1])


def test_what_fails_is_one_line_and_the_next_snapshot_is_scored(
    pipe: Connection, snapshots: list[dict[str, torch.Tensor]]
) -> None:
    weights = snapshots[0]
    send_weights(pipe, {name: torch.full_like(t, float("nan")) for name, t in weights.items()})
    kind, text = answers(pipe)[-1]
    assert kind == FAILED
    assert text.startswith("OctshardError: volume train000-device-proto-l-0000000000 gave nan or inf")
    send_weights(pipe, {"other": torch.zeros(2)})
    kind, text = answers(pipe)[-1]
    assert (kind, "\n" in text, len(text) <= worker.LONGEST_LINE) == (FAILED, False, True)
    send_weights(pipe, weights)
    assert answers(pipe)[-1][0] == SCORES


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_weights_arrive_as_they_are(dtype: torch.dtype) -> None:
    ours, theirs = Pipe()
    sent = {"a": torch.arange(24).reshape(2, 3, 4).to(dtype), "b": torch.tensor(1).to(dtype)}
    sent["c"] = sent["a"].transpose(0, 2)  # not contiguous
    thread = threading.Thread(target=send_weights, args=(ours, sent))
    thread.start()
    received = receive_weights(theirs)
    thread.join()
    assert all(torch.equal(received[name], sent[name]) for name in sent)
    assert [received[name].dtype for name in sent] == [dtype] * 3


def test_the_process_takes_little_and_its_own_device(job: ProbeJob) -> None:
    cfg = worker.probe_config(job.cfg)
    assert (cfg.run.device, cfg.run.precision, cfg.run.cpu_threads, cfg.data.threads) == ("cpu", "fp32", 1, 1)
    assert np.isclose(cfg.data.prefetch_bytes, 0)


def tokens_by_hand(cfg: TrainConfig, encoder: Encoder, key: str, windows: list[Window]) -> np.ndarray:
    """(V, F): those of each window of a volume, by itself."""
    volume, z = voxels_of(key, SHAPE), []
    for window in windows:
        part = (volume[window] - volume.mean()) / volume.std()
        d, h, w = part.shape
        padded = np.zeros([-(-n // p) * p for n, p in zip(part.shape, cfg.model.patch, strict=True)])
        padded[:d, :h, :w] = part
        tokens = encoder.tokens_of(torch.tensor([part.shape]))
        with torch.no_grad():
            x = torch.from_numpy(padded).float()[None, None]
            z.append(encoder.levels(x, tokens, [cfg.model.depth])[0][0].numpy())
    return np.concatenate(z)


@pytest.mark.parametrize("kind", ["centre", "whole"])
def test_features_are_of_what_the_view_has(job: ProbeJob, kind: str) -> None:
    """Volumes are wider than an image: the centre is one crop, the whole two tiles whose tokens all count."""
    cfg = dataclasses.replace(job.cfg, run=dataclasses.replace(job.cfg.run, probe_view=kind))
    encoder, backend = random_encoder(cfg, 3), worker.devices.open_backend(worker.probe_config(cfg).run)
    values_NF = embedding.embed(encoder, job.task.val, cfg, backend, lambda: None)
    windows = embedding.view_of(cfg).windows(SHAPE)
    assert len(windows) == {"centre": 1, "whole": 2}[kind]
    for row_F, sample in zip(values_NF, job.task.val.index.samples, strict=True):
        z_VF = tokens_by_hand(cfg, encoder, sample.row.key, windows)
        expected_F = np.concatenate([z_VF.mean(axis=0), z_VF.std(axis=0)])
        np.testing.assert_allclose(row_F, expected_F, atol=2e-4)


def test_scores_of_another_view_have_another_name(job: ProbeJob) -> None:
    whole = dataclasses.replace(job.task, view="whole")
    assert whole.name != job.task.name
    assert whole.name.split(",")[:2] == job.task.name.split(",")[:2]

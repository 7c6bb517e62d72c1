"""The weights of an encoder: out of a checkpoint, or drawn at random for one that has learned nothing."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from octshard.config.load import load_saved
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.models.checkpoint import TARGET_ENCODER, latest, load, read_info
from octshard.models.vit import Encoder


class TrainedEncoder(NamedTuple):
    """What a checkpoint says of its encoder. digest: sha256 of the file; preparations: the distinct settings
    of prep (`dataset.preparation`) behind the shards of the run, empty where the checkpoint is older.
    """

    encoder: Encoder
    config: TrainConfig
    digest: str
    preparations: tuple[Mapping[str, Any], ...]


def read_encoder(run_or_checkpoint: str) -> TrainedEncoder:
    """The target encoder of a checkpoint file, or of a run folder's newest checkpoint, in eval mode."""
    if run_or_checkpoint.endswith(".pt"):
        payload = load(run_or_checkpoint)
        record = read_info(run_or_checkpoint.removesuffix(".pt") + ".json")
    else:
        checkpoint = latest(run_or_checkpoint)
        if checkpoint is None:
            raise UsageError(
                f"{run_or_checkpoint}: no checkpoint here, want a .pt file or the run.out of a training run"
            )
        payload, record = dict(checkpoint.payload), checkpoint.info
    cfg = load_saved(TrainConfig, payload["config"], run_or_checkpoint)
    encoder = Encoder(cfg.model)
    weights = {
        name.removeprefix(TARGET_ENCODER): tensor
        for name, tensor in payload["model"].items()
        if name.startswith(TARGET_ENCODER)
    }
    encoder.load_state_dict(weights)
    return TrainedEncoder(encoder.eval(), cfg, record.sha256, tuple(payload.get("preparations", ())))


def random_encoder(cfg: TrainConfig, seed: int) -> Encoder:
    """An encoder of the same form that has learned nothing: the control of every probe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(cfg.model).eval()

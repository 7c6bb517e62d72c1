"""The weights of an encoder: out of a checkpoint, or drawn at random for one that has learned nothing."""

import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from octshard.config.load import load_saved
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.models.checkpoint import (
    ENCODER,
    TARGET_ENCODER,
    DamagedCheckpoint,
    load,
    load_newest,
    read_info,
)
from octshard.models.vit import Encoder


class TrainedEncoder(NamedTuple):
    """What a checkpoint says of its encoder. digest: sha256 of the file; preparations: the distinct settings
    of prep (`dataset.preparation`) behind the shards of the run, empty where the checkpoint is older;
    participants: who was trained on, None where the checkpoint does not say.
    """

    encoder: Encoder
    config: TrainConfig
    digest: str
    preparations: tuple[Mapping[str, Any], ...]
    path: str
    step: int
    samples_seen: int
    participants: ParticipantDigests | None


def read_encoder(run_or_checkpoint: str) -> TrainedEncoder:
    """The target encoder of a checkpoint file, or of a run folder's newest checkpoint, in eval mode; the
    encoder where the objective has no target encoder.

    DamagedCheckpoint if that one is not whole: an older one is taken only where its file is named.
    """
    if run_or_checkpoint.endswith(".pt"):
        path, payload = run_or_checkpoint, load(run_or_checkpoint)
    else:
        path, payload = load_newest(run_or_checkpoint)
    cfg = load_saved(TrainConfig, payload["config"], path)
    encoder = Encoder(cfg.model)
    names = payload["model"]
    prefix = TARGET_ENCODER if any(name.startswith(TARGET_ENCODER) for name in names) else ENCODER
    weights = {name.removeprefix(prefix): names[name] for name in names if name.startswith(prefix)}
    try:
        encoder.load_state_dict(weights)
        participants = participant_digests.from_payload(payload.get("participants"))
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        problem = textwrap.shorten(str(error), 200)
        raise DamagedCheckpoint(f"{path}: its weights or participants do not fit it: {problem}") from error
    digest = read_info(path.removesuffix(".pt") + ".json").sha256
    preparations = tuple(payload.get("preparations", ()))
    step, samples_seen = payload["step"], payload["samples_seen"]
    return TrainedEncoder(encoder.eval(), cfg, digest, preparations, path, step, samples_seen, participants)


def random_encoder(cfg: TrainConfig, seed: int) -> Encoder:
    """An encoder of the same form that has learned nothing: the control of every probe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(cfg.model).eval()

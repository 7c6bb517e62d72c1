"""The weights of an encoder: out of a checkpoint, or drawn at random for one that has learned nothing."""

import textwrap

import torch

from octshard.config.load import load_saved
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.models import exported_encoder, run_checkpoint
from octshard.models.checkpoint import (
    ENCODER,
    TARGET_ENCODER,
    DamagedCheckpoint,
    load,
    read_info,
)
from octshard.models.trained_encoder import Origin
from octshard.models.trained_encoder import TrainedEncoder as TrainedEncoder
from octshard.models.vit import Encoder


def read_encoder(run_or_checkpoint: str) -> TrainedEncoder:
    """The target encoder of a checkpoint file, or of a run's newest checkpoint (RUN), its best (RUN/best) or
    its most robust (RUN/best-robustness), in eval mode; the encoder where the objective has no target
    encoder. Or that of a folder of `octshard export`.

    DamagedCheckpoint if that one is not whole: an older one is taken only where its file is named.
    """
    if exported_encoder.is_one(run_or_checkpoint):
        return exported_encoder.read(run_or_checkpoint)
    if run_or_checkpoint.endswith(".pt"):
        path, payload = run_or_checkpoint, load(run_or_checkpoint)
    else:
        path, payload = run_checkpoint.load(run_or_checkpoint)
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
    people = len(participants.values_P) if participants else None
    origin = Origin(digest, people, dict(payload.get("devices") or {}), dict(payload.get("data") or {}))
    return TrainedEncoder(
        encoder.eval(), cfg, digest, preparations, path, step, samples_seen, participants, origin
    )


def random_encoder(cfg: TrainConfig, seed: int) -> Encoder:
    """An encoder of the same form that has learned nothing: the control of every probe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(cfg.model).eval()

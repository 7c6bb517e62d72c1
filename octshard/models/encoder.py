"""An encoder out of a checkpoint, and one that has learned nothing."""

from io import StringIO

import torch

from octshard.config.load import load as load_config
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.models.checkpoint import TARGET_ENCODER, latest, load, read_info
from octshard.models.vit import Encoder


def load_encoder(path_or_run: str) -> tuple[Encoder, TrainConfig, str]:
    """The target encoder of a checkpoint file, or of a run folder's newest: (encoder, config, sha256 of the
    file).
    """
    if path_or_run.endswith(".pt"):
        payload, record = load(path_or_run), read_info(path_or_run.removesuffix(".pt") + ".json")
    else:
        found = latest(path_or_run)
        if found is None:
            raise UsageError(
                f"{path_or_run}: no checkpoint here, want a .pt file or the run.out of a training run"
            )
        payload, record = dict(found.payload), found.record
    cfg = load_config(TrainConfig, [StringIO(payload["config"])])  # type: ignore[list-item]  # OmegaConf reads both
    encoder = Encoder(cfg.model)
    weights = {
        name.removeprefix(TARGET_ENCODER): tensor
        for name, tensor in payload["model"].items()
        if name.startswith(TARGET_ENCODER)
    }
    encoder.load_state_dict(weights)
    return encoder.eval(), cfg, record.sha256


def random_encoder(cfg: TrainConfig, seed: int) -> Encoder:
    """An encoder of the same form that has learned nothing: the control of every probe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(cfg.model).eval()

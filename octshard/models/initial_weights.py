"""Weights that a new run may begin with: of a run, of one of its checkpoints, or of a V-JEPA 2 file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from octshard.config.load import load_saved
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.errors import UsageError
from octshard.imaging.volume import triple
from octshard.models import checkpoint, exported_encoder, run_checkpoint, weights_file
from octshard.models.checkpoint import ENCODER, TARGET_ENCODER, DamagedCheckpoint
from octshard.models.vjepa2_layout import read_layout
from octshard.storage import store

FILES = (".pt", ".pth", ".tar")  # ends of names: another path is a run's folder
PREDICTOR = "predictor."
OURS = {"format", "config", "step"}  # keys that a checkpoint of octshard has


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """encoder: by the names of `Encoder`, but embed.weight with its axes (features, channels, D, H, W);
    predictor: by those of the objective's. config, step, samples_seen, participants, init_from: of the run
    they are from, None where the file does not say.
    """

    path: str
    sha256: str
    source: str  # target_encoder, encoder, or as the file calls it
    objective: str  # that the predictor is of
    encoder: Mapping[str, Tensor]
    predictor: Mapping[str, Tensor]
    left_out: tuple[str, ...] = ()  # names that have no counterpart here
    config: TrainConfig | None = None
    step: int | None = None
    samples_seen: int | None = None
    participants: ParticipantDigests | None = None
    init_from: Mapping[str, Any] | None = None

    def origin(self) -> dict[str, Any]:
        """As a checkpoint and run.json keep it."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "layout": "octshard" if self.config else "V-JEPA 2",
            "encoder": self.source,
            "step": self.step,
            "samples_seen": self.samples_seen,
            "participants": "known" if self.participants else "unknown",
            "init_from": dict(self.init_from) if self.init_from else None,
        }


def read_weights(path: str) -> InitialWeights:
    """Of a run's newest checkpoint (RUN/best: its best), a checkpoint file, an export, or a file in V-JEPA
    2's layout, by its name and content; UsageError for what is none of them.
    """
    if exported_encoder.is_one(path):
        return _of_export(path)
    if not path.endswith(FILES):
        return _of_checkpoint(*run_checkpoint.load(path))
    if store.exists(_record(path)):
        return _of_checkpoint(path, checkpoint.load(path))
    values, sha256 = weights_file.read(path, "a file of weights, or a run's folder of another name")
    if not isinstance(values, Mapping):
        raise UsageError(f"{path}: holds a {type(values).__name__}, want weights by name")
    if values.keys() >= OURS:
        checkpoint.load(path)  # says that its .json is missing
    weights = read_layout(values, path)
    _check_finite(path, weights.encoder, weights.predictor)
    return InitialWeights(path, sha256, weights.source, "vjepa2", *weights[:2], weights.left_out)


def _record(path: str) -> str:
    return path.rsplit(".", 1)[0] + ".json"


def _of_checkpoint(path: str, payload: Mapping[str, Any]) -> InitialWeights:
    """Of what octshard wrote: the target encoder where there is one."""
    cfg, names = load_saved(TrainConfig, payload["config"], path), payload["model"]
    prefix = TARGET_ENCODER if any(name.startswith(TARGET_ENCODER) for name in names) else ENCODER
    encoder, predictor = (
        {name.removeprefix(start): names[name] for name in names if name.startswith(start)}
        for start in (prefix, PREDICTOR)
    )
    try:
        encoder["embed.weight"] = encoder["embed.weight"].unflatten(1, (1, *triple(cfg.model.patch)))
        participants = participant_digests.from_payload(payload.get("participants"))
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(
            f"{path}: its weights or participants are not as a run writes them"
        ) from error
    _check_finite(path, encoder, predictor)
    return InitialWeights(
        path,
        checkpoint.read_info(_record(path)).sha256,
        prefix.removesuffix("."),
        cfg.objective.name,
        encoder,
        predictor,
        (),
        cfg,
        payload["step"],
        payload["samples_seen"],
        participants,
        payload.get("init_from"),
    )


def _of_export(path: str) -> InitialWeights:
    """An encoder alone, with who was trained on where the export says it."""
    trained = exported_encoder.read(path)
    encoder = dict(trained.encoder.state_dict())
    encoder["embed.weight"] = encoder["embed.weight"].unflatten(1, (1, *triple(trained.config.model.patch)))
    _check_finite(path, encoder)
    return InitialWeights(
        path,
        trained.digest,
        "encoder",
        trained.config.objective.name,
        encoder,
        {},
        config=trained.config,
        step=trained.step,
        samples_seen=trained.samples_seen,
        participants=trained.participants,
    )


def _check_finite(path: str, *parts: Mapping[str, Tensor]) -> None:
    for part in parts:
        for name, tensor in part.items():
            if not torch.isfinite(tensor).all():
                raise UsageError(
                    f"{path}: {name} holds numbers that are not finite, want weights to begin with"
                )

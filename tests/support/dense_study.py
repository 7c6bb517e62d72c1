"""A tiny dataset (8 and 12 bits), a map of each scan and an untrained encoder, for tests of dense heads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.models import checkpoint
from octshard.models.vit import Encoder
from tests.support.tiny_run import SHAPE, config_for, odd_wide, voxels_of, write_dataset

COUNTS = {"train": 6, "val": 2, "test": 12}
BRIGHT = 75  # grey levels: a label of such voxels can be read from them alone


@dataclass(frozen=True)
class StudyFiles:
    """Where they are. labels: 1 where a voxel is bright, else 0; flow: the mean over depth, 0 to 1."""

    shards: str
    run: str
    labels: str
    flow: str


def write_study(root: Path) -> StudyFiles:
    """All of it below `root`."""
    shards = write_dataset(root / "shards" / "device", COUNTS, is_wide=odd_wide)
    for folder in ("labels", "flow"):
        (root / folder).mkdir()
    for row in tables.read_rows(f"{shards}/{tables.SAMPLES}"):
        if row.status == "ok":
            voxels_DHW = voxels_of(row.key, SHAPE)
            np.save(root / "labels" / f"{row.key}.npy", (voxels_DHW > BRIGHT).astype(np.uint8))
            np.save(root / "flow" / f"{row.key}.npy", (voxels_DHW / 255).mean(axis=1))
    write_checkpoint(str(root / "run"), config_for(shards, root / "run", "run.samples_budget=8"))
    return StudyFiles(shards, str(root / "run"), str(root / "labels"), str(root / "flow"))


def write_checkpoint(out: str, cfg: TrainConfig, **more: Any) -> None:
    """A run folder with one checkpoint; more: of its payload."""
    torch.manual_seed(0)
    weights = {checkpoint.TARGET_ENCODER + n: t for n, t in Encoder(cfg.model).state_dict().items()}
    known = {"format": checkpoint.FORMAT, "step": 1, "samples_seen": 8}
    payload = {**known, "config": save(cfg), "model": weights, **more}
    checkpoint.write(out, payload, None, milestone=False)

"""A tiny dataset and a tiny run, shared by the tests of octshard.train: made-up voxels, real shards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from octshard.config.load import load, save
from octshard.config.train import TrainConfig
from octshard.dataset import shard, stored_band, stored_scale, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.imaging.intensity import histogram, moments
from octshard.imaging.retina_band import RetinaBand
from octshard.models import checkpoint
from octshard.models.encoder import random_encoder
from octshard.storage import store

SHAPE = (6, 20, 24)  # voxels (D, H, W): smaller than image_size along H, larger along W

SETTINGS = (
    "model.image_size=[8,32,16]",
    "model.patch=[2,8,8]",
    "model.width=24",
    "model.depth=2",
    "model.heads=2",
    "predictor.width=24",
    "predictor.depth=1",
    "predictor.heads=2",
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 6, target: 5}]",
    "data.lanes=4",
    "data.shuffle_block_size=3",
    "optim.warmup_epochs=0.25",
    "run.global_batch=4",
    "run.per_device_batch=4",
    "run.precision=fp32",
    "run.device=cpu",
    "run.cpu_threads=1",
    "run.log_every_steps=2",
    "run.val_samples=4",
)

# heads of 24 features, as volumes that are packed and compiled need at least 16
WIDE_HEADS = ("model.heads=1", "predictor.heads=1")

# Cells of 2 x 2 x 1 tokens: 8 in a volume of 3 x 3 x 2, those at the high end of D and H are cut.
COARSE_CONTEXT = (
    "objective.context_scale=[2,2,1]",
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 2, target: 5}]",
)


def objective_words(name: str) -> tuple[str, ...]:
    """The objective, and what else it needs in a tiny run."""
    return (f"objective.name={name}", *(("model.depth=4",) if name == "vjepa2_1" else ()))


BLACK, STEP = 60, 16  # of volumes of 12 bits: the level of grey 0, and levels in one grey


def none_wide(key: str) -> bool:
    """All volumes have 8 bits."""
    return False


def odd_wide(key: str) -> bool:
    """Every other volume has 12 bits."""
    return int(key[-10:], 16) % 2 == 1


def no_band(key: str) -> RetinaBand | None:
    """As in shards of octshard 0.1."""


# an encoder of other form: each changes what a step computes, or keeps
FORM = ("model.attention=divided", "model.drop_path=0.4", "model.checkpointing=true")


def write_dataset(
    folder: Path,
    counts: dict[str, int],
    shape: tuple[int, int, int] = SHAPE,
    device: str = "device",
    band_of: Callable[[str], RetinaBand | None] = no_band,
    is_wide: Callable[[str], bool] = none_wide,
) -> str:
    """A dataset folder: `counts[split]` samples per split, at most five to a shard, and one refused row.

    is_wide: which are stored in 12 bits; their grey is that of the same volume in 8, exactly.
    """
    url, rows, infos = str(folder), [], []
    for split, count in counts.items():
        for number, first in enumerate(range(0, count, 5)):
            name = f"{split}-{number:06d}.tar"
            keys = [f"{split}{i:03d}-{device}-proto-l-{i:010x}" for i in range(first, min(count, first + 5))]
            packed = [_pack(key, shape, band_of(key), wide=is_wide(key)) for key in keys]
            with store.open_write(store.join(url, name)) as file:
                sums = shard.write(file, [data for data, _ in packed])
            for key, offset, (data, meta) in zip(keys, sums.offsets, packed, strict=True):
                row = _row(key, split, name, offset, data, meta, shape)
                band = band_of(key)
                dtype = "uint16" if is_wide(key) else "uint8"
                rows.append(replace(row, retina_found=band.share if band else None, dtype=dtype))
            infos.append(ShardInfo(name, "device", split, len(keys), sums.bytes, sums.sha256))
    refused = SampleRow("bad", "9", "device", "m", "m", "p", "Macula", "l", "train", "bad.dcm",
                        status="refused", reason="truncated")  # fmt: skip
    tables.write_rows(store.join(url, tables.SAMPLES), [*rows, refused])
    tables.write_shards(store.join(url, tables.SHARDS), infos)
    tables.write_info(store.join(url, tables.INFO), {"counts": counts})
    return url


def config_for(shards: str, out: Path | str, *more: str) -> TrainConfig:
    """The tiny run over `shards`, written to `out`."""
    return load(TrainConfig, [], [*SETTINGS, f"data.shards=[{shards}]", f"run.out={out}", *more])


def write_checkpoint(out: Path, cfg: TrainConfig, *preparations: dict[str, Any], **more: Any) -> str:
    """A run folder with one checkpoint of random weights. more: what else it says."""
    weights = random_encoder(cfg, 5).state_dict()
    model = {checkpoint.TARGET_ENCODER + name: tensor for name, tensor in weights.items()}
    payload = {
        "format": checkpoint.FORMAT,
        "config": save(cfg),
        "step": 1,
        "samples_seen": 4,
        "model": model,
        "preparations": list(preparations),
        **more,
    }
    checkpoint.write(str(out), payload, None, milestone=False)
    return str(out)


def voxels_of(key: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Layers at a depth that depends on the key, with a little speckle."""
    rng = np.random.default_rng(abs(int(key[-10:], 16)) + 1)
    depth = np.arange(shape[1])[None, :, None] - rng.uniform(2, shape[1] - 2)
    bright = 150 * np.exp(-(depth**2) / 8) + rng.gamma(2.0, 12.0, shape)
    return np.clip(bright, 0, 255).astype(np.uint8)


def _pack(
    key: str, shape: tuple[int, int, int], band: RetinaBand | None, *, wide: bool
) -> tuple[bytes, dict[str, float]]:
    voxels = voxels_of(key, shape)
    found = moments(histogram(voxels))
    meta = {"mean": found.mean, "std": found.std}
    if wide:
        voxels = voxels.astype(np.uint16) * STEP + BLACK
        scale = {stored_scale.NAME: [BLACK, BLACK + 255 * STEP]}
        return shard.pack(key, {"format": 1, **meta, **scale, **_band_json(band)}, voxels, 3), meta
    return shard.pack(key, {"format": 1, **meta, **_band_json(band)}, voxels, 3), meta


def _band_json(band: RetinaBand | None) -> dict[str, Any]:
    return {stored_band.NAME: stored_band.to_json(band)} if band else {}


def _row(
    key: str,
    split: str,
    name: str,
    offset: int,
    data: bytes,
    meta: dict[str, float],
    shape: tuple[int, int, int],
) -> SampleRow:
    return SampleRow(
        key, key.split("-")[0], key.split("-")[1], "m", "m", "proto", "Macula", "l", split, f"{key}.dcm",
        shape_out=shape, spacing_out=(0.05, 0.02, 0.02), dtype="uint8", mean=meta["mean"], std=meta["std"],
        shard=name, offset=offset, nbytes=len(data), sha256=key, xxh3=shard.slice_digest(data),
    )  # fmt: skip

"""What a probe checks before anything is encoded: settings, people, memory, and its folder."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from octshard.config import fields
from octshard.config.eval import IntervalConfig
from octshard.devices import host_memory
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.eval.controls import slice_encoder
from octshard.eval.probe_result import ScoredCheckpoint
from octshard.models.encoder import TrainedEncoder
from octshard.probes.labels import LabelledScans
from octshard.storage import store

FLOAT, FP16 = 4, 2  # bytes
RESAMPLE_BYTES = 4  # of a participant in a resample: its weight


class Places(Protocol):
    """The places that commands over shards have alike."""

    checkpoint: Any  # one, or a list of them
    shards: list[str]
    out: str


class Study(Places, Protocol):
    """And the settings of a 2-D encoder as a control."""

    encoder: str
    encoder_weights: str


def check(cfg: Study, results: str) -> None:
    """UsageError for settings that cannot be. results: what goes to cfg.out."""
    check_places(cfg, results)
    if cfg.encoder:
        slice_encoder.check_name(cfg.encoder)
    elif cfg.encoder_weights:
        raise UsageError(f"encoder_weights={cfg.encoder_weights}: no encoder, want encoder=timm:NAME too")


def check_places(cfg: Places, results: str) -> None:
    """UsageError for a place that is not set, or for another setting that cannot be. results: what goes to
    cfg.out.
    """
    if not cfg.checkpoint or not all(cfg.checkpoint):
        raise UsageError(
            "checkpoint: not set, want checkpoint=RUN, a training run's folder or one of its .pt"
        )
    if not cfg.shards:
        raise UsageError("shards: not set, want at least one dataset folder: shards=[SHARDS/DEVICE]")
    if not cfg.out:
        raise UsageError(f"out: not set, want out=FOLDER, where {results}")
    fields.check(cfg)


def scored_checkpoint(
    checkpoint: TrainedEncoder, people: Collection[str], *, allow_seen_people: bool
) -> ScoredCheckpoint:
    """UsageError if the encoder was pretrained on test participants (people), unless that is allowed."""
    known = checkpoint.participants
    seen = sorted(known.members(people)) if known else []
    if seen and not allow_seen_people:
        raise UsageError(
            f"{checkpoint.path}: the encoder was pretrained on {len(seen)} of the {len(people)} test "
            f"participants, the first is {seen[0]}; want people that it has not seen, or "
            "allow_seen_people=true, which the page then says"
        )
    return ScoredCheckpoint(
        checkpoint.path, checkpoint.step, checkpoint.samples_seen, len(seen) if known else None
    )


def batch_size(batch: int, voxels: int, tiles: int, backend: Backend) -> int:
    """`batch`, or what all tiles need if that is less; UsageError if it cannot be. voxels: of a tile in it.

    Of memory the least that is certain is asked for, so that nothing is refused that fits.
    """
    devices = backend.device_count
    if batch % devices:
        raise UsageError(f"batch {batch}: want a multiple of the {devices} devices")
    used = min(batch, -(-tiles // devices) * devices)
    _check_memory(f"batch={batch}", used * voxels * (1 + FLOAT))
    return used


def check_resamples(cfg: IntervalConfig, scans: LabelledScans) -> None:
    """UsageError if the bootstrap of the test participants cannot fit into memory."""
    people = len(set(scans.subsets["test"].participants))
    _check_memory(f"bootstrap={cfg.bootstrap}", cfg.bootstrap * people * RESAMPLE_BYTES)


def check_tokens(scans: int, numbers: int) -> None:
    """UsageError if the tokens of an encoder cannot fit into memory. numbers: of the largest scan."""
    _check_memory("head attentive", scans * numbers * FP16)


def check_out(out: str, files: Sequence[str]) -> None:
    """StoreError if nothing can be written there, before hours are spent; what killed runs left goes."""
    store.remove_partials(out)
    check_folder(store.join(out, "features"))
    for name in files:
        store.check_writable(store.join(out, name))


def check_folder(folder: str) -> None:
    """As `check_out`, for a folder of features."""
    store.remove_partials(folder)
    url = store.join(folder, "empty")
    store.write(url, b"")
    store.remove(url)


def _check_memory(setting: str, least: int) -> None:
    free = host_memory.free_memory()
    if free is not None and least > free:
        raise UsageError(
            f"{setting}: takes at least {least / 1e9:.1f} GB, and this machine has {free / 1e9:.1f} GB of "
            "memory; want a smaller one"
        )

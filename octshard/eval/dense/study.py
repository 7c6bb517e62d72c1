"""What `segment` and `translate` begin with: checkpoint, shards and maps, checked before a fit."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.dense import MapConfig, SegmentConfig, TranslateConfig
from octshard.config.train import TrainConfig
from octshard.dataset import sample
from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS, check_disjoint
from octshard.dataset.tables import Dataset, SampleRow
from octshard.devices import select
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.eval import setup
from octshard.eval.dense import heads as dense_heads
from octshard.eval.dense import map_names, monai_parts, token_source, whole_volume
from octshard.eval.dense.dense_batches import DenseStream
from octshard.eval.dense.fit import Arm, Fit, TokenReader, best_arms, build_arms
from octshard.eval.dense.losses import Loss
from octshard.eval.dense.target_store import TargetStore, pack
from octshard.eval.probe_result import ScoredCheckpoint
from octshard.eval.scan_filter import LeftOut
from octshard.eval.scans import read_indexes
from octshard.models.encoder import TrainedEncoder, random_encoder, read_encoder
from octshard.progress import OnProgress
from octshard.rng import seed_for
from octshard.storage import store
from octshard.stream.index import SampleIndex, SampleRef

PRETRAINED, RANDOM, INTENSITY = "pretrained", "random-init", "raw-intensity"
Config = SegmentConfig | TranslateConfig


@dataclass(frozen=True, eq=False)
class Study:
    """indexes: of each split, the scans that have a map; without: how many of it have none."""

    checkpoint: TrainedEncoder
    trained: TrainConfig
    datasets: tuple[Dataset, ...]
    indexes: Mapping[str, SampleIndex]
    urls: Mapping[str, str]
    without: Mapping[str, int]
    scored: ScoredCheckpoint
    left_out: LeftOut

    @property
    def test_people(self) -> tuple[str, ...]:
        """Of each test scan, in the order of the index."""
        return tuple(canonical(ref.row.participant) for ref in self.indexes["test"].samples)


def open_study(cfg: Config, maps: MapConfig, page: str) -> Study:
    """UsageError or OctshardError for what cannot be: settings, shards, maps, people; and without MONAI.

    page: begins the names of the files that are written below cfg.out.
    """
    setup.check_places(cfg, "the results go")
    monai_parts.check()
    checkpoint = read_encoder(cfg.checkpoint)
    # of the run's settings no place is used: they may be somebody else's
    data = dataclasses.replace(
        checkpoint.config.data, shards=list(cfg.shards), cache_dir="", on_bad_sample="raise"
    )
    run = dataclasses.replace(
        checkpoint.config.run, device=cfg.device, compile=False, cpu_threads=0, seed=cfg.seed
    )
    trained = dataclasses.replace(checkpoint.config, data=data, run=run)
    datasets, indexes, left_out = read_indexes(trained, cfg.filter)
    rows = [ref.row for index in indexes.values() for ref in index.samples]
    check_disjoint(rows, "shards")
    urls = map_names.names_of(rows, maps)
    with_map = {split: _with_map(index, urls) for split, index in indexes.items()}
    with left_out.named():
        _check_maps(with_map, maps)
    without = {split: len(indexes[split].samples) - len(with_map[split].samples) for split in SPLITS}
    people = {canonical(ref.row.participant) for ref in with_map["test"].samples}
    scored = setup.scored_checkpoint(checkpoint, people, allow_seen_people=cfg.allow_seen_people)
    for name in (f"{page}.json", f"{page}.html"):
        store.check_writable(store.join(cfg.out, name))
    return Study(checkpoint, trained, tuple(datasets), with_map, urls, without, scored, left_out)


def _check_maps(with_map: Mapping[str, SampleIndex], maps: MapConfig) -> None:
    for split, index in with_map.items():
        if not index.samples:
            raise UsageError(
                f"maps {maps.folder}: no scan of {split} has one, want some in train, val and test"
            )


def read_targets(
    study: Study, read: Callable[[str, SampleRow], np.ndarray], dtype: str, on_progress: OnProgress
) -> TargetStore:
    """The map of every scan, by `read` of its URL and row."""
    refs = [ref for index in study.indexes.values() for ref in index.samples]
    packed, shapes = {}, {}
    for done, ref in enumerate(refs):
        on_progress(done, len(refs), "maps")
        target = read(study.urls[ref.row.key], ref.row)
        packed[ref.row.key], shapes[ref.row.key] = pack(target.astype(dtype)), target.shape
    on_progress(len(refs), len(refs), "maps")
    return TargetStore(packed, shapes, dtype)


@dataclass(frozen=True, eq=False)
class FittedArms:
    """Arms with the weights of their best epochs, and what they need to read a volume."""

    arms: Sequence[Arm]
    reader: TokenReader
    backend: Backend

    def outputs(self, study: Study, ref: SampleRef, overlap: float) -> dict[tuple[str, str], np.ndarray]:
        """(source, head) -> what it says of a whole stored volume, (outputs, D, H, W)."""
        stored = sample.read(study.datasets[ref.folder].url, ref.row)
        outputs: dict[tuple[str, str], np.ndarray] = {}
        for source in dict.fromkeys(arm.source.name for arm in self.arms):
            arms = [arm for arm in self.arms if arm.source.name == source]
            predicted = whole_volume.predict(arms, self.reader, self.backend, stored, overlap)
            outputs |= {(source, arm.head): x for arm, x in zip(arms, predicted, strict=True)}
        return outputs


def fit_arms(
    study: Study, targets: TargetStore, outputs: int, loss: Loss, cfg: Config, on_progress: OnProgress
) -> FittedArms:
    """Every head of cfg on the trained encoder, on random ones and on voxels."""
    backend = select.open_backend(study.trained.run)
    if cfg.heads.batch % backend.device_count:
        raise UsageError(
            f"heads.batch={cfg.heads.batch}: want a multiple of the {backend.device_count} devices"
        )
    encoder = study.checkpoint.encoder.to(backend.device).eval()
    levels = len(dense_heads.stages_of(encoder.patch))
    sources = [token_source.encoder_source(PRETRAINED, encoder, levels)]
    for name in random_names(cfg):
        untrained = random_encoder(study.trained, seed_for(cfg.seed, name)).to(backend.device)
        sources.append(token_source.encoder_source(name, untrained, levels))
    sources.append(token_source.voxel_source(INTENSITY, encoder, levels))
    reader = TokenReader(encoder, backend)
    arms = build_arms(sources, outputs, encoder.patch, cfg.heads, cfg.seed)
    train, val = (
        DenseStream(study.indexes[split], study.trained, targets, cfg.heads.batch)
        for split in ("train", "val")
    )
    Fit(reader, backend, loss, cfg.heads).run(arms, train, val, on_progress)
    return FittedArms(best_arms(arms), reader, backend)


def random_names(cfg: Config) -> list[str]:
    """Of the encoders with random weights."""
    return [f"{RANDOM} {i}" for i in range(1, cfg.heads.random_draws + 1)]


def _with_map(index: SampleIndex, urls: Mapping[str, str]) -> SampleIndex:
    samples = tuple(ref for ref in index.samples if ref.row.key in urls)
    return dataclasses.replace(index, samples=samples)

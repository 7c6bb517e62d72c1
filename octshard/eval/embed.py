"""`octshard eval embed`: checkpoints and shards -> a feature table, which every head reads.

Once for each scan, checkpoint and view; in one pass over the data, whatever the number of checkpoints.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from octshard.config.eval import EmbedConfig
from octshard.errors import UsageError
from octshard.eval import encoders, extraction, feature_table, features, scans, setup
from octshard.eval.controls import provenance
from octshard.eval.encoders import Asked, Devices, NamedEncoder
from octshard.eval.feature_table import FeatureInfo, FeatureTable
from octshard.eval.features import FeatureRequest
from octshard.eval.scans import Scans
from octshard.models.encoder import TrainedEncoder, read_encoder
from octshard.progress import OnProgress, no_progress


@dataclass(frozen=True, eq=False)
class Embedding:
    """What an embedding reads, checked before anything is encoded. encoders: of the checkpoints, in their
    order, then the random ones.
    """

    cfg: EmbedConfig
    checkpoints: tuple[TrainedEncoder, ...]
    encoders: tuple[NamedEncoder, ...]
    scans: Scans
    request: FeatureRequest


def embed(cfg: EmbedConfig, on_progress: OnProgress = no_progress) -> FeatureTable:
    """Makes the table in cfg.out hold the features that cfg asks for; what it has already stays."""
    fill(open_embedding(cfg), on_progress)
    return feature_table.read(cfg.out)


def open_embedding(cfg: EmbedConfig, layers: str = "layers") -> Embedding:
    """Reads checkpoints and tables of scans; UsageError for settings that cannot be. layers: the setting that
    names them.
    """
    check(cfg)
    sites = provenance.read_sites(cfg.participants, cfg.site)
    checkpoints = [read_encoder(path) for path in cfg.checkpoint]
    first = checkpoints[0].config
    named = [
        *map(encoders.trained_encoder, source_names(checkpoints), checkpoints),
        *encoders.random_encoders(first, cfg.seed, cfg.random_draws),
    ]
    check_distinct(named)
    check_names(named)
    encoders.check_layers(named, cfg.layers, layers)
    all_scans = scans.open_scans(cfg.shards, first, cfg.filter)
    request = all_scans.request(sites.site_of)
    return Embedding(cfg, tuple(checkpoints), tuple(named), all_scans, request)


def fill(opened: Embedding, on_progress: OnProgress) -> FeatureTable:
    """Encodes what the table lacks. The table, with nothing but what was asked for, as it is called here."""
    cfg = opened.cfg
    asked = Asked(cfg.view, tuple(cfg.layers), tuple(dict.fromkeys(cfg.pooling)), cfg.batch, cfg.token_type)
    made = encoders.sources_of(opened.encoders, opened.scans, asked, Devices(cfg.device))
    setup.check_folder(cfg.out)
    stream = opened.scans.stream(made.batch_size, made.backend, on_progress)
    extraction.fill(made.sources, opened.request, cfg.out, stream)
    feature_table.write_notes(cfg.out, opened.scans.left_out.notes)
    origins = {features.digest_of(source, opened.request): source.origin for source in made.sources}
    table = feature_table.read(cfg.out)
    return replace(table, infos={key: origins[key] for key in table.infos if key in origins})


def check(cfg: EmbedConfig) -> None:
    """UsageError for settings that cannot be."""
    setup.check_places(cfg, "the table goes")


def source_names(checkpoints: Sequence[TrainedEncoder]) -> list[str]:
    """What each is called: run folder and step, and its place in the list where that is not enough."""
    names = []
    for checkpoint in checkpoints:
        parts = [part for part in checkpoint.path.removesuffix(".pt").split("/") if part != "checkpoints"]
        names.append(re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(parts[-2:])).strip("-.") or "encoder")
    count = Counter(names)
    return [f"{name}-{n}" if count[name] > 1 else name for n, name in enumerate(names, 1)]


def check_distinct(named: Sequence[NamedEncoder]) -> None:
    """UsageError if a checkpoint is named twice."""
    paths: dict[str, str] = {}
    for each in named:
        path, digest = each.info.checkpoint, each.info.checkpoint_digest
        if digest in paths:
            raise UsageError(f"checkpoint: {path} is the same as {paths[digest]}, want each once")
        paths[digest] = path


def check_names(named: Sequence[NamedEncoder]) -> None:
    """UsageError if two sources have one name."""
    infos: dict[str, FeatureInfo] = {}
    for info in (each.info for each in named):
        other = infos.setdefault(info.source, info)
        if other is not info:
            paths = " and ".join(each.checkpoint or "a random encoder" for each in (other, info))
            raise UsageError(f"checkpoint: {paths} are both called {info.source}, want files of other names")

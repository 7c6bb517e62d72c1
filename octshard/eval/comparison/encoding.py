"""Which checkpoints are compared: what the table in out/features lacks of them is encoded in one pass."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from octshard.config.eval import CompareConfig, EmbedConfig
from octshard.eval import arm_names, embed, encoders, notes, setup
from octshard.eval.comparison import tables
from octshard.eval.comparison.tables import ComparedFeatures
from octshard.eval.controls import RANDOM
from octshard.eval.embed import Embedding
from octshard.probes import labels
from octshard.probes.labels import SPLITS, LabelledScans
from octshard.probes.targets import Target
from octshard.progress import OnProgress
from octshard.storage import store

FOLDER = "features"  # of cfg.out


@dataclass(frozen=True, eq=False)
class Encoding:
    """Checkpoints and labelled scans, checked before anything is encoded. notes: whom encoders have seen."""

    cfg: CompareConfig
    embedding: Embedding
    labelled: LabelledScans
    notes: tuple[str, ...]


def open_encoding(cfg: CompareConfig, target: Target) -> Encoding:
    """UsageError for checkpoints, scans or labels that cannot be compared."""
    arm_names.check_count(cfg.names, cfg.checkpoint)
    opened = embed.open_embedding(
        EmbedConfig(
            view=cfg.view, batch=cfg.batch, device=cfg.device, checkpoint=cfg.checkpoint, shards=cfg.shards,
            filter=cfg.filter, participants=cfg.participants, out=store.join(cfg.out, FOLDER),
            layers=[cfg.layer], pooling=[cfg.pooling], random_draws=cfg.random_draws, seed=cfg.seed,
        ),
        "layer",
    )  # fmt: skip
    names = _names(cfg, opened)[: len(opened.checkpoints)]
    arm_names.check(names)
    with opened.scans.left_out.named():
        labelled = labels.join(target, opened.scans.rows)
    people = set(labelled.subsets["test"].participants)
    total = labelled.counts[SPLITS.index("test")].participants
    seen = []
    for name, checkpoint in zip(names, opened.checkpoints, strict=True):
        scored = setup.scored_checkpoint(checkpoint, people, allow_seen_people=cfg.allow_seen_people)
        seen.append(notes.of_seen(scored, total, f"{name} ({scored.path})"))
    said = (*opened.scans.left_out.notes, *_of_forms(opened, names), *seen)
    return Encoding(cfg, opened, labelled, said)


def encode(opened: Encoding, on_progress: OnProgress) -> ComparedFeatures:
    """The arms, one for each name; random encoders are seeds of one."""
    table = embed.fill(opened.embedding, on_progress)
    sources = [encoder.info.source for encoder in opened.embedding.encoders]
    cfg = dataclasses.replace(opened.cfg, sources=sources, names=_names(opened.cfg, opened.embedding))
    return tables.arms_of([table], dataclasses.replace(cfg, filter=""))


def _of_forms(opened: Embedding, names: Sequence[str]) -> Iterator[str]:
    """A note where the random encoders are no control of some of the arms."""
    forms = [encoders.form_of(checkpoint.config) for checkpoint in opened.checkpoints]
    others = dict.fromkeys(name for name, form in zip(names, forms, strict=True) if form != forms[0])
    if others and opened.cfg.random_draws:
        yield (
            f"{RANDOM} has the form of {names[0]} alone, so that it is no control of {', '.join(others)}; "
            "octshard eval report has random encoders of every form."
        )


def _names(cfg: CompareConfig, opened: Embedding) -> list[str]:
    """Of every encoder: as the user calls it, or its source."""
    sources: Sequence[str] = [encoder.info.source for encoder in opened.encoders]
    trained = cfg.names or list(sources[: len(opened.checkpoints)])
    return [*trained, *(RANDOM for _ in sources[len(opened.checkpoints) :])]

"""The command: feature tables, or checkpoints, and one label -> compare.json, compare.html and figures."""

import dataclasses
from collections.abc import Sequence

from octshard.config import fields
from octshard.config.eval import CompareConfig
from octshard.errors import UsageError
from octshard.eval import head_probe, json_text
from octshard.eval.comparison import encoding, report, scoring, tables
from octshard.eval.comparison.learning_curve import CurvePoint, LabelDraws, learning_curve
from octshard.eval.comparison.result import CompareResult
from octshard.eval.comparison.scoring import ALL, Pair, Rules, ScoredArm
from octshard.eval.comparison.tables import ComparedFeatures
from octshard.eval.notes import of_family, of_labels
from octshard.eval.verdict import MAX_P
from octshard.probes import labels, scores
from octshard.probes.head import HeadSpec
from octshard.probes.labels import SPLITS, LabelledScans
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for
from octshard.storage import store

JSON, PAGE = "compare.json", "compare.html"


def compare(cfg: CompareConfig, on_progress: OnProgress = no_progress) -> CompareResult:
    """Compares the features that cfg names, and writes its files under cfg.out."""
    check(cfg)
    target = labels.read(cfg)
    for name in (JSON, PAGE):
        store.check_writable(store.join(cfg.out, name))
    if cfg.checkpoint:
        opened = encoding.open_encoding(cfg, target)
        features, labelled, notes = encoding.encode(opened, on_progress), opened.labelled, opened.notes
    else:
        features = tables.read(cfg)
        notes = (*features.notes, *features.left_out.notes)
        with features.left_out.named():
            labelled = labels.join(target, features.scans)  # type: ignore[arg-type]
    result = compared(features, labelled, cfg, on_progress)
    result = dataclasses.replace(result, notes=(*result.notes, *notes))
    store.write(store.join(cfg.out, JSON), json_text.text_of(result.as_dict()).encode())
    store.write(store.join(cfg.out, PAGE), report.render(result).encode())
    for stem, chart in report.charts(result).items():
        for name, data in chart.files(stem).items():
            store.write(store.join(cfg.out, name), data)
    return result


def check(cfg: CompareConfig) -> None:
    """UsageError for settings that cannot be."""
    if cfg.features and cfg.checkpoint:
        raise UsageError(
            "features, checkpoint: both are set, want one: tables of octshard eval embed, or checkpoints"
        )
    if cfg.checkpoint and cfg.sources:
        raise UsageError("sources: it chooses among features; with checkpoint=, want none")
    if not cfg.features and not cfg.checkpoint:
        raise UsageError(
            "features: not set, want features=[FOLDER], which octshard eval embed made, or checkpoint=[RUN] "
            "and shards=[SHARDS/DEVICE]"
        )
    if cfg.shards and not cfg.checkpoint:
        raise UsageError("shards: checkpoints read them, and checkpoint is not set; want both, or features")
    if not cfg.out:
        raise UsageError(f"out: not set, want out=FOLDER, where {JSON} and {PAGE} go")
    fields.check(cfg)


def compared(
    features: ComparedFeatures, labelled: LabelledScans, cfg: CompareConfig, on_progress: OnProgress
) -> CompareResult:
    """Every arm, ensemble, pair and curve."""
    spec, runs_of = HeadSpec(cfg, labelled.kind, cfg.seed), {}
    for i, arm in enumerate(features.arms):
        on_progress(i, len(features.arms), "heads")
        runs_of[arm.name] = head_probe.probed(arm, labelled, spec).predictions
    on_progress(len(features.arms), len(features.arms), "heads")
    first = next(iter(runs_of.values()))[0]
    resamples = scores.resample(first, cfg.bootstrap, rng_for(cfg.seed, "bootstrap"))
    arms = tuple(scoring.scored(name, runs, labelled.classes, resamples) for name, runs in runs_of.items())
    together = scoring.ensembles(runs_of, labelled.classes, resamples)
    of_all = next((arm for arm in together if arm.name == ALL), None)
    test = labelled.counts[SPLITS.index("test")]
    participants = test.of_class if labelled.classes else {cfg.label: test.participants}
    rules = Rules(cfg.bootstrap, cfg.shuffles, cfg.seed, participants)
    on_progress(0, 1, "pairs")
    pairs = scoring.pairs(arms, of_all, resamples, rules)
    on_progress(1, 1, "pairs")
    curves = {}
    draws = LabelDraws(cfg.label_fractions, cfg.label_draws, cfg.seed)
    for i, arm in enumerate(features.arms if cfg.label_fractions else ()):
        on_progress(i, len(features.arms), "learning curves")
        curves[arm.name] = learning_curve(arm, labelled, spec, draws, resamples)
    best = scoring.winner(arms, pairs)
    return CompareResult(
        label=cfg.label,
        kind=labelled.kind,
        classes=labelled.classes,
        counts=labelled.counts,
        dropped=labelled.dropped,
        arms=(*arms, *together),
        origins=features.origins,
        pairs=pairs,
        winner=best,
        headline=_headline(arms, best),
        curves=curves,
        notes=_notes(labelled, pairs, curves, cfg),
        config=fields.result_values(cfg),
    )


def _headline(arms: Sequence[ScoredArm], best: str) -> str:
    if len(arms) < 2:
        return f"One arm, {arms[0].name}: nothing to compare it with."
    if best:
        return f"The winner is {best}: better than every other arm."
    return "No winner: no arm is better than every other."


def _notes(
    labelled: LabelledScans,
    pairs: Sequence[Pair],
    curves: dict[str, tuple[CurvePoint, ...]],
    cfg: CompareConfig,
) -> tuple[str, ...]:
    """What a reader must know before believing the verdicts."""
    notes = [*of_family(len(pairs), cfg.bootstrap)]
    if 1 / (1 + cfg.shuffles) > MAX_P:
        notes.append(f"No p of {MAX_P} can come of shuffles={cfg.shuffles}: want at least 19.")
    notes += of_labels(labelled, cfg.label)
    reasons = {p.reason: None for points in curves.values() for p in points if p.reason}
    return (*notes, *(f"No learning curve there: {reason}." for reason in reasons))

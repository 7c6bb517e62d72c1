"""The command: checkpoints, shards and labels -> report.html, report.json, predictions.parquet and figures.

Shards are read once for all encoders and controls. Killed, the same command goes on behind the features that
are stored.
"""

from collections import Counter
from collections.abc import Sequence

from octshard.config import fields
from octshard.config.eval import ReportConfig
from octshard.errors import UsageError
from octshard.eval import arm_names, arm_verdict, embed, notes, setup, study
from octshard.eval.arm_verdict import ArmVerdict
from octshard.eval.comparison import scoring
from octshard.eval.comparison.scoring import Pair, Rules, ScoredArm
from octshard.eval.feature_table import TOKENS
from octshard.eval.pictures import sections
from octshard.eval.report import figures, files, heads, robustness
from octshard.eval.report.heads import FittedHeads
from octshard.eval.report.result import ReportResult
from octshard.eval.report.scored_study import ScoredStudy
from octshard.eval.study import EncodedArms, Entry, Study
from octshard.models.encoder import read_encoder
from octshard.probes import build, labels
from octshard.progress import OnProgress, no_progress


def report(cfg: ReportConfig, on_progress: OnProgress = no_progress) -> ReportResult:
    """Scores everything and writes the files under cfg.out; all is checked before anything is encoded."""
    scored = score(cfg, on_progress)
    files.write_numbers(cfg.out, scored.result)
    pictures = sections.pictures(scored.pictured(), on_progress)
    files.write(cfg.out, scored.result, figures.draw(scored), pictures)
    return scored.result


def score(cfg: ReportConfig, on_progress: OnProgress = no_progress) -> ScoredStudy:
    """Every score and verdict, before anything is drawn; features are stored under cfg.out."""
    check(cfg)
    target = labels.read(cfg)
    opened = study.open_study(cfg, target, entries(cfg))
    poolings = [cfg.pooling, *([TOKENS] if set(build.TOKENS) & set(cfg.heads) else [])]
    encoded = study.encode(opened, poolings, cfg.out, files.WRITTEN, on_progress)
    fitted = tuple(heads.fit_all(opened, encoded, cfg, on_progress))
    return ScoredStudy(reported(opened, encoded, fitted, cfg), opened, encoded, fitted)


def check(cfg: ReportConfig) -> None:
    """UsageError for settings that cannot be."""
    setup.check(cfg, f"{files.JSON} and {files.PAGE} go")
    for key, values in (("heads", cfg.heads), ("checkpoint", cfg.checkpoint)):
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            raise UsageError(f"{key}: {twice[0]} is named twice, want each once")
    arm_names.check_count(cfg.names, cfg.checkpoint)


def entries(cfg: ReportConfig) -> list[Entry]:
    """The checkpoints, by the names of their arms; UsageError for a name that another row of tables has."""
    checkpoints = [read_encoder(path) for path in cfg.checkpoint]
    sources = embed.source_names(checkpoints)
    arms = cfg.names or sources
    arm_names.check(arms)
    return list(map(Entry, arms, sources, checkpoints))


def reported(
    opened: Study, encoded: EncodedArms, fitted: Sequence[FittedHeads], cfg: ReportConfig
) -> ReportResult:
    """Scores and verdicts; these are by the first head."""
    scans, first = opened.labelled, fitted[0]
    results = tuple(each.result(scans.classes) for each in fitted)
    verdicts = tuple(_verdict(name, opened, first) for name in opened.scored)
    arms = [
        ScoredArm(arm.name, results[0].predictions[arm.name], arm.score, arm.score.of_runs)
        for arm in results[0].arms
        if arm.name in opened.scored
    ]
    rules = Rules(cfg.bootstrap, cfg.shuffles, cfg.seed, first.asked.participants)
    pairs = scoring.pairs(arms, None, first.asked.resamples, rules)
    measures, unmeasured = robustness.measure(opened, encoded, cfg)
    test = scans.counts[labels.SPLITS.index("test")].participants
    seen = [
        notes.of_seen(scored, test, name if len(opened.scored) > 1 else notes.ENCODER)
        for name, several in opened.scored.items()
        for scored in several
    ]
    return ReportResult(
        label=cfg.label,
        kind=scans.kind,
        classes=scans.classes,
        counts=scans.counts,
        dropped=scans.dropped,
        scored=opened.scored,
        digests={each.info.checkpoint: each.info.checkpoint_digest for each in opened.encoders},
        heads=results,
        verdicts=verdicts,
        pairs=pairs,
        best=_best(arms, pairs),
        provenance={v.name: v.provenance(cfg.label, results[0].arms) for v in verdicts},
        robustness=measures,
        notes=(
            *notes.of_arms(scans, results[0].arms, cfg),
            *(notes.of_family(len(pairs), cfg.bootstrap) if len(pairs) > 1 else ()),
            *(note for each in results[1:] for note in notes.of_fits(each.arms, each.head)),
            *encoded.notes,
            *unmeasured,
            *dict.fromkeys(seen),
        ),
        config=fields.result_values(cfg),
    )


def _verdict(name: str, opened: Study, head: FittedHeads) -> ArmVerdict:
    """On a trained arm against the random one of its form, and all controls without an encoder of ours."""
    others = [
        other
        for arm, other in head.probed.items()
        if arm not in opened.sources_of or arm == opened.random_of[name]
    ]
    return arm_verdict.verdict_on(head.probed[name], others, head.shuffled[name], head.asked)


def _best(arms: Sequence[ScoredArm], pairs: Sequence[Pair]) -> str:
    if len(arms) < 2:
        return ""
    best = scoring.winner(arms, pairs)
    return (
        f"{best} is better than every other one."
        if best
        else f"None of {', '.join(arm.name for arm in arms)} is better than every other one."
    )

"""`octshard eval linear-probe`: checkpoint, shards and labels -> numbers with intervals, beside controls.

The pretrained encoder, the same one at random, raw intensities and shuffled labels are treated alike, and the
test participants are scored once. Writes probe.json and probe.html.
"""

import dataclasses
from collections.abc import Sequence

from octshard.config import fields
from octshard.config.eval import ProbeConfig
from octshard.eval import arm_verdict, head_probe, notes, probe_report, probe_result, setup, study
from octshard.eval.arms import PRETRAINED, FeatureArm, Question
from octshard.eval.feature_table import TOKENS
from octshard.eval.probe_result import ProbeResult
from octshard.eval.study import Entry
from octshard.models.encoder import read_encoder
from octshard.probes import build, labels
from octshard.probes.head import HeadSpec
from octshard.progress import OnProgress, no_progress
from octshard.storage import store

JSON, PAGE = "probe.json", "probe.html"


def linear_probe(cfg: ProbeConfig, on_progress: OnProgress = no_progress) -> ProbeResult:
    """Runs the probe and writes its files under cfg.out; labels are checked before anything is encoded."""
    setup.check(cfg, f"{JSON} and {PAGE} go")
    target = labels.read(cfg)
    checkpoint = read_encoder(cfg.checkpoint)
    opened = study.open_study(cfg, target, [Entry(PRETRAINED, PRETRAINED, checkpoint)])
    pooling = TOKENS if cfg.head in build.TOKENS else cfg.pooling
    encoded = study.encode(opened, (pooling,), cfg.out, (JSON, PAGE), on_progress)
    (scored,) = opened.scored[PRETRAINED]
    question = Question(opened.labelled, encoded.provenance, scored, encoded.notes)
    result = compare(encoded.arms_of[pooling], question, cfg, on_progress)
    result = dataclasses.replace(result, checkpoint_digest=checkpoint.digest)
    store.write(store.join(cfg.out, JSON), probe_result.as_json(result).encode())
    store.write(store.join(cfg.out, PAGE), probe_report.render(result).encode())
    return result


def compare(
    arms: Sequence[FeatureArm], question: Question, cfg: ProbeConfig, on_progress: OnProgress
) -> ProbeResult:
    """Probes every set of features on the same participants and the same resamples; the first, which is
    pretrained, against each of the others.
    """
    scans, spec = question.scans, HeadSpec(cfg, question.scans.kind, cfg.seed)
    first, *others = head_probe.probe_all(arms, scans, spec, on_progress)
    asked = arm_verdict.exam(first, scans, question.provenance, spec, cfg)
    scored_arms = tuple(each.scored(scans.classes, asked.resamples) for each in (first, *others))
    control = arm_verdict.shuffled_control(first, asked, on_progress)
    verdicts = arm_verdict.verdict_on(first, others, control, asked)
    people = scans.counts[labels.SPLITS.index("test")].participants
    return ProbeResult(
        label=cfg.label,
        classes=scans.classes,
        counts=scans.counts,
        dropped=scans.dropped,
        checkpoint=cfg.checkpoint,
        checkpoint_digest="",
        scored=question.scored,
        arms=scored_arms,
        shuffled=control,
        differences=verdicts.differences,
        comparisons=verdicts.comparisons,
        headline=verdicts.headline,
        verdicts=verdicts.sentences(asked.metric),
        readings=verdicts.readings,
        provenance=verdicts.provenance(cfg.label, scored_arms),
        notes=(
            *notes.of_arms(scans, scored_arms, cfg),
            *question.notes,
            notes.of_seen(question.scored, people),
        ),
        config=fields.result_values(cfg),
        kind=scans.kind,
    )

"""`octshard eval linear-probe`: checkpoint, shards and labels -> numbers with intervals, beside controls.

The pretrained encoder, the same one at random, raw intensities and shuffled labels are treated alike, and the
test participants are scored once. Writes probe.json and probe.html.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from octshard.config import fields
from octshard.config.eval import ProbeConfig
from octshard.eval import (
    encoders,
    extraction,
    features,
    head_probe,
    probe_report,
    probe_result,
    setup,
    token_values,
)
from octshard.eval.arms import PRETRAINED, FeatureArm, Question, with_controls
from octshard.eval.controls import (
    INTENSITY,
    PROVENANCE,
    THICKNESS,
    intensity,
    provenance,
    provenance_alone,
    provenance_reading,
    shuffled,
    slice_encoder,
    thickness,
)
from octshard.eval.encoders import Asked, Devices
from octshard.eval.feature_table import TOKENS
from octshard.eval.head_probe import HeadProbe
from octshard.eval.probe_result import Arm, ProbeResult, ScoredCheckpoint
from octshard.eval.scans import open_scans
from octshard.eval.verdict import MAX_P, MIN_PARTICIPANTS, Evidence, Verdict, headline, judge
from octshard.models.encoder import read_encoder
from octshard.probes import build, labels, scores
from octshard.probes.head import HeadSpec
from octshard.probes.labels import LabelledScans
from octshard.probes.targets import CLASSES
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for
from octshard.storage import store


def linear_probe(cfg: ProbeConfig, on_progress: OnProgress = no_progress) -> ProbeResult:
    """Runs the probe and writes its files under cfg.out; labels are checked before anything is encoded."""
    setup.check(cfg)
    target = labels.read(cfg)
    sites = provenance.read_sites(cfg.participants, "" if cfg.site == cfg.label else cfg.site)
    slices = slice_encoder.open_encoder(cfg.encoder, cfg.encoder_weights) if cfg.encoder else None
    checkpoint = read_encoder(cfg.checkpoint)
    scans = open_scans(cfg.shards, checkpoint.config)
    labelled = labels.join(target, scans.rows)
    test_people = set(labelled.subsets["test"].participants)
    scored = setup.scored_checkpoint(checkpoint, test_people, allow_seen_people=cfg.allow_seen_people)
    setup.check_resamples(cfg, labelled)

    named = [
        encoders.trained_encoder(PRETRAINED, checkpoint),
        *encoders.random_encoders(checkpoint.config, cfg.seed, cfg.random_draws),
    ]
    encoders.check_layers(named, (cfg.layer,), "layer")
    pooling = TOKENS if cfg.head in build.TOKENS else cfg.pooling
    asked = Asked(cfg.view, (cfg.layer,), (pooling,), cfg.batch)
    if pooling == TOKENS:
        most = token_values.most_tokens(encoders.view_of(checkpoint.config, cfg.view), scans.shapes)
        setup.check_tokens(cfg, len(scans.rows), most * checkpoint.config.model.width)
    made = encoders.sources_of(named, scans, asked, Devices(cfg.device))
    setup.check_out(cfg.out)
    view = encoders.view_of(checkpoint.config, cfg.view)
    controls = [
        intensity.intensity_source(INTENSITY, view.field),
        thickness.thickness_source(THICKNESS, scans.rows, view.field),
    ]
    if slices is not None:
        precision = f"{checkpoint.config.run.precision} {view.field}"
        controls.append(slice_encoder.slice_source(slices, cfg.encoder_every, made.backend, precision))
    sources = [*made.sources, *(features.in_view(source, view) for source in controls)]
    request = scans.request(sites.site_of)
    folder = store.join(cfg.out, "features", request.digest)
    stream = scans.stream(made.batch_size, made.backend, on_progress)
    extracted = extraction.extract(sources, request, folder, stream)
    values = token_values.read(sources, request, folder)  # first: what is pretrained leads
    values.update({each.info.source: each.values_NF for each in extracted.values()})
    known = provenance.provenance(scans.rows, sites.site_of)
    arms, notes = with_controls(values, known, labelled.subsets["train"].places_N)
    notes = (*notes, *sites.notes, *(slices.notes(cfg.encoder_every) if slices else ()))
    result = compare(arms, Question(labelled, known, scored, notes), cfg, on_progress)
    result = dataclasses.replace(result, checkpoint_digest=checkpoint.digest)
    store.write(store.join(cfg.out, "probe.json"), probe_result.as_json(result).encode())
    store.write(store.join(cfg.out, "probe.html"), probe_report.render(result).encode())
    return result


def compare(
    arms: Sequence[FeatureArm], question: Question, cfg: ProbeConfig, on_progress: OnProgress
) -> ProbeResult:
    """Probes every set of features on the same participants and the same resamples; the first, which is
    pretrained, against each of the others.
    """
    scans, spec = question.scans, HeadSpec(cfg, question.scans.kind, cfg.seed)
    probed = []
    for i, arm in enumerate(arms):
        on_progress(i, len(arms), "probes")
        probed.append(head_probe.probed(arm, scans, spec))
    on_progress(len(arms), len(arms), "probes")
    first, *others = probed
    resamples = scores.resample(first.predictions[0], cfg.bootstrap, rng_for(cfg.seed, "bootstrap"))
    scored_arms = [each.scored(scans.classes, resamples) for each in probed]
    differences = {
        other.name: scores.difference(first.predictions, other.predictions, resamples) for other in others
    }
    metric = scores.primary(scans.kind)
    true_score = scored_arms[0].score.metrics[metric].value
    parts = head_probe.parts(scans, arms[0].draws[0])
    control = shuffled.control(
        parts, HeadProbe(spec), true_score, shuffled.Deals(cfg.shuffles, cfg.seed), on_progress
    )
    people = scans.counts[labels.SPLITS.index("test")]
    participants = people.of_class or {cfg.label: people.participants}
    comparisons = {}
    for other in others:
        rng = rng_for(cfg.seed, "swap", other.name)
        swap_p = scores.swap_p(first.predictions, other.predictions, cfg.bootstrap, rng)
        gain = differences[other.name][metric]
        gains = scores.seed_gains(first.predictions, other.predictions)
        comparisons[other.name] = judge(
            Evidence(gain, swap_p, control.p_value, participants, scans.kind, gains)
        )
    of_classes = HeadProbe(HeadSpec(cfg, CLASSES, cfg.seed))
    readings = _readings(question, arms[0], of_classes, cfg)
    return ProbeResult(
        label=cfg.label,
        classes=scans.classes,
        counts=scans.counts,
        dropped=scans.dropped,
        checkpoint=cfg.checkpoint,
        checkpoint_digest="",
        scored=question.scored,
        arms=tuple(scored_arms),
        shuffled=control,
        differences=differences,
        comparisons=comparisons,
        headline=headline(comparisons),
        verdicts=tuple(
            verdict.sentence(name, differences[name][metric]) for name, verdict in comparisons.items()
        ),
        readings=readings,
        provenance=_provenance_sentences(cfg.label, scored_arms, comparisons, readings),
        notes=(
            *_notes(scans, scored_arms, cfg),
            *question.notes,
            *_seen_notes(question.scored, people.participants),
        ),
        config=fields.result_values(cfg),
        kind=scans.kind,
    )


def _readings(
    question: Question, arm: FeatureArm, ask: HeadProbe, cfg: ProbeConfig
) -> tuple[provenance_reading.Reading, ...]:
    def draw(people: int) -> np.ndarray:
        rng = rng_for(cfg.seed, "provenance")
        return scores.draw_resamples(np.zeros(people, np.int64), cfg.bootstrap, rng)

    return provenance_reading.read(arm.draws[0], question.provenance, question.scans, ask, draw)


def _provenance_sentences(
    label: str,
    arms: Sequence[Arm],
    comparisons: Mapping[str, Verdict],
    readings: Sequence[provenance_reading.Reading],
) -> tuple[str, ...]:
    """What the page says of shortcuts; the first line is that on the target."""
    sentences = [
        provenance_alone.sentence(label, next(iter(arm.score.metrics.values())), comparisons[PROVENANCE])
        for arm in arms
        if arm.name == PROVENANCE
    ]
    return (*sentences, *(reading.sentence() for reading in readings))


def _seen_notes(scored: ScoredCheckpoint, test_participants: int) -> tuple[str, ...]:
    if scored.seen_people is None:
        return ("Unknown whether the encoder was pretrained on test participants: its file does not say.",)
    if scored.seen_people == 0:
        return (f"The encoder was pretrained on none of the {test_participants} test participants.",)
    return (
        f"The encoder was pretrained on {scored.seen_people} of the {test_participants} test participants: "
        "these scores do not show how it does on new people.",
    )


def _notes(scans: LabelledScans, arms: Sequence[Arm], cfg: ProbeConfig) -> tuple[str, ...]:
    """What a reader must know before believing the intervals."""
    notes = []
    participants = scans.counts[labels.SPLITS.index("test")].of_class
    if unscored := [name for name in scans.classes if name not in arms[0].score.scored]:
        notes.append(f"Not scored, because no test participant has it: {', '.join(unscored)}.")
    if small := [f"{name} ({n})" for name, n in participants.items() if 0 < n < MIN_PARTICIPANTS]:
        notes.append(f"So few test participants that intervals may be too narrow: {', '.join(small)}.")
    if slow := [arm.name for arm in arms if not arm.converged]:
        notes.append(f"The fit had not converged when it stopped: {', '.join(slow)}.")
    for key, count in (("bootstrap", cfg.bootstrap), ("shuffles", cfg.shuffles)):
        if 1 / (1 + count) > MAX_P:
            notes.append(f"No p of {MAX_P} can come of {key}={count}: want at least {round(1 / MAX_P) - 1}.")
    if dropped := sum(scans.dropped.values()):
        notes.append(f"Scans left out, because their participant has no label: {dropped}.")
    return tuple(notes)

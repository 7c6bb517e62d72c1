"""`octshard eval linear-probe`: checkpoint, shards and labels -> numbers with intervals, beside controls.

The pretrained encoder, the same one at random, raw intensities and shuffled labels are treated alike, and the
test participants are scored once. Writes probe.json and probe.html.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from octshard.config import fields
from octshard.config.eval import ProbeConfig
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.eval import feature_table, features, report, setup
from octshard.eval.controls import intensity
from octshard.eval.report import Arm, Control, ProbeResult, ScoredCheckpoint
from octshard.eval.verdict import MAX_P, MIN_PARTICIPANTS, Evidence, judge
from octshard.imaging.volume import product
from octshard.models.encoder import random_encoder, read_encoder
from octshard.probes import build, head, labels, linear, scores
from octshard.probes.examples import Examples, shuffled
from octshard.probes.head import CLASSES, HeadSpec
from octshard.probes.labels import LabelledScans
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for, seed_for
from octshard.storage import store
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform, RankSlice
from octshard.stream.batch_shape import batch_shape
from octshard.stream.index import SampleIndex, build_index, open_datasets

PRETRAINED, RANDOM, INTENSITY = "pretrained", "random-init", "raw-intensity"


def linear_probe(cfg: ProbeConfig, on_progress: OnProgress = no_progress) -> ProbeResult:
    """Runs the probe and writes its files under cfg.out; labels are checked before anything is encoded."""
    setup.check(cfg)
    participant_labels = labels.read(cfg.participants, cfg.label)
    checkpoint = read_encoder(cfg.checkpoint)
    # of the run's settings no place is used: they may be somebody else's
    data = dataclasses.replace(checkpoint.config.data, shards=list(cfg.shards), cache_dir="")
    trained = dataclasses.replace(checkpoint.config, data=data)
    datasets = open_datasets(trained)
    indexes = tuple(build_index(datasets, trained, split, 0) for split in labels.SPLITS)
    rows = [sample.row for index in indexes for sample in index.samples]
    scans = labels.join(participant_labels, rows)
    scored = setup.scored_checkpoint(checkpoint, scans, cfg)
    setup.check_resamples(cfg, scans)

    run = dataclasses.replace(trained.run, device=cfg.device, compile=False, cpu_threads=0)
    shapes = [batch_shape(index, trained) for index in indexes if index.samples]
    tokens, voxels = max(shape.tokens for shape in shapes), max(product(shape.box) for shape in shapes)
    backend = select.open_backend(run)
    batch_size = setup.batch_size(cfg, voxels, len(rows), backend)
    setup.check_out(cfg.out)
    untrained = random_encoder(trained, seed_for(cfg.seed, RANDOM))
    sources = (
        features.encoder_source(
            PRETRAINED, checkpoint.encoder, f"{checkpoint.digest} {run.precision}", backend, tokens
        ),
        features.encoder_source(
            RANDOM, untrained, f"{features.weights_digest(untrained)} {run.precision}", backend, tokens
        ),
        intensity.intensity_source(INTENSITY, f"centre crop of {trained.model.image_size}"),
    )
    transform = BatchTransform(backend.pin, backend.empty)
    request = features.FeatureRequest(tuple(feature_table.scan_of(row) for row in rows))
    features_by_source = features.extract(
        sources,
        request,
        store.join(cfg.out, "features", request.digest),
        lambda: _batches(indexes, trained, batch_size, transform, on_progress),
    )
    values = {name: source.values_NF for name, source in features_by_source.items()}
    result = compare(values, scans, scored, cfg, on_progress)
    result = dataclasses.replace(result, checkpoint_digest=checkpoint.digest)
    store.write(store.join(cfg.out, "probe.json"), report.as_json(result).encode())
    store.write(store.join(cfg.out, "probe.html"), report.render(result).encode())
    return result


def compare(
    values: Mapping[str, np.ndarray],
    scans: LabelledScans,
    scored: ScoredCheckpoint,
    cfg: ProbeConfig,
    on_progress: OnProgress,
) -> ProbeResult:
    """Probes every set of features (values_NF by name) on the same participants and the same resamples."""
    heads, predictions, spec = {}, {}, HeadSpec(cfg, CLASSES, cfg.seed)
    for i, (name, values_NF) in enumerate(values.items()):
        on_progress(i, len(values), "probes")
        train, val, test = (_examples(scans, split, values_NF) for split in labels.SPLITS)
        heads[name] = build.fit(spec, train, val)
        predictions[name] = head.predict(heads[name], test)
    on_progress(len(values), len(values), "probes")
    pretrained = predictions[PRETRAINED]
    weight_RP = scores.draw_resamples(pretrained.y_P, cfg.bootstrap, rng_for(cfg.seed, "bootstrap"))
    arms = []
    for name, fitted in heads.items():
        score = scores.evaluate(predictions[name], scans.classes, weight_RP)
        width = values[name].shape[-1]
        arms.append(Arm(name, width, fitted.choice, fitted.trials, fitted.converged, score))
    differences = {
        name: scores.difference(pretrained, baseline, weight_RP)
        for name, baseline in predictions.items()
        if name != PRETRAINED
    }
    control = _shuffled(scans, values[PRETRAINED], scores.macro_auroc(pretrained), cfg, on_progress)
    participants = scans.counts[labels.SPLITS.index("test")].of_class
    comparisons = {}
    for name, gains in differences.items():
        swap_p = scores.swap_p(pretrained, predictions[name], cfg.bootstrap, rng_for(cfg.seed, "swap", name))
        comparisons[name] = judge(Evidence(gains["macro_auroc"], swap_p, control.p_value, participants))
    return ProbeResult(
        label=cfg.label,
        classes=scans.classes,
        counts=scans.counts,
        dropped=scans.dropped,
        checkpoint=cfg.checkpoint,
        checkpoint_digest="",
        scored=scored,
        arms=tuple(arms),
        shuffled=control,
        differences=differences,
        comparisons=comparisons,
        verdicts=tuple(
            verdict.sentence(name, differences[name]["macro_auroc"]) for name, verdict in comparisons.items()
        ),
        notes=(*_notes(scans, arms, cfg), *_seen_notes(scored, sum(participants.values()))),
        config=fields.result_values(cfg),
    )


def _shuffled(
    scans: LabelledScans, values_NF: np.ndarray, true_auroc: float, cfg: ProbeConfig, on_progress: OnProgress
) -> Control:
    """Permutes the classes of train and val participants cfg.shuffles times; test keeps the true ones.

    One permutation is not enough: features in few clusters move it far from chance, to either side.
    """
    values_by_metric: dict[str, list[float]] = {name: [] for name in scores.METRICS}
    test, spec = _examples(scans, "test", values_NF), HeadSpec(cfg, CLASSES, cfg.seed)
    for deal in range(cfg.shuffles):
        on_progress(deal, cfg.shuffles, "shuffled labels")
        train, val = (
            shuffled(_examples(scans, split, values_NF), rng_for(cfg.seed, "shuffle", deal, split))
            for split in ("train", "val")
        )
        predictions = head.predict(build.fit(spec, train, val), test)
        estimates = scores.measure(predictions, np.ones((1, len(predictions.y_P)), np.int64))
        for name in scores.METRICS:
            values_by_metric[name].append(float(estimates[name][0]))
    on_progress(cfg.shuffles, cfg.shuffles, "shuffled labels")
    reached = sum(value >= true_auroc for value in values_by_metric["macro_auroc"])
    metrics = {
        name: scores.estimate(float(np.mean(values)), np.array(values))
        for name, values in values_by_metric.items()
    }
    return Control(cfg.shuffles, metrics, reached, (1 + reached) / (1 + cfg.shuffles))


def _examples(scans: LabelledScans, split: str, values_NF: np.ndarray) -> Examples:
    subset = scans.subsets[split]
    return Examples(values_NF[subset.places_N], subset.y_N, subset.participants)


def _batches(
    indexes: Sequence[SampleIndex],
    trained: TrainConfig,
    batch_size: int,
    transform: BatchTransform[Batch],
    on_progress: OnProgress,
) -> Iterator[Batch]:
    """Every scan of the indexes once, in order."""
    done, total = 0, sum(len(index.samples) for index in indexes)
    on_progress(done, total, "features")
    for index in indexes:
        for batch in loader.eval_batches(index, trained, RankSlice(batch_size, 0, 1), 0, transform):
            yield batch
            done += batch.count
            on_progress(done, total, "features")


def _seen_notes(scored: ScoredCheckpoint, test_participants: int) -> tuple[str, ...]:
    if scored.seen_people is None:
        return ("Unknown whether the encoder was pretrained on test participants: its checkpoint is older.",)
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
        notes.append(f"The fit stopped at {linear.ITERATIONS} iterations: {', '.join(slow)}.")
    for key, draws in (("bootstrap", cfg.bootstrap), ("shuffles", cfg.shuffles)):
        if 1 / (1 + draws) > MAX_P:
            notes.append(f"No p of {MAX_P} can come of {key}={draws}: want at least {round(1 / MAX_P) - 1}.")
    if dropped := sum(scans.dropped.values()):
        notes.append(f"Scans left out, because their participant has no label: {dropped}.")
    return tuple(notes)

"""`octshard eval finetune`: the whole encoder trained on labels, beside random encoders trained alike.

Everything is checked before anything is trained; test is scored once, by the epoch that val chose.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from octshard.config import fields
from octshard.config.finetune import FinetuneConfig
from octshard.config.train import TrainConfig
from octshard.dataset.participant_digests import ParticipantDigests, digest_participants
from octshard.devices import select
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.eval import notes, setup
from octshard.eval.arms import PRETRAINED
from octshard.eval.controls import RANDOM, random_init
from octshard.eval.finetune import fit, report, result
from octshard.eval.finetune.fit import Job
from octshard.eval.finetune.model import FinetuneModel, Target
from octshard.eval.finetune.result import FinetuneResult
from octshard.eval.finetune.scans import LabelledIndex, ScanReader
from octshard.eval.probe_result import Arm, ScoredCheckpoint
from octshard.eval.scans import read_indexes
from octshard.eval.verdict import Evidence, Verdict, headline, judge
from octshard.models.encoder import TrainedEncoder, read_encoder
from octshard.models.vit import Encoder
from octshard.probes import examples, labels, scores
from octshard.probes.dealt_labels import label_p
from octshard.probes.examples import Examples
from octshard.probes.head import NUMBERS, Trial
from octshard.probes.labels import SPLITS, LabelledScans, Subset
from octshard.probes.scores import Predictions
from octshard.progress import OnProgress, no_progress
from octshard.rng import rng_for, seed_for
from octshard.storage import store
from octshard.stream.batch_shape import batch_shape
from octshard.stream.index import SampleIndex

# settings that no weight depends on, or, of `filter`, on the scans alone, which are named beside them
SCORING = ("bootstrap", "random_draws", "allow_seen_people", "filter")


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitted:
    """An arm: what each of its draws says of test, and of the first one's epochs scores on val and losses."""

    name: str
    predictions: tuple[Predictions, ...]
    trials: tuple[Trial, ...]
    losses: tuple[float, ...]
    epoch: int
    width: int

    def scored(self, scans: LabelledScans, resamples: scores.Resamples) -> Arm:
        """As the page of a probe has it."""
        score = scores.evaluate(self.predictions, scans.classes, resamples)
        return Arm(self.name, self.width, {"epoch": self.epoch}, self.trials, True, score)


def finetune(cfg: FinetuneConfig, on_progress: OnProgress = no_progress) -> FinetuneResult:
    """Trains all arms, or goes on with them, in cfg.out, and writes its files there."""
    _check(cfg)
    target = labels.read(cfg)
    checkpoint = read_encoder(cfg.checkpoint)
    trained = _config(cfg, checkpoint)
    _, indexes, left_out = read_indexes(trained, cfg.filter)
    with left_out.named():
        scans = labels.join(target, [sample.row for index in indexes.values() for sample in index.samples])
    people = set(scans.subsets["test"].participants)
    scored = setup.scored_checkpoint(checkpoint, people, allow_seen_people=cfg.allow_seen_people)
    parts = _labelled(indexes, scans, cfg)
    for name in (result.FILE, result.PAGE):
        store.check_writable(store.join(cfg.out, name))
    backend = select.open_backend(trained.run)
    if cfg.batch % backend.device_count:
        raise UsageError(f"batch={cfg.batch}: want a multiple of the {backend.device_count} devices")
    encoders = [(PRETRAINED, checkpoint.encoder)]
    if cfg.random_draws:
        encoders += random_init.encoders(trained, cfg.seed, cfg.random_draws)
    arms: dict[str, list[_Fitted]] = {}
    for number, (name, encoder) in enumerate(encoders):
        job = _job(cfg, trained, backend, parts, (name, encoder, scans, checkpoint))
        done = f"{name}, {number + 1} of {len(encoders)}"
        fitted = _fitted(job, name, lambda n, total, note, done=done: on_progress(n, total, done))  # type: ignore[misc]
        arms.setdefault(RANDOM if name.startswith(RANDOM) else name, []).append(fitted)
    whole = [
        dataclasses.replace(draws[0], name=name, predictions=tuple(each.predictions[0] for each in draws))
        for name, draws in arms.items()
    ]
    outcome = _compared(cfg, scans, whole, (scored, checkpoint.digest))
    outcome = dataclasses.replace(outcome, notes=(*left_out.notes, *outcome.notes))
    store.write(store.join(cfg.out, result.FILE), result.as_json(outcome).encode())
    store.write(store.join(cfg.out, result.PAGE), report.render(outcome).encode())
    for stem, chart in report.charts(outcome).items():
        for name, data in chart.files(stem).items():
            store.write(store.join(cfg.out, name), data)
    return outcome


def _check(cfg: FinetuneConfig) -> None:
    setup.check_places(cfg, f"{result.FILE}, {result.PAGE} and the weights go")
    if cfg.unfreeze_epoch >= cfg.epochs:
        raise UsageError(
            f"unfreeze_epoch={cfg.unfreeze_epoch}: the head alone is trained in all of epochs={cfg.epochs}; "
            "want fewer, or octshard eval linear-probe"
        )


def _config(cfg: FinetuneConfig, checkpoint: TrainedEncoder) -> TrainConfig:
    """Of the pretraining, but whose shards are read, in which order and on which device."""
    data = dataclasses.replace(
        checkpoint.config.data,
        shards=list(cfg.shards), cache_dir="", weights=[], balance="none", drop=[], filter="",
        on_bad_sample="raise",
    )  # fmt: skip
    run = dataclasses.replace(
        checkpoint.config.run, device=cfg.device, compile=False, cpu_threads=0, seed=cfg.seed
    )
    return dataclasses.replace(checkpoint.config, data=data, run=run)


def _labelled(
    indexes: Mapping[str, SampleIndex], scans: LabelledScans, cfg: FinetuneConfig
) -> dict[str, LabelledIndex]:
    """The labelled scans of each split; weights are those of train, 1 elsewhere."""
    parts, first = {}, 0
    for split, index in indexes.items():
        subset = scans.subsets[split]
        samples = tuple(index.samples[place - first] for place in subset.places_N)
        first += len(index.samples)
        weight_N = _weights(subset, scans.kind, cfg) if split == "train" else np.ones(len(samples))
        rows = zip(samples, subset.y_N.tolist(), weight_N.tolist(), strict=True)
        target_of = {sample.row.key: (float(y), weight) for sample, y, weight in rows}
        parts[split] = LabelledIndex(dataclasses.replace(index, samples=samples), subset, target_of)
    return parts


def _weights(subset: Subset, kind: str, cfg: FinetuneConfig) -> np.ndarray:
    train = Examples(np.zeros((len(subset.y_N), 1)), subset.y_N, subset.participants)
    if cfg.class_weights == "none":
        return np.ones(len(subset.y_N))
    return examples.even(train) if kind == NUMBERS else examples.balance(train)


def _job(
    cfg: FinetuneConfig,
    trained: TrainConfig,
    backend: Backend,
    parts: dict[str, LabelledIndex],
    arm: tuple[str, Encoder, LabelledScans, TrainedEncoder],
) -> Job:
    name, encoder, scans, checkpoint = arm
    y_N = scans.subsets["train"].y_N
    numbers = scans.kind == NUMBERS
    mean, std = (float(y_N.mean()), float(y_N.std()) or 1.0) if numbers else (0.0, 1.0)
    target = Target(scans.kind, 1 if numbers else len(scans.classes), mean, std)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("finetune", cfg.seed, name))
        model = FinetuneModel(encoder.float(), target)
    tokens = max(batch_shape(part.index, trained).tokens for part in parts.values())
    reader = ScanReader(trained, backend, encoder, tokens, cfg.views == "light")
    identity = {
        **{key: str(value) for key, value in fields.result_values(cfg).items() if key not in SCORING},
        "checkpoint": checkpoint.digest,
        "encoder": name,
        "train scans": parts["train"].index.digest,
        "val scans": parts["val"].index.digest,
        "labels": str(sorted(parts["train"].target_of.items())),
    }
    people = _trained_on(checkpoint if name == PRETRAINED else None, parts["train"])
    return Job(cfg, model, reader, parts, store.join(cfg.out, name), identity, people)


def _trained_on(checkpoint: TrainedEncoder | None, train: LabelledIndex) -> ParticipantDigests | None:
    """Those of the pretraining, if there was one, and those of train; None if the first are not known."""
    people = train.labels.participants
    if checkpoint is None:
        return digest_participants(people, train.index.digest)
    return checkpoint.participants and checkpoint.participants.including(people)


def _fitted(job: Job, name: str, on_progress: OnProgress) -> _Fitted:
    past = fit.fit(job, on_progress)
    trials = tuple(Trial({"epoch": epoch}, score) for epoch, score in enumerate(past.scores, start=1))
    width = job.model.head.in_features
    return _Fitted(name, (fit.predictions_of(job, "test"),), trials, past.losses, past.best, width)


def _compared(
    cfg: FinetuneConfig, scans: LabelledScans, arms: Sequence[_Fitted], origin: tuple[ScoredCheckpoint, str]
) -> FinetuneResult:
    """Scores on the same resamples of participants; the first arm against each of the others. origin: the
    checkpoint and its digest.
    """
    first, *others = arms
    resamples = scores.resample(first.predictions[0], cfg.bootstrap, rng_for(cfg.seed, "bootstrap"))
    metric = scores.primary(scans.kind)
    differences = {
        other.name: scores.difference(first.predictions, other.predictions, resamples) for other in others
    }
    chance = label_p(first.predictions[:1], cfg.bootstrap, rng_for(cfg.seed, "shuffled"))
    people = scans.counts[SPLITS.index("test")]
    participants = people.of_class or {cfg.label: people.participants}
    comparisons: dict[str, Verdict] = {}
    for other in others:
        swap_p = scores.swap_p(
            first.predictions, other.predictions, cfg.bootstrap, rng_for(cfg.seed, "swap", other.name)
        )
        gains = scores.seed_gains(first.predictions, other.predictions)
        gain = differences[other.name][metric]
        comparisons[other.name] = judge(Evidence(gain, swap_p, chance, participants, scans.kind, gains))
    sentences = tuple(
        verdict.sentence(name, differences[name][metric]) for name, verdict in comparisons.items()
    )
    return FinetuneResult(
        label=cfg.label, kind=scans.kind, classes=scans.classes, counts=scans.counts, dropped=scans.dropped,
        checkpoint=cfg.checkpoint, checkpoint_digest=origin[1], scored=origin[0],
        arms=tuple(arm.scored(scans, resamples) for arm in arms),
        differences=differences, comparisons=comparisons, headline=headline(comparisons), verdicts=sentences,
        predictions={arm.name: _by_name(arm.predictions[0]) for arm in arms},
        losses={arm.name: arm.losses for arm in arms}, shuffled_p=chance,
        notes=_notes(scans, cfg, origin[0]), config=fields.result_values(cfg),
    )  # fmt: skip


def _by_name(predictions: Predictions) -> dict[str, list[float]]:
    names = predictions.units or predictions.participants
    return dict(zip(names, predictions.p_PC.tolist(), strict=True))


def _notes(scans: LabelledScans, cfg: FinetuneConfig, scored: ScoredCheckpoint) -> tuple[str, ...]:
    controls = "Random encoders are trained by the same recipe, from other first weights."
    if not cfg.random_draws:
        controls = "No control: random_draws=0, so nothing says what pretraining gave."
    people = scans.counts[SPLITS.index("test")].participants
    return (controls, *notes.of_labels(scans, cfg.label), notes.of_seen(scored, people))

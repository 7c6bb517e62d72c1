"""One arm against its controls: paired differences, shuffled labels, verdicts, and what may be a shortcut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.config.eval import StudyConfig
from octshard.eval import head_probe
from octshard.eval.arms import FeatureArm
from octshard.eval.controls import PROVENANCE, provenance_alone, provenance_reading, shuffled
from octshard.eval.controls.provenance import Provenance
from octshard.eval.controls.provenance_reading import Reading
from octshard.eval.controls.shuffled import Control
from octshard.eval.head_probe import HeadProbe, ProbedArm
from octshard.eval.probe_result import Arm
from octshard.eval.verdict import Evidence, Verdict, headline, judge, shared
from octshard.probes import scores
from octshard.probes.head import HeadSpec
from octshard.probes.labels import SPLITS, LabelledScans
from octshard.probes.scores import Estimate, Resamples
from octshard.probes.targets import CLASSES
from octshard.progress import OnProgress
from octshard.rng import rng_for


@dataclass(frozen=True, eq=False)
class Exam:
    """What every arm of a head is asked: the labels of scans, by one head, with the same resamples."""

    scans: LabelledScans
    provenance: Provenance
    spec: HeadSpec
    cfg: StudyConfig
    resamples: Resamples

    @property
    def metric(self) -> str:
        """The score that decides."""
        return scores.primary(self.scans.kind)

    @property
    def participants(self) -> Mapping[str, int]:
        """In test, of each class, or all under the name of the label if it is a number."""
        test = self.scans.counts[SPLITS.index("test")]
        return test.of_class or {self.cfg.label: test.participants}


@dataclass(frozen=True)
class ArmVerdict:
    """shuffled: its features with labels that mean nothing; differences: the arm minus each control, paired
    over participants; comparisons: the verdict on each; readings: how well its features tell site and device.
    """

    name: str
    shuffled: Control
    differences: Mapping[str, Mapping[str, Estimate]]
    comparisons: Mapping[str, Verdict]
    readings: tuple[Reading, ...]

    @property
    def headline(self) -> str:
        """The verdict on all controls in a sentence."""
        return headline(self.comparisons, self.name)

    @property
    def sentence(self) -> str:
        """As the headline, with what speaks against telling the arm from its controls."""
        untold = [verdict for verdict in self.comparisons.values() if verdict.reasons]
        if not untold:
            return self.headline
        common = shared(untold)
        every = len(untold) == len(self.comparisons)
        start = f"Cannot tell {self.name} from any control" if every and common else self.headline[:-1]
        texts = common or list(dict.fromkeys(next(iter(verdict.reasons.values())) for verdict in untold))
        return f"{start}: {'; '.join(texts)}."

    def sentences(self, metric: str) -> tuple[str, ...]:
        """The verdict on each control, with reasons."""
        return tuple(
            verdict.sentence(name, self.differences[name][metric], self.name)
            for name, verdict in self.comparisons.items()
        )

    def provenance(self, label: str, arms: Sequence[Arm]) -> tuple[str, ...]:
        """What is said of shortcuts; the first sentence is that on the target. arms: all that were scored."""
        alone = [
            provenance_alone.sentence(
                label, next(iter(arm.score.metrics.values())), self.comparisons[PROVENANCE], self.name
            )
            for arm in arms
            if arm.name == PROVENANCE
        ]
        return (*alone, *(reading.sentence(self.name) for reading in self.readings))


def exam(
    probed: ProbedArm, scans: LabelledScans, provenance: Provenance, spec: HeadSpec, cfg: StudyConfig
) -> Exam:
    """The one that this arm has been asked."""
    resamples = scores.resample(probed.predictions[0], cfg.bootstrap, rng_for(cfg.seed, "bootstrap"))
    return Exam(scans, provenance, spec, cfg, resamples)


def shuffled_control(probed: ProbedArm, asked: Exam, on_progress: OnProgress) -> Control:
    """The first draw of the arm with labels that mean nothing, beside what it scores with the true ones."""
    first = probed.predictions[0]
    own = scores.measure(first, scores.once(first))[asked.metric][0]
    parts = head_probe.parts(asked.scans, probed.arm.draws[0])
    deals = shuffled.Deals(asked.cfg.shuffles, asked.cfg.seed)
    return shuffled.control(parts, HeadProbe(asked.spec), float(own), deals, on_progress)


def verdict_on(probed: ProbedArm, others: Sequence[ProbedArm], control: Control, asked: Exam) -> ArmVerdict:
    """The arm against each of `others`. control: of its own features."""
    differences, comparisons, cfg = {}, {}, asked.cfg
    for other in others:
        runs = probed.predictions, other.predictions
        differences[other.name] = scores.difference(*runs, asked.resamples)
        comparisons[other.name] = judge(
            Evidence(
                differences[other.name][asked.metric],
                scores.swap_p(*runs, cfg.bootstrap, rng_for(cfg.seed, "swap", other.name)),
                control.p_value,
                asked.participants,
                asked.scans.kind,
                scores.seed_gains(*runs),
            )
        )
    return ArmVerdict(probed.name, control, differences, comparisons, _readings(probed.arm, asked))


def _readings(arm: FeatureArm, asked: Exam) -> tuple[Reading, ...]:
    cfg = asked.cfg

    def draw(people: int) -> np.ndarray:
        rng = rng_for(cfg.seed, "provenance")
        return scores.draw_resamples(np.zeros(people, np.int64), cfg.bootstrap, rng)

    ask = HeadProbe(HeadSpec(asked.spec.cfg, CLASSES, asked.spec.seed))
    return provenance_reading.read(arm.draws[0], asked.provenance, asked.scans, ask, draw)

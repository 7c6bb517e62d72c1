"""The result of a probe (ProbeResult) and its two files: probe.json for machines, probe.html for people.

The page says which features win, by how much, how sure that is, and on how many participants; it names no
winner where `verdict` has a reason against it. Self-contained.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octshard.eval.verdict import MAX_P, MIN_PARTICIPANTS, Verdict, bracketed
from octshard.probes import build
from octshard.probes.head import CLASSES, Setting, Trial
from octshard.probes.labels import SplitCounts
from octshard.probes.scores import Estimate, Score
from octshard.report.page import Cell, Html, Section, grid, numeral, page, table
from octshard.report.plots import interval_plot, line_plot

TITLES = {
    "macro_auroc": "macro AUROC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "kappa": "kappa",
    "ece": "calibration error",
}
METHOD = (
    "The encoder is frozen. Features are the mean over the tokens that hold part of the volume, standardised "
    "on train. {method} Its settings are the ones with the best macro AUROC on val; a tie goes to the "
    "simpler. Test participants are scored once: the probabilities of a person's scans are averaged, so each "
    "person counts once.",
    "Brackets hold the 95 % percentile interval over resamples of the test participants, drawn with "
    "replacement within each class; they do not show the luck of training or of the split. Differences are "
    "paired: the same resamples on both sides. For shuffled labels they hold the 95 % range over deals. "
    "Macro AUROC is the mean of one class against the rest; 0.5 is chance. Low calibration error is good.",
    f"Better or worse is said only with at least {MIN_PARTICIPANTS} test participants in every class, an "
    f"interval of the difference that has a width and leaves out 0, and p of at most {MAX_P} in a "
    "permutation test: ranks of the two sets of features, swapped participant by participant. Better also "
    f"needs p of at most {MAX_P} against shuffled labels.",
    "random-init is the same architecture with random weights; raw-intensity is a histogram, moments, "
    "percentiles and coarse en face and B-scan averages of the same voxels; shuffled labels are the "
    "pretrained features with the classes of train and val participants dealt at random.",
)


@dataclass(frozen=True)
class Arm:
    """One set of features, probed: the setting chosen, the score of each on val, its score on test."""

    name: str
    features: int
    choice: Setting
    trials: tuple[Trial, ...]
    converged: bool
    score: Score


@dataclass(frozen=True)
class Control:
    """The pretrained features with permuted labels: mean and 95 % range over the permutations (deals).

    `reached`: deals whose macro AUROC is at least the true labels'; p_value = (1 + reached) / (1 + deals).
    """

    deals: int
    metrics: Mapping[str, Estimate]
    reached: int
    p_value: float


@dataclass(frozen=True)
class ScoredCheckpoint:
    """The file scored. seen_people: test participants it was pretrained on; None where it does not say."""

    path: str
    step: int
    samples_seen: int
    seen_people: int | None

    def text(self) -> str:
        """For people: which weights these numbers are of."""
        return f"Checkpoint {self.path}: step {self.step}, {self.samples_seen} samples seen"


@dataclass(frozen=True)
class ProbeResult:
    """All that probe.json holds. `differences`: pretrained minus each baseline, paired over participants;
    `comparisons`: the verdict on each; `verdicts`: the same in sentences.
    """

    label: str
    classes: tuple[str, ...]
    counts: tuple[SplitCounts, ...]
    dropped: Mapping[str, int]  # scans without a label, by why
    checkpoint: str
    checkpoint_digest: str
    scored: ScoredCheckpoint
    arms: tuple[Arm, ...]
    shuffled: Control
    differences: Mapping[str, Mapping[str, Estimate]]
    comparisons: Mapping[str, Verdict]
    verdicts: tuple[str, ...]
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    def text(self) -> str:
        """For a terminal: macro AUROC and balanced accuracy of each arm, the verdicts, the notes."""
        arms = {arm.name: arm.score.metrics for arm in self.arms} | {"shuffled labels": self.shuffled.metrics}
        shown = ("macro_auroc", "balanced_accuracy")
        lines = [f"{self.label:<16}" + "".join(f"{TITLES[metric]:<24}" for metric in shown)]
        for name, metrics in arms.items():
            lines.append(f"{name:<16}" + "".join(f"{bracketed(metrics[metric]):<24}" for metric in shown))
        lines += [*self.verdicts, *self.notes, f"{self.scored.text()}."]
        return "\n".join(line.rstrip() for line in lines)


def as_json(result: ProbeResult) -> str:
    """probe.json: the fields of the result; what is not defined is null."""
    return json.dumps(_plain(dataclasses.asdict(result)), indent=1, allow_nan=False) + "\n"


def render(result: ProbeResult) -> str:
    """probe.html: the page of one probe."""
    test = next(count for count in result.counts if count.split == "test")
    lead = (
        f"Can {readable(result.label)} be read off frozen features? {test.participants} test participants, "
        f"{test.scans} scans, {len(result.classes)} classes."
    )
    winner: tuple[Html | str, ...] = (
        *result.verdicts,
        _permutation(result),
        *map(readable, result.notes),
        auroc_plot(result),
    )
    sections = [
        Section("Who wins", winner),
        Section("Scores on test participants", (scores(result), _differences(result))),
        Section("One class against the rest", (_per_class(result),)),
        Section("Confusion", tuple(_confusion(result, arm) for arm in result.arms)),
        Section("Participants and scans", (_counts(result),)),
        Section("Choice of settings on val", (_trials(result),)),
        Section("How this was measured", (*_method(result), _origin(result))),
    ]
    return page(f"Linear probe: {readable(result.label)}", lead, sections)


def auroc_plot(result: ProbeResult) -> Html:
    """Macro AUROC of every arm as a dot with its interval."""
    estimates = {arm.name: arm.score.metrics["macro_auroc"] for arm in result.arms}
    estimates["shuffled labels"] = result.shuffled.metrics["macro_auroc"]
    points = {name: (estimate.value, estimate.low, estimate.high) for name, estimate in estimates.items()}
    chart = interval_plot(points, "macro AUROC", 0.5)
    return chart.html("Dots with 95 % intervals; the dashed line is chance.")


def scores(result: ProbeResult) -> Html:
    """The table of every metric of every arm."""
    metrics_by_name = {arm.name: arm.score.metrics for arm in result.arms}
    metrics_by_name["shuffled labels"] = result.shuffled.metrics
    return table(
        ["features", *TITLES.values()],
        [_metrics(name, metrics) for name, metrics in metrics_by_name.items()],
        "",
    )


def readable(name: str) -> str:
    """A class or column name with spaces, so that it may wrap."""
    return name.replace("_", " ")


def _metrics(name: str, metrics: Mapping[str, Estimate]) -> list[Cell]:
    return [name, *(numeral(bracketed(metrics[metric])) for metric in TITLES)]


def _permutation(result: ProbeResult) -> str:
    control = result.shuffled
    return (
        f"With labels dealt at random the same features give a macro AUROC of "
        f"{bracketed(control.metrics['macro_auroc'])}; {control.reached} of {control.deals} deals reached "
        f"the value of the true labels (permutation p = {control.p_value:.3f})."
    )


def _differences(result: ProbeResult) -> Html:
    rows = [_metrics(f"pretrained − {name}", metrics) for name, metrics in result.differences.items()]
    note = "Above 0: pretrained is higher (for calibration error, worse)."
    return table(["difference", *TITLES.values()], rows, note)


def _per_class(result: ProbeResult) -> Html:
    rows: list[list[Cell]] = []
    for name in result.classes:
        estimates = [arm.score.auroc_of.get(name) for arm in result.arms]
        rows.append([readable(name), *(numeral(bracketed(e) if e else "–") for e in estimates)])
    note = "AUROC of the class against all others; a dash where no test participant has it."
    return table(["class", *(arm.name for arm in result.arms)], rows, note)


def _confusion(result: ProbeResult, arm: Arm) -> Html:
    rows = [f"{i} {readable(name)}" for i, name in enumerate(result.classes, start=1)]
    columns = [str(i) for i in range(1, len(rows) + 1)]
    caption = (
        f"{arm.name}: test participants by true class (row, by which it is shaded) and most probable class."
    )
    return grid(rows, columns, arm.score.confusion, caption)


def _counts(result: ProbeResult) -> Html:
    rows: list[list[Cell]] = [
        ["scans", *(count.scans for count in result.counts)],
        ["participants", *(count.participants for count in result.counts)],
    ]
    for name in result.classes:
        rows.append([f"participants: {readable(name)}", *(n.of_class[name] for n in result.counts)])
    dropped = "; ".join(f"{why}: {n}" for why, n in result.dropped.items())
    headers = ["labelled", *(count.split for count in result.counts)]
    return table(headers, rows, f"Scans left out: {dropped}.")


def _trials(result: ProbeResult) -> Html:
    """A line for each arm where the setting is one number, a table else."""
    keys = list(result.arms[0].choice)
    if keys == ["C"]:
        lines = {
            f"{arm.name} (C = {arm.choice['C']:g})": (
                [math.log10(trial.setting["C"]) for trial in arm.trials],
                [trial.score for trial in arm.trials],
            )
            for arm in result.arms
        }
        return line_plot(lines, "log10 C (to the right: weaker regularisation)", "macro AUROC on val").html()
    rows: list[list[Cell]] = [
        [*(str(trial.setting[key]) for key in keys), *(_val_score(arm, i) for arm in result.arms)]
        for i, trial in enumerate(result.arms[0].trials)
    ]
    return table([*keys, *(arm.name for arm in result.arms)], rows, "Macro AUROC on val; * the choice.")


def _val_score(arm: Arm, i: int) -> Cell:
    trial = arm.trials[i]
    return numeral(f"{trial.score:.3f}{' *' if trial.setting == arm.choice else ''}")


def _method(result: ProbeResult) -> tuple[str, ...]:
    method = build.method(result.config["head"], CLASSES)
    return tuple(paragraph.format(method=method) for paragraph in METHOD)


def _origin(result: ProbeResult) -> str:
    digest, seed = result.checkpoint_digest[:16], result.config["seed"]
    return f"{result.scored.text()}, sha256 {digest}; seed {seed}."


def _plain(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

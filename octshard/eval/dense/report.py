"""The result of `segment` or `translate`, and its two files: .json for machines, .html for people."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octshard.config import fields
from octshard.config.dense import SegmentConfig
from octshard.dataset.tables import SampleRow
from octshard.eval import json_text
from octshard.eval.dense.comparison import ArmScores, Comparison
from octshard.eval.dense.study import Config, FittedArms, Study
from octshard.eval.probe_result import ScoredCheckpoint
from octshard.eval.verdict import MAX_P, MIN_PARTICIPANTS, bracketed
from octshard.report.page import Cell, Html, Section, numeral, page, picture, side_by_side, table
from octshard.report.plots import line_plot
from octshard.storage import store

TITLES = {"segment": "Segmentation from frozen tokens", "translate": "OCT to OCTA from frozen tokens"}
METHOD = {
    "segment": (
        "dice: of the classes that a scan has, their mean. boundary_um: distance in depth between true and "
        "predicted boundary, mean over A-scans; the boundary is the row at which the fewest voxels of an "
        "A-scan are on the wrong side. surface_um: mean distance of surfaces, of lesions that both have. "
        "false_mm3: predicted of a lesion in scans without it. Fitted by cross-entropy, weighted by class, "
        "plus 1 - Dice."
    ),
    "translate": (
        "Pictures from above, 0 to 1. psnr_db: of peak 1. ssim: Wang et al. 2004. correlation: Pearson. "
        "Fitted by 0.84 (1 - SSIM) + 0.16 L1 (Zhao et al. 2017)."
    ),
}
COLOURS = np.array(
    [
        (16, 16, 24), (31, 95, 168), (194, 87, 26), (43, 122, 75), (138, 63, 143), (200, 180, 60),
        (59, 127, 140), (120, 40, 40), (90, 90, 110), (240, 220, 120), (90, 200, 250), (250, 120, 160),
    ], np.uint8,
)  # fmt: skip
PADDING_COLOUR = (128, 128, 128)


@dataclass(frozen=True)
class ArmFit:
    """How one head was fitted, at the lr that val chose. loss: on val, of the epoch whose weights count."""

    source: str
    head: str
    lr: float
    parameters: int
    epochs: int
    best_epoch: int
    loss: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class DenseResult:
    """All that the .json holds. scans, without_map: of each split, those used and those without a map."""

    task: str
    scored: ScoredCheckpoint
    checkpoint_digest: str
    scans: Mapping[str, int]
    people: Mapping[str, int]
    without_map: Mapping[str, int]
    class_weights: Mapping[str, float]
    arms: tuple[ArmScores, ...]
    fits: tuple[ArmFit, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def main_scores(self) -> tuple[str, ...]:
        """Those that a terminal shows: of no single class."""
        return tuple(name for name in self.arms[0].metrics if " " not in name)

    def text(self) -> str:
        """For a terminal."""
        lines = ["".join(f"{name:<24}  " for name in ("head on source", *self.main_scores))]
        for arm in self.arms:
            values = (bracketed(arm.metrics[name]) for name in self.main_scores)
            lines.append("".join(f"{text:<24}  " for text in (f"{arm.head} on {arm.source}", *values)))
        lines += [*(each.sentence for each in self.comparisons), *self.notes, f"{self.scored.text()}."]
        return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True, eq=False)
class Strip:
    """Pictures of one test scan beside each other, labels or values from 0 to 1. pixel_mm: of their rows and
    columns, nan where it is not known: pixels are square then.
    """

    key: str
    pictures: Mapping[str, np.ndarray]
    pixel_mm: Sequence[float]


def result(
    task: str,
    work: Study,
    fitted: FittedArms,
    scores: tuple[Sequence[ArmScores], Sequence[Comparison]],
    cfg: Config,
    class_weights: Mapping[str, float],
) -> DenseResult:
    """What there is to say."""
    arms, comparisons = scores
    fits = tuple(
        ArmFit(
            arm.source.name,
            arm.head,
            arm.lr,
            sum(p.numel() for p in arm.module.parameters()),
            len(arm.val_losses),
            arm.best_epoch,
            arm.val_losses[arm.best_epoch - 1],
            tuple(filter(math.isfinite, arm.val_losses)),
        )
        for arm in fitted.arms
    )
    samples = {split: index.samples for split, index in work.indexes.items()}
    return DenseResult(
        task=task,
        scored=work.scored,
        checkpoint_digest=work.checkpoint.digest,
        scans={split: len(refs) for split, refs in samples.items()},
        people={split: len({ref.row.participant for ref in refs}) for split, refs in samples.items()},
        without_map=work.without,
        class_weights=class_weights,
        arms=tuple(arms),
        fits=fits,
        comparisons=tuple(comparisons),
        notes=tuple(_notes(work, fits, cfg)),
        config=fields.result_values(cfg),
    )


def write(result: DenseResult, out: str, strip: Strip | None) -> None:
    """Both files below `out`."""
    text = json_text.text_of(dataclasses.asdict(result))
    store.write(store.join(out, f"{result.task}.json"), text.encode())
    store.write(store.join(out, f"{result.task}.html"), render(result, strip).encode())


def render(result: DenseResult, strip: Strip | None) -> str:
    """The page."""
    lead = (
        f"What small heads read off frozen tokens: {result.people['test']} test participants, "
        f"{result.scans['test']} scans."
    )
    sentences = tuple(each.sentence for each in result.comparisons)
    sections = [
        Section("Who wins", (*sentences, *result.notes)),
        Section("Scores on test participants", _score_tables(result)),
        *([Section("One test scan", (_pictures(strip),))] if strip else []),
        Section("Fits", (_fits(result), _losses(result))),
        Section("How this was measured", _method(result)),
    ]
    return page(TITLES[result.task], lead, sections)


def _notes(work: Study, fits: Sequence[ArmFit], cfg: Config) -> list[str]:
    notes = [*work.left_out.notes]
    if sum(work.without.values()):
        counts = ", ".join(f"{split} {n}" for split, n in work.without.items())
        notes.append(f"Scans left out, because they have no map: {counts}.")
    if isinstance(cfg, SegmentConfig):
        rows = [ref.row for ref in work.indexes["test"].samples]
        notes += filter(None, [without_lengths(rows)])
    if work.scored.seen_people is None:
        notes.append(
            "Unknown whether the encoder was pretrained on test participants: its file does not say."
        )
    elif work.scored.seen_people:
        notes.append(f"The encoder was pretrained on {work.scored.seen_people} of the test participants.")
    if late := [f"{fit.head} on {fit.source}" for fit in fits if fit.best_epoch == cfg.heads.epochs]:
        notes.append(f"Best in the last epoch, so more may be better: {', '.join(late)}.")
    if cfg.heads.random_draws == 1:
        notes.append("random-init is one draw: heads.random_draws=5 shows how far draws differ.")
    return notes


def without_lengths(rows: Sequence[SampleRow]) -> str:
    """How many test scans have no scores in mm, or only those along depth; empty if all have all."""
    lacking = [row for row in rows if row.known_spacing is None]
    slices = sum(bool(row.slice_axis) and not row.assumed_spacing for row in lacking)
    counts = {"whose spacing is not known have no lengths": len(lacking) - slices}
    counts["of slices that are no stack have no surface_um and false_mm3"] = slices
    parts = [f"{count} of {len(rows)} {text}" for text, count in counts.items() if count]
    return f"Test scans: {'; '.join(parts)}." if parts else ""


def _score_tables(result: DenseResult) -> tuple[Html | str, ...]:
    names = list(result.arms[0].metrics)
    groups = [result.main_scores]
    for group in dict.fromkeys(name.split(" ")[0] for name in names if " " in name):
        groups.append(tuple(name for name in names if name.startswith(f"{group} ")))
    return tuple(_score_table(result, group) for group in groups)


def _score_table(result: DenseResult, names: Sequence[str]) -> Html:
    """Scores as rows, arms as columns: there are more classes than arms."""
    columns = [f"{arm.head} on {arm.source}" for arm in result.arms]
    rows: list[list[Cell]] = [
        [name, *(numeral(bracketed(arm.metrics[name])) for arm in result.arms)] for name in names
    ]
    for each in result.comparisons:
        columns.append(f"{each.head}: pretrained − {each.control}")
        for row, name in zip(rows, names, strict=True):
            row.append(numeral(bracketed(each.differences[name])))
    return table(["score", *columns], rows, "")


def _pictures(strip: Strip) -> Html:
    parts = []
    for name, values in strip.pictures.items():
        if values.dtype == np.uint8:
            shown = COLOURS[values % len(COLOURS)]
            shown[values == 255] = PADDING_COLOUR
        else:
            shown = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        rows, columns = values.shape
        rows_mm, columns_mm = strip.pixel_mm if all(map(math.isfinite, strip.pixel_mm)) else (1.0, 1.0)
        aspect = columns * columns_mm / (rows * rows_mm)
        parts.append(picture(shown, f"{name} of {strip.key}", name, aspect))
    return side_by_side(parts)


def _fits(result: DenseResult) -> Html:
    rows: list[list[Cell]] = [
        [f"{fit.head} on {fit.source}", fit.parameters, f"{fit.lr:g}", fit.epochs, fit.best_epoch, fit.loss]
        for fit in result.fits
    ]
    return table(["head", "weights", "lr", "epochs", "best epoch", "loss on val"], rows, "")


def _losses(result: DenseResult) -> Html:
    lines = {
        f"{fit.head} on {fit.source}": (list(range(1, len(fit.losses) + 1)), list(fit.losses))
        for fit in result.fits
    }
    return line_plot(lines, "epoch", "loss on val").html()


def _method(result: DenseResult) -> tuple[str, ...]:
    counts = ", ".join(f"{split} {n}" for split, n in result.scans.items())
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in result.class_weights.items())
    return (
        "The encoder is frozen; of a volume it reads the tokens that hold part of it, and features are "
        "standardised on train. linear: of each token at several depths the voxels of its patch. unetr: a "
        "decoder over several depths"
        + (", and over the voxels. " if result.config["heads.voxels"] else ". ")
        + "raw-intensity: the same heads on the voxels of each patch in place of features; random-init: on "
        "an encoder of the same form with random weights. Heads keep the weights of the epoch with the "
        "lowest loss on val, and so of several learning rates. Test volumes are read whole, in windows that "
        "overlap.",
        METHOD[result.task],
        "Each score is the mean over people who have it, of the mean over their scans; brackets hold the "
        "95 % percentile interval over resamples of people. Differences are paired. Better or worse is said "
        f"with at least {MIN_PARTICIPANTS} people, an interval that leaves out 0, and p of at most {MAX_P} "
        "if signs of differences are flipped at random.",
        f"Scans: {counts}." + (f" Weights of classes: {weights}." if weights else ""),
        f"{result.scored.text()}, sha256 {result.checkpoint_digest[:16]}; seed {result.config['seed']}.",
    )

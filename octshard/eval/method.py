"""How a probe is measured, in words for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from octshard.eval.controls import MEANINGS, RANDOM, SLICES
from octshard.eval.controls.shuffled import NAME as SHUFFLED
from octshard.eval.verdict import MAX_P, MIN_NUMBERS, MIN_PARTICIPANTS
from octshard.probes import build
from octshard.probes.head import metric
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL

SCORES = {
    CLASSES: "Macro AUROC is the mean of one class against the rest; 0.5 is chance. Low calibration error "
    "and Brier score are good.",
    ORDINAL: "Quadratic kappa is agreement beyond chance, which is 0; a miss counts by the square of its "
    "levels. The mean absolute error is in levels.",
    NUMBERS: "R² is 1 less the squared error over the variance in test; 0 is the mean of all, and less is "
    "possible. The mean absolute error is in the unit of the label.",
}
FEATURES = (
    "The encoder is frozen. Features are {pooled} the tokens that hold part of the scan ({view}), "
    "standardised on train. {head} Its settings are the ones with the best {choice} on val; a tie goes to "
    "the simpler. Test participants are scored once: what is said of the scans of a label is averaged."
)
POOLED = {
    "mean": "the mean over",
    "mean_std": "the mean and the standard deviation over",
    "max": "the maximum over",
}
VIEWED = {"whole": "all of it, in tiles where it is larger than an image", "centre": "its centre"}
INTERVALS = (
    "Brackets hold a 95 % interval: Student's t with the standard error over resamples of the test "
    "participants, drawn with replacement within each class, on a scale without bounds (logit for rates). "
    "Where an arm has several draws, its value is their mean and the interval holds their spread too. It "
    "does not show the luck of a single training, or of the split. Differences are paired: the same "
    "resamples on both sides. For shuffled labels brackets hold the 95 % range over deals. "
)
VERDICT = (
    f"Better or worse is said only with at least {MIN_PARTICIPANTS} test participants in every class (of "
    f"numbers {MIN_NUMBERS}), an interval of the difference that has a width and leaves out 0, and p of at "
    f"most {MAX_P} in a permutation test: the two sets of features, swapped participant by participant; of "
    f"several draws every one must lie on that side. Better also needs p of at most {MAX_P} against shuffled "
    "labels."
)


def paragraphs(config: Mapping[str, Any], kind: str, controls: Sequence[str]) -> tuple[str, ...]:
    """config: of the probe; kind: of the label; controls: names of the arms beside pretrained."""
    return of_heads(config, kind, (config["head"],), controls)


def of_heads(
    config: Mapping[str, Any], kind: str, heads: Sequence[str], controls: Sequence[str]
) -> tuple[str, ...]:
    """The same of several heads on one config."""
    meanings = [f"{name} is {_meaning(name)}" for name in controls]
    shuffled = f"{SHUFFLED} are the trained features, with the labels of train and val dealt at random"
    pooled = "all" if set(heads) <= set(build.TOKENS) else POOLED[config["pooling"]]
    if len(several := set(heads) & set(build.TOKENS)) < len(heads) and several:
        pooled += f" (for {' and '.join(sorted(several))}: all)"
    features = FEATURES.format(
        head=" ".join(_head(head, kind, several=len(heads) > 1) for head in heads),
        choice=metric(kind),
        pooled=pooled,
        view=VIEWED[config["view"]],
    )
    return features, INTERVALS + SCORES[kind], VERDICT, f"Controls: {'; '.join((*meanings, shuffled))}."


def _head(head: str, kind: str, *, several: bool) -> str:
    text = build.method(head, kind)
    return f"{head}: {text[0].lower()}{text[1:]}" if several else text


def _meaning(control: str) -> str:
    if control.startswith(RANDOM):
        return MEANINGS[RANDOM]
    return MEANINGS.get(control, SLICES)

"""A probe's choice and its intervals, beside scikit-learn doing the same: CPU time.

Made-up features of people with 4 classes, one scan each. Both fit a logistic regression for each value of C,
choose by macro AUROC, and score the test people with intervals over the same resamples of them.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from command import benchmark
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from table import SectionResult, Table, Timing, at_most, clock, report

from octshard.config.head import AttentiveConfig, GridConfig, HeadConfig, MlpConfig
from octshard.probes import build, head, linear, scores
from octshard.probes.examples import Examples
from octshard.probes.head import CLASSES, HeadSpec
from octshard.rng import rng_for

SECTIONS = ("logistic", "grid")
CLASS_COUNT, SIGNAL = 4, 0.05
PARTS = {"train": 0.6, "val": 0.2, "test": 0.2}
FOLDS = 5
LIMIT_S = 20.0


class Size(NamedTuple):
    """How much is fitted and drawn."""

    people: int
    features: int
    strengths: int
    resamples: int
    tokens: int
    width: int
    epochs: int


FULL = Size(2000, 768, 40, 2000, 200, 384, 3)
QUICK = Size(400, 64, 8, 50, 20, 64, 1)


def made(name: str, count: int, width: int) -> Examples:
    """Correlated features, of which some hold a little of the class."""
    rng, shared = rng_for("benchmark", name), rng_for("benchmark")
    y_N = rng.integers(0, CLASS_COUNT, count)
    mixing_LF = shared.normal(size=(width // 8, width))
    x_NF = rng.normal(size=(count, width // 8)) @ mixing_LF + rng.normal(size=(count, width))
    x_NF += SIGNAL * shared.normal(size=(CLASS_COUNT, width))[y_N]
    return Examples(x_NF.astype(np.float32), y_N, tuple(f"{name}{n}" for n in range(count)))


class Route(NamedTuple):
    """One way to the same answer."""

    name: str
    fits: Timing
    bootstrap: Timing
    auroc: float

    @property
    def cpu_s(self) -> float:
        """Of all."""
        return self.fits.cpu_s + self.bootstrap.cpu_s

    def row(self, ours: float) -> tuple[Any, ...]:
        """Beside the CPU seconds of ours."""
        wall_s = self.fits.wall_s + self.bootstrap.wall_s
        ratio = self.cpu_s / ours
        return (
            self.name,
            self.fits.cpu_s,
            self.bootstrap.cpu_s,
            self.cpu_s,
            wall_s,
            ratio,
            f"{self.auroc:.4f}",
        )


def logistic(size: Size) -> SectionResult:
    """Ours, and scikit-learn's with the same val people or with folds; it fits train + val once more."""
    parts = {name: made(name, int(share * size.people), size.features) for name, share in PARTS.items()}
    strengths = np.geomspace(1e-4, 1e2, size.strengths)
    spec = HeadSpec(HeadConfig(regularisation=strengths.tolist()), CLASSES, 0)
    with clock() as our_fits:
        predictions = head.predict(build.fit(spec, parts["train"], parts["val"]), parts["test"])
    with clock() as our_bootstrap:
        weight_RP = scores.draw_resamples(predictions.y_P, size.resamples, rng_for("resamples"))
        ours = scores.measure(predictions, weight_RP)
    with clock() as their_bootstrap:
        theirs = bootstrap(predictions, weight_RP)
    apart = max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)
    routes = [Route("octshard", our_fits, our_bootstrap, scores.macro_auroc(predictions))]
    counts = [len(parts[name].y_N) for name in ("train", "val")]
    for name, folds in (
        ("the same val people", PredefinedSplit(np.repeat([-1, 0], counts))),
        (f"{FOLDS} folds", FOLDS),
    ):
        fits, auroc = their_fits(parts, strengths, folds)
        routes.append(Route(f"scikit-learn, {name}", fits, their_bootstrap, auroc))
    columns = ("route", "fits, CPU s", "bootstrap, CPU s", "both, CPU s", "both, clock s", "to ours, CPU",
               "macro AUROC")  # fmt: skip
    work = f"{size.strengths} values of C x {size.resamples} resamples"
    title = f"{work}, {size.people} people x {size.features} features"
    total = routes[0].cpu_s
    targets = [
        at_most("40 values of C x 2000 resamples, CPU", LIMIT_S, total if size is FULL else None, "s"),
        at_most("a metric's largest difference in a resample", 1e-12, apart, ""),
    ]
    return [Table(title, columns, tuple(route.row(total) for route in routes))], targets


def their_fits(parts: Mapping[str, Examples], strengths: np.ndarray, folds: Any) -> tuple[Timing, float]:
    """The time of scikit-learn's choice of C, and its macro AUROC on test."""
    x_NF, y_N = (
        np.concatenate([getattr(parts[name], what) for name in ("train", "val")]) for what in ("x_NF", "y_N")
    )
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=strengths, l1_ratios=(0,), cv=folds, scoring="roc_auc_ovr", max_iter=linear.ITERATIONS,
            use_legacy_attributes=False,
        ),
    )  # fmt: skip
    with clock() as timing, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_NF.astype(np.float64), y_N)
        p_NC = model.predict_proba(parts["test"].x_NF.astype(np.float64))
    return timing, float(roc_auc_score(parts["test"].y_N, p_NC, multi_class="ovr"))


def bootstrap(predictions: scores.Predictions, weight_RP: np.ndarray) -> Mapping[str, np.ndarray]:
    """The metrics that scikit-learn has, one resample after the other."""
    y_P, p_PC = predictions.y_P, predictions.p_PC
    values: dict[str, list[float]] = {"macro_auroc": [], "balanced_accuracy": [], "macro_f1": [], "kappa": []}
    for weight_P in weight_RP:
        rows = np.repeat(np.arange(len(y_P)), weight_P)
        y, p = y_P[rows], p_PC[rows]
        guess = p.argmax(1)
        values["macro_auroc"].append(roc_auc_score(y, p, multi_class="ovr"))
        values["balanced_accuracy"].append(balanced_accuracy_score(y, guess))
        values["macro_f1"].append(f1_score(y, guess, average="macro"))
        values["kappa"].append(cohen_kappa_score(y, guess))
    return {name: np.array(of_resamples) for name, of_resamples in values.items()}


def grid(size: Size) -> SectionResult:
    """A grid of 12 at once, and its members one after the other."""
    rows: list[tuple[Any, ...]] = []
    for name in ("mlp", "attentive"):
        train, val = (
            of_tokens(made(part, size.people // 10, size.width), size, name) for part in ("train", "val")
        )
        pairs = [(lr, decay) for lr in GridConfig().lr for decay in GridConfig().weight_decay]
        fit_grid(name, {"epochs": 1, "lr": [1e-3], "weight_decay": [0.1]}, train, val)  # torch gets ready
        with clock() as at_once:
            fit_grid(name, {"epochs": size.epochs}, train, val)
        with clock() as alone:
            for lr, decay in pairs:
                fit_grid(name, {"epochs": size.epochs, "lr": [lr], "weight_decay": [decay]}, train, val)
        shape = " x ".join(map(str, train.x_NF.shape))
        rows.append((name, shape, len(pairs), at_once.cpu_s, alone.cpu_s, alone.cpu_s / at_once.cpu_s))
    columns = ("head", "features", "members", "at once, CPU s", "one by one, CPU s", "ratio")
    return [Table(f"Learning rates x weight decays, epochs: {size.epochs}", columns, tuple(rows))], []


def fit_grid(name: str, settings: Mapping[str, Any], train: Examples, val: Examples) -> None:
    """One head, by its grid."""
    cfg = HeadConfig(head=name, mlp=MlpConfig(**settings), attentive=AttentiveConfig(**settings))
    build.fit(HeadSpec(cfg, CLASSES, 0), train, val)


def of_tokens(examples: Examples, size: Size, name: str) -> Examples:
    """Noisy copies of each row, for the attentive head."""
    if name not in build.TOKENS:
        return examples
    noise_NTF = rng_for("tokens").normal(size=(len(examples.y_N), size.tokens, size.width))
    x_NTF = (examples.x_NF[:, None] + noise_NTF).astype(np.float32)
    return Examples(x_NTF, examples.y_N, examples.participants)


@benchmark(SECTIONS, "Fewer people, features and resamples.")
def main(quick: bool, json_file: str | None, only: tuple[str, ...]) -> None:
    """CPU time of a probe's fits and intervals, beside scikit-learn.

    \b
    Example:
      python benchmarks/probe.py --quick
    """
    size = QUICK if quick else FULL
    sections: dict[str, Callable[[], SectionResult]] = {
        "logistic": lambda: logistic(size),
        "grid": lambda: grid(size),
    }
    report({name: section for name, section in sections.items() if name in only}, json_file, quick=quick)


if __name__ == "__main__":
    main()

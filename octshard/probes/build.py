"""The head that a config names, for a kind of target."""

from collections.abc import Callable, Iterator

from octshard.errors import UsageError
from octshard.probes import attentive, knn, linear, mlp, ordinal, ridge
from octshard.probes.examples import Examples
from octshard.probes.head import Candidate, FittedHead, HeadSpec, check, choose
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL

TOKENS = ("attentive",)  # heads that read token grids, not one row of numbers per scan
LINEAR = {CLASSES: linear.candidates, ORDINAL: ordinal.candidates, NUMBERS: ridge.candidates}
HEADS: dict[str, Callable[[Examples, Examples, HeadSpec], Iterator[Candidate]]] = {
    "linear": lambda train, val, spec: LINEAR[spec.kind](train, val, spec),
    "mlp": mlp.candidates,
    "knn": knn.candidates,
    "attentive": attentive.candidates,
}
METHODS = {
    (
        "linear",
        CLASSES,
    ): "A multinomial logistic regression is fitted on train, where every class, and every person "
    "within its class, has the same total weight.",
    (
        "linear",
        NUMBERS,
    ): "A ridge regression is fitted on train, where every person has the same total weight.",
    (
        "knn",
        CLASSES,
    ): "Each scan takes the mean of its nearest people in train, by the cosine of their features.",
}


def method(head: str, kind: str) -> str:
    """What the head does, in a sentence for the page."""
    return METHODS.get((head, kind)) or METHODS[head, CLASSES]


def fit(spec: HeadSpec, train: Examples, val: Examples) -> FittedHead:
    """Fits on train, chooses among the settings of `spec` on val. OctshardError for what cannot be fitted."""
    check(spec, train, val)
    axes = 3 if spec.cfg.head in TOKENS else 2
    if train.x_NF.ndim != axes:
        content = {2: "one row for each scan", 3: "tokens for each scan (pooling=tokens)"}
        raise UsageError(
            f"head={spec.cfg.head}: features are of shape {train.x_NF.shape}, want {content[axes]}"
        )
    return choose(spec, HEADS[spec.cfg.head](train, val, spec), val)

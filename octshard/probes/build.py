"""The head that a config names, for a kind of target."""

from collections.abc import Callable, Iterator

from octshard.probes import knn, linear, ridge
from octshard.probes.examples import Examples
from octshard.probes.head import CLASSES, NUMBERS, Candidate, FittedHead, HeadSpec, check, choose

TOKENS = ("attentive",)  # heads that read token grids, not one row of numbers per scan
LINEAR = {CLASSES: linear.candidates, NUMBERS: ridge.candidates}
HEADS: dict[str, Callable[[Examples, Examples, HeadSpec], Iterator[Candidate]]] = {
    "linear": lambda train, val, spec: LINEAR[spec.kind](train, val, spec),
    "knn": knn.candidates,
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
    return choose(spec, HEADS[spec.cfg.head](train, val, spec), val)

"""The head that a config names, for a kind of target."""

import dataclasses
from collections.abc import Callable, Iterator

from octshard.errors import UsageError
from octshard.probes import attentive, knn, linear, mlp, ordinal, ridge
from octshard.probes.examples import Examples
from octshard.probes.head import Candidate, FittedHead, HeadSpec, check, choose
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL

TOKENS = ("attentive",)  # heads that read token grids, not one row of numbers per scan
WITHOUT_TOKENS = "linear"  # the head in place of these where there is one row
LINEAR = {CLASSES: linear.candidates, ORDINAL: ordinal.candidates, NUMBERS: ridge.candidates}
HEADS: dict[str, Callable[[Examples, Examples, HeadSpec], Iterator[Candidate]]] = {
    "linear": lambda train, val, spec: LINEAR[spec.kind](train, val, spec),
    "mlp": mlp.candidates,
    "knn": knn.candidates,
    "attentive": attentive.candidates,
}
ALIKE = "where every class, and every person within its class, has the same total weight"
METHODS = {
    ("linear", CLASSES): f"A multinomial logistic regression is fitted on train, {ALIKE}.",
    ("linear", ORDINAL): f"Proportional odds are fitted on train, {ALIKE}.",
    ("linear", NUMBERS): "Ridge regression is fitted on train, where every person has the same total weight.",
    "mlp": "A network of one hidden layer is fitted on train.",
    "knn": "Each scan takes the mean of its nearest people in train, by the cosine of their features.",
    "attentive": "A learned query attends to the tokens of each scan, and a network reads what it collects. "
    "Features without tokens have the linear head.",
}


def method(head: str, kind: str) -> str:
    """What the head does, in a sentence for the page."""
    return METHODS.get(head) or METHODS[head, kind]


def fit(spec: HeadSpec, train: Examples, val: Examples) -> FittedHead:
    """Fits on train, chooses among the settings of `spec` on val. OctshardError for what cannot be fitted.

    Where `spec` names a head for tokens and there is one row for each scan, as of raw intensities, it is the
    linear head, and is called so.
    """
    has_tokens = train.x_NF.ndim == 3
    if spec.cfg.head in TOKENS and not has_tokens:
        spec = dataclasses.replace(spec, cfg=dataclasses.replace(spec.cfg, head=WITHOUT_TOKENS))
    check(spec, train, val)
    if spec.cfg.head not in TOKENS and has_tokens:
        raise UsageError(
            f"head={spec.cfg.head}: features are of shape {train.x_NF.shape}, want one row for each scan; "
            f"head={TOKENS[0]} reads tokens"
        )
    return choose(spec, HEADS[spec.cfg.head](train, val, spec), val)

"""Settings of the heads on frozen features, shared by every command that fits them."""

from dataclasses import dataclass

from octshard.config.fields import MANY, field


@dataclass
class HeadConfig:
    """How frozen features become predictions; what has several values is chosen on val."""

    head: str = field(
        "linear",
        "linear: logistic regression for classes, ridge for numbers; knn: nearest neighbours",
        choices=("linear", "knn"),
    )
    regularisation: list[float] = field(
        [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0],
        "values of C, the inverse strength, of head=linear; the best on val is chosen",
        above=0,
        limit=MANY,
        least_length=1,
    )
    ridge: list[float] = field(
        [1.0, 10.0, 1e2, 1e3, 1e4, 1e5],
        "values of alpha, the strength, of head=linear for numbers; the best on val is chosen",
        above=0,
        limit=MANY,
        least_length=1,
    )
    neighbours: list[int] = field(
        [5, 10, 20, 50],
        "of head=knn, in participants; the best on val is chosen",
        least=1,
        limit=MANY,
        least_length=1,
    )
    weighting: list[str] = field(
        ["uniform", "cosine"],
        "of the neighbours of head=knn: all alike, or exp(cosine / 0.07) as DINO has it; the best on val is "
        "chosen",
        choices=("uniform", "cosine"),
        least_length=1,
    )

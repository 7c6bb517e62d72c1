"""Settings of the heads on frozen features, shared by every command that fits them."""

import dataclasses
from dataclasses import dataclass

from octshard.config.fields import MANY, field, group

HEADS = ("linear", "mlp", "knn", "attentive")
HEADS_DOC = (
    "linear: logistic regression for classes, proportional odds for ordered ones, ridge for numbers; "
    "mlp: one hidden layer; knn: nearest neighbours; attentive: a learned query over tokens"
)


@dataclass
class GridConfig:
    """A grid of learning rates x weight decays, trained at once by AdamW; val chooses the pair and epoch."""

    lr: list[float] = field(
        [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], "highest learning rates", above=0, limit=1e3, least_length=1
    )
    weight_decay: list[float] = field([0.01, 0.1, 1.0], "of AdamW", least=0, limit=1e6, least_length=1)
    epochs: int = field(30, "passes over train, at most", least=1, limit=MANY)
    patience: int = field(10, "epochs without a better score on val that end it", least=1, limit=MANY)
    batch: int = field(32, "scans per step", unit="samples", least=1, limit=MANY)


@dataclass
class MlpConfig(GridConfig):
    """One hidden layer."""

    width: int = field(256, "units of the hidden layer", least=1, limit=MANY)
    dropout: float = field(0.1, "share of the hidden units left out of a step", least=0, below=1)


@dataclass
class AttentiveConfig(GridConfig):
    """A learned query over the tokens of a scan."""

    heads: int = field(0, "of the attention; 0: one for every 64 features", least=0, limit=MANY)


@dataclass
class LinearConfig:
    """The strength of logistic regression."""

    regularisation: list[float] = field(
        [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0],
        "values of C, the inverse strength, of head=linear; the best on val is chosen",
        above=0,
        limit=MANY,
        least_length=1,
    )


@dataclass
class HeadSettings(LinearConfig):
    """How frozen features become predictions; what has several values is chosen on val."""

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
    mlp: MlpConfig = group(MlpConfig, "head=mlp")
    attentive: AttentiveConfig = group(AttentiveConfig, "head=attentive")


@dataclass
class HeadConfig(HeadSettings):
    """One head."""

    head: str = field(HEADS[0], HEADS_DOC, choices=HEADS)


@dataclass
class HeadsConfig(HeadSettings):
    """Several heads on the same features."""

    heads: list[str] = field(
        [HEADS[0]], f"the first of them decides; {HEADS_DOC}", choices=HEADS, least_length=1
    )

    def of(self, head: str) -> HeadConfig:
        """One of them, with its settings."""
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(HeadSettings)}
        return HeadConfig(head=head, **own)

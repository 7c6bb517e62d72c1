"""Settings of `octshard train`: what is learned, and which tokens are hidden."""

import dataclasses
from dataclasses import dataclass

from octshard.config.fields import MANY, Rule, field
from octshard.config.model import LONG_AXIS


@dataclass
class MaskSet:
    """One way to choose context and target tokens. Both counts: tokens if > 1; if <= 1 a share of the valid
    tokens of each volume.
    """

    kind: str = field(
        "blocks",
        "blocks: V-JEPA 2's full-depth rectangles; cubes: until `ratio` is hidden; retina: cubes, `band` of "
        "the targets in the retinal band that prep found",
        choices=("blocks", "cubes", "retina"),
    )
    blocks: int = field(8, "blocks per volume", least=1, limit=10_000)
    scale: float = field(0.15, "share of the valid plane, each block", above=0, most=1)
    aspect: list[float] = field(
        [0.75, 1.5],
        "least and greatest height / width of a block, drawn log-uniformly",
        length=2,
        least=0.001,
        limit=1000,
    )
    ratio: float = field(0.6, "share of the valid tokens that cubes hide", above=0, below=1)
    cube: list[int] = field([2, 2, 2], "one cube, D, H, W", unit="tokens", length=3, least=1, limit=LONG_AXIS)
    context: float = field(
        0.2, "context tokens K: a count > 1, or a share of a volume's valid tokens", above=0, limit=MANY
    )
    target: float = field(
        0.4, "target tokens T: a count > 1, or a share of a volume's valid tokens", above=0, limit=MANY
    )
    draws: int = field(
        1, "independent draws for one target forward; they share a mask token", least=1, limit=1000
    )
    ratio_end: float | None = field(
        None,
        "of cubes: `ratio` goes there over the run by half a cosine, K and T with it; null = it stays",
        above=0,
        below=1,
    )
    band: float = field(
        0.5,
        "share of the targets of retina that lie in the band; at most `ratio` of the band is target",
        above=0,
        most=1,
    )


@dataclass
class ObjectiveConfig:
    """What is learned."""

    name: str = field(
        "vjepa2",
        "vjepa2: L1 on layer-normed targets; vjepa2_1: of four levels of the encoder, and of context tokens "
        "too; byol: MLP predictor, normalised MSE; mae: hidden voxels, normalised by patch",
        choices=("vjepa2", "vjepa2_1", "byol", "mae"),
    )
    masks: list[MaskSet] = dataclasses.field(
        default_factory=lambda: [MaskSet()], metadata={"rule": Rule("mask sets", least_length=1)}
    )
    max_tokens: int | None = field(
        None,
        "tokens of a volume that an encoder of all of them reads at most; of more a seeded choice. "
        "null = as many as the largest volume has",
        least=2,
        limit=MANY,
    )
    ema_start: float = field(0.996, "momentum of the target encoder at the start", least=0, most=1)
    ema_end: float = field(1.0, "the same at the end of the budget, reached by cosine", least=0, most=1)
    context_scale: list[int] = field(
        [1, 1, 1],
        "cross-resolution: voxels that the context view is averaged over, and target tokens that one of its "
        "tokens covers, D, H, W",
        length=3,
        least=1,
        limit=LONG_AXIS,
    )
    mask_stages: int = field(
        4,
        "stages of equal length in which `ratio` of mask sets goes to `ratio_end`: each has the ratio at its "
        "middle, and shapes of its own",
        least=1,
        limit=100,
    )
    context_weight: float = field(
        0.5, "vjepa2_1: greatest weight of the error at context tokens in the loss", least=0, most=1
    )
    context_ramp: list[float] = field(
        [0.1, 0.2],
        "shares of the budget between which that weight grows from 0, linearly",
        length=2,
        least=0,
        most=1,
    )

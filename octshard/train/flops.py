"""FLOPs of a volume by formula, in a training step and in a frozen encoder; the parts: `models.flops`."""

from collections.abc import Mapping, Sequence

from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product
from octshard.models import flops
from octshard.models.flops import StepReading, list_reading
from octshard.stream.batch_shape import BatchShape
from octshard.stream.index import SampleIndex, sampler_config, token_grid
from octshard.train.objectives import curriculum
from octshard.train.objectives.build import objective_class
from octshard.train.objectives.objective import StepFlops
from octshard.train.objectives.token_counts import counts_of


def step_flops(
    cfg: TrainConfig, encoded: int, valid: int | None = None, box: Shape | None = None
) -> StepFlops:
    """A volume of which the target encoder (with `byol` both encoders) reads `encoded` tokens, in lists.
    valid: as many ask for the lists of context and targets; None: `encoded`. box: as in `Reading`.
    """
    return flops_of(cfg, list_readings(cfg, encoded, encoded if valid is None else valid, box))


def list_readings(
    cfg: TrainConfig, encoded: int, valid: int, box: Shape | None = None
) -> tuple[StepReading, ...]:
    """Of each stage of the mask ratio, in lists of `encoded` tokens, and of the context and targets that
    `valid` ask for.
    """
    return tuple(
        StepReading(
            encoded,
            list_reading(encoded, box),
            tuple(flops.listed_draw(cfg, K_T.K, K_T.T, box) for K_T in counts_of(stage, valid)),
        )
        for stage in curriculum.stages(cfg)
    )


def flops_of(cfg: TrainConfig, readings: Sequence[StepReading]) -> StepFlops:
    """The mean over the stages of the mask ratio, of which each has a reading."""
    stages = [objective_class(cfg).step_flops(cfg, reading) for reading in readings]
    return StepFlops(*(sum(parts) / len(stages) for parts in zip(*stages, strict=True)))


def encoder_flops(model: ModelConfig, encoded: int, box: Shape | None = None) -> float:
    """The forward of the encoder over `encoded` tokens. box: as in `Reading`."""
    return flops.encoder(model, list_reading(encoded, box))


def padding_share(
    cfg: TrainConfig,
    encoded: int,
    valid_counts: Mapping[int, float],
    readings: Sequence[StepReading] | None = None,
) -> float:
    """The share of a step's FLOPs that is spent on tokens of pure padding. valid_counts: how often volumes of
    so many valid tokens are seen, in any unit. readings: what is computed of a volume in each stage of the
    mask ratio; None: lists of `encoded` tokens, and of the context and targets that the largest volume asks
    for. Attention with padding keys is computed densely, so it counts.
    """
    total = sum(valid_counts.values())
    useful = sum(
        often * step_flops(cfg, min(valid, encoded), valid).total for valid, often in valid_counts.items()
    )
    spent = flops_of(cfg, readings or list_readings(cfg, encoded, max(valid_counts))).total
    return max(0.0, 1 - useful / total / spent)  # rounding must not say -0.0 %


def divided_padding_share(cfg: TrainConfig, shape: BatchShape, valid_grids: Mapping[Shape, float]) -> float:
    """As `padding_share`, of divided attention. Useful is what a volume would cost in a box and lists of its
    own: places of a box that no token of it takes are computed too.
    """
    total = sum(valid_grids.values())
    useful = sum(
        often * step_flops(cfg, min(product(grid), shape.tokens), product(grid), grid).total
        for grid, often in valid_grids.items()
    )
    spent = step_flops(cfg, shape.tokens, shape.most_valid, shape.grid(cfg)).total
    return max(0.0, 1 - useful / total / spent)


def valid_counts(index: SampleIndex, cfg: TrainConfig) -> dict[int, float]:
    """Valid tokens of a volume -> the share of what is seen that volumes of so many are, by data.weights and
    data.balance too.
    """
    shares: dict[int, float] = {}
    for grid, share in valid_grids(index, cfg).items():
        shares[product(grid)] = shares.get(product(grid), 0.0) + share
    return shares


def valid_grids(index: SampleIndex, cfg: TrainConfig) -> dict[Shape, float]:
    """As `valid_counts`, by valid tokens along D, H, W."""
    domains = sampler_config(index, cfg).domains
    shares: dict[Shape, float] = {}
    for domain in domains:
        often = domain.weight / sum(each.weight for each in domains) / domain.samples
        for first, count in domain.shards:
            for sample in index.samples[first : first + count]:
                valid = token_grid(sample.shape, cfg)
                shares[valid] = shares.get(valid, 0.0) + often
    return shares


def text(count: float) -> str:
    """A number of FLOPs with its unit."""
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e12 else f"{count / 1e9:.3g} GFLOP"

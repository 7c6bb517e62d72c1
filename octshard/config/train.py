"""Settings of `octshard train`: data, views, optimizer, and all groups together."""

from dataclasses import dataclass

from octshard.config.fields import MANY, MANY_BYTES, MANY_THREADS, field, group
from octshard.config.model import ModelConfig, PredictorConfig
from octshard.config.objective import ObjectiveConfig
from octshard.config.run import RunConfig

MAX_WEIGHT = 1e9  # of a dataset folder; only ratios count. Far beyond any use: more is a slip of the pen


@dataclass
class DataConfig:
    """What is streamed."""

    shards: list[str] = field(
        [],
        "dataset folders SHARDS/<device>, or folders of them, in an order that stays",
        speed=True,
        place=True,
    )
    weights: list[float] = field(
        [], "share of each dataset folder in what is seen; empty = by size", above=0, limit=MAX_WEIGHT
    )
    drop: list[str] = field([], "keys of volumes that are neither trained on nor validated on")
    filter: str = field(
        "",
        "which volumes are trained and validated on: an expression over samples.parquet, such as "
        "'saturated' not in flags; empty = all",
    )
    balance: str = field(
        "none",
        "device: every device is drawn equally, whatever its number of volumes",
        choices=("none", "device"),
    )
    lanes: int = field(64, "sequential readers that make up the order (DESIGN §6)", least=1, limit=MANY)
    shuffle_block_size: int = field(
        256, "samples permuted together within a lane", unit="samples", least=1, limit=MANY
    )
    threads: int = field(2, "threads that verify and decompress", least=1, limit=MANY_THREADS, speed=True)
    prefetch_bytes: int = field(
        512_000_000,
        "batches held ready (at least one batch)",
        unit="bytes",
        least=0,
        limit=MANY_BYTES,
        speed=True,
    )
    connections: int = field(4, "requests to a remote store at once", least=1, limit=MANY_THREADS, speed=True)
    read_ahead_bytes: int = field(
        1_000_000_000,
        "compressed samples held or on their way",
        unit="bytes",
        least=0,
        limit=MANY_BYTES,
        speed=True,
    )
    cache_dir: str = field(
        "", "local folder for whole shards of remote stores; empty = none is kept", speed=True, place=True
    )
    cache_bytes: int = field(
        200_000_000_000,
        "when the cache grows beyond it, the longest unused shard goes",
        unit="bytes",
        least=0,
        limit=MANY_BYTES,
        speed=True,
    )
    on_bad_sample: str = field(
        "raise",
        "substitute: another sample of the same lane, counted and logged",
        choices=("raise", "substitute"),
        speed=True,
    )
    max_substitutes: int = field(
        10, "in one epoch and process; more stop the run", unit="samples", least=0, limit=MANY, speed=True
    )


@dataclass
class ViewConfig:
    """Geometry is shared by context and target; intensity differs between them. All from 0, which is off."""

    flip_d: float = field(0.5, "probability of reversing the B-scan order", least=0, most=1)
    flip_w: float = field(0.5, "probability of a left-right mirror", least=0, most=1)
    # The lateral size of a scan is that of a model eye, and real eyes differ from it by several per cent.
    zoom: float = field(0.05, "each axis is enlarged by exp(uniform(-zoom, zoom))", least=0, most=0.5)
    # 0: the seeded crop moves large volumes already, and a shift brings copies of the border in.
    shift: float = field(
        0.0, "each axis is moved by uniform(-shift, shift) of the valid extent", least=0, most=0.5
    )
    # 0.05 of 2 mm over 6 mm is 2 degrees, as from a beam 0.6 mm off the pupil's centre.
    tilt: float = field(
        0.05,
        "A-scans move along H, linearly over D and W: at each edge by uniform(-tilt, tilt) of the valid H",
        least=0,
        most=0.5,
    )
    gamma: float = field(0.2, "intensities ** exp(uniform(-gamma, gamma))", least=0, most=10)
    # 0.05: speckle (contrast 0.52) after averaging 100 frames.
    speckle: float = field(0.05, "std of multiplied noise, share of the grey level", least=0, most=10)
    noise: float = field(0.05, "std of added noise, in units of the volume's std", least=0, most=10)


@dataclass
class OptimConfig:
    """AdamW: linear warm-up from 0 to base_lr (absolute, not scaled by batch), then `schedule`."""

    base_lr: float = field(1.5e-3, "learning rate after warm-up", least=0, limit=1000)
    final_lr: float = field(1e-6, "learning rate at the end", least=0, limit=1000)
    weight_decay: float = field(0.05, "of weights of two and more dimensions", least=0, limit=1000)
    beta1: float = field(0.9, "decay of the first moment", least=0, below=1)
    beta2: float = field(0.999, "decay of the second moment", least=0, below=1)
    eps: float = field(1e-8, "added to the root of the second moment", above=0, most=1)
    warmup_epochs: float = field(10.0, "length of the warm-up", unit="passes", least=0, limit=MANY)
    clip_grad: float = field(1.0, "global norm of the gradient; 0 = never clipped", least=0, limit=MANY)
    schedule: str = field(
        "cosine",
        "after the warm-up. cosine: down to final_lr; constant: base_lr until the cooldown",
        choices=("cosine", "constant"),
    )
    # 0.2: from there on a line down is as good as a cosine (Haegele et al. 2024).
    cooldown: float = field(
        0.2,
        "share of the budget at its end in which a constant rate goes down a line to final_lr; 0 = never",
        least=0,
        most=1,
    )
    final_weight_decay: float | None = field(
        None,
        "weight decay at the end of the budget, reached by half a cosine; null = as at the start",
        least=0,
        limit=1000,
    )


@dataclass
class TrainConfig:
    """`octshard train`."""

    data: DataConfig = group(DataConfig)
    model: ModelConfig = group(ModelConfig)
    predictor: PredictorConfig = group(PredictorConfig)
    objective: ObjectiveConfig = group(ObjectiveConfig)
    views: ViewConfig = group(ViewConfig)
    optim: OptimConfig = group(OptimConfig)
    run: RunConfig = group(RunConfig)

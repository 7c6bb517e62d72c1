"""Settings of `octshard train`: data, model, objective, views, optimizer, run."""

from dataclasses import dataclass, field

from octshard.config.fields import several, speed


@dataclass
class DataConfig:
    """What is streamed."""

    shards: list[str] = speed([])  # dataset folders SHARDS/<device>, in an order that stays
    weights: list[float] = several()  # one per entry of shards: its share of what is seen; empty = by size
    balance: str = "none"  # none | device: every device is drawn equally, whatever its number of volumes
    lanes: int = 64  # sequential readers that make up the order (DESIGN §6)
    shuffle_block_size: int = 256  # samples permuted together within a lane
    threads: int = speed(2)  # that verify and decompress
    prefetch_bytes: int = speed(512_000_000)  # of batches held ready (at least one batch)
    connections: int = speed(4)  # requests to a remote store at once
    read_ahead_bytes: int = speed(1_000_000_000)  # of compressed samples held or on their way
    cache_dir: str = speed("")  # local folder for whole shards of remote stores; empty = none is kept
    cache_bytes: int = speed(200_000_000_000)  # the longest unused shard goes when there are more
    on_bad_sample: str = speed("raise")  # raise | substitute: another of the same lane, counted and said
    max_substitutes: int = speed(10)  # in one epoch, in one process; more stop the run


@dataclass
class ModelConfig:
    """The 3-D ViT encoder."""

    image_size: list[int] = several(64, 384, 384)  # voxels (D, H, W): volumes are cropped and padded to it
    patch: list[int] = several(4, 16, 16)  # voxels (D, H, W) of one token (tubelet)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    position: str = "rope"  # rope (3-D rotary) | sincos (fixed, added)


@dataclass
class PredictorConfig:
    """The transformer predictor of `vjepa2`; the MLP of `byol` takes `width` as its hidden width."""

    width: int = 384
    depth: int = 12
    heads: int = 6  # head_dim 64; V-JEPA 2 takes 12 heads of 32


@dataclass
class MaskSet:
    """One way to choose context and target tokens. Both counts: tokens if > 1, a share of N if <= 1."""

    kind: str = "blocks"  # blocks (V-JEPA 2: full-depth rectangles) | cubes (until `ratio` is hidden)
    blocks: int = 8  # blocks per volume
    scale: float = 0.15  # of the valid plane, each block
    aspect: list[float] = several(0.75, 1.5)  # height / width of a block, drawn log-uniformly
    ratio: float = 0.6  # share of the valid tokens that cubes hide
    cube: list[int] = several(2, 2, 2)  # tokens (D, H, W) of one cube
    context: float = 0.2  # K
    target: float = 0.4  # T


@dataclass
class ObjectiveConfig:
    """What is learned."""

    name: str = "vjepa2"  # vjepa2: L1 on layer-normed targets | seed: MLP predictor, normalised MSE
    masks: list[MaskSet] = field(default_factory=lambda: [MaskSet()])
    ema_start: float = 0.996
    ema_end: float = 1.0  # reached by cosine at the end of the budget


@dataclass
class ViewConfig:
    """Geometry is shared by context and target; intensity differs between them. All from 0, which is off."""

    flip_d: float = 0.5  # probability of reversing the B-scan order
    flip_w: float = 0.5  # probability of a left-right mirror
    # Each axis is enlarged by exp(uniform(-zoom, zoom)), at most 0.5. The lateral size of a scan is that of a
    # model eye, and real eyes differ from it by several per cent.
    zoom: float = 0.05
    # Each axis is moved by uniform(-shift, shift) of the valid extent, at most 0.5. 0: the seeded crop moves
    # large volumes already, and a shift brings copies of the border in.
    shift: float = 0.0
    # A-scans are moved along H, linearly over D and over W: at each edge by uniform(-tilt, tilt) of the valid
    # H, at most 0.5. 0.05 of 2 mm over 6 mm is 2 degrees, as from a beam 0.6 mm off the pupil's centre.
    tilt: float = 0.05
    gamma: float = 0.2  # intensities ** exp(uniform(-gamma, gamma))
    # Std of multiplied noise, share of the grey level. 0.05: speckle (contrast 0.52), 100 frames averaged.
    speckle: float = 0.05
    noise: float = 0.05  # std of added noise, in units of the volume's std


@dataclass
class OptimConfig:
    """AdamW: linear warm-up from 0 to base_lr (absolute, not scaled by batch), then cosine to final_lr."""

    base_lr: float = 1.5e-3
    final_lr: float = 1e-6
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    warmup_epochs: float = 10.0
    clip_grad: float = 1.0  # global norm; 0 = never


@dataclass
class RunConfig:
    """Length, batch, cadence, place."""

    out: str = speed("runs/run")  # checkpoints, metrics.jsonl, config.yaml
    seed: int = 0
    epochs: float | None = None  # length in passes over the data ...
    samples_budget: int | None = None  # ... or in samples; exactly one of the two
    global_batch: int = 128  # = per_device_batch x devices x accumulation
    per_device_batch: int = speed(2)
    device: str = speed("auto")  # auto | cpu | cuda | xla
    precision: str = "bf16"  # bf16 (autocast) | fp32
    compile: bool = speed(False)  # torch.compile on cuda
    cpu_threads: int = (
        0  # torch threads on cpu; 0 = as torch chooses. Part of the result: bit-exact resume needs it
    )
    checkpoint_every_epochs: float = speed(5.0)
    log_every_steps: int = speed(50)
    keep_last: int = speed(2)  # checkpoints besides the best and the last
    val_samples: int = 256  # at most so many validation volumes at each checkpoint; 0 = no validation
    wandb: str = speed("off")  # off | offline | online
    wandb_project: str = speed("octshard")


@dataclass
class TrainConfig:
    """`octshard train`."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

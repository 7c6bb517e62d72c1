"""Settings of `octshard train`: data, model, objective, views, optimizer, run."""

import dataclasses
from dataclasses import dataclass

from octshard.config.fields import MANY, MANY_BYTES, MANY_THREADS, SEEDS, Rule, field, group

# Far beyond any use: what is more is a slip of the pen, and would end in memory or time without end.
MAX_WEIGHT = 1e9  # of a dataset folder; only ratios count
LONG_AXIS = 100_000  # voxels or tokens
WIDE = 1_000_000  # features
DEEP = 10_000  # blocks
MANY_SAMPLES = 10**15

# ViT (Dosovitskiy et al. 2021) base and large; tiny and small of DeiT (Touvron et al. 2021)
PRESETS = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
}


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
class ModelConfig:
    """The 3-D ViT encoder."""

    image_size: list[int] = field(
        [64, 384, 384],
        "volumes are cropped and padded to it, D, H, W",
        unit="voxels",
        length=3,
        least=1,
        limit=LONG_AXIS,
    )
    patch: list[int] = field(
        [4, 16, 16], "one token (tubelet), D, H, W", unit="voxels", length=3, least=1, limit=LONG_AXIS
    )
    width: int = field(768, "features of a token", least=1, limit=WIDE)
    depth: int = field(12, "blocks", least=1, limit=DEEP)
    heads: int = field(12, "attention heads; they divide width", least=1, limit=WIDE)
    mlp_ratio: float = field(4.0, "hidden width of the MLP / width", above=0, limit=100)
    position: str = field("rope", "rope: 3-D rotary; sincos: fixed, added", choices=("rope", "sincos"))
    preset: str | None = field(
        None,
        "width, depth and heads of a ViT: 192/12/3, 384/12/6, 768/12/12, 1024/24/16. What is saved are these "
        "numbers. The predictor is not changed: V-JEPA 2 has the same beside encoders of every size",
        choices=tuple(PRESETS),
    )
    attention: str = field(
        "joint",
        "joint: tokens read all others of their list; divided: those of their plane (the same B-scans), then "
        "those along depth D. In the encoders, and in a predictor that is a transformer",
        choices=("joint", "divided"),
    )
    checkpointing: bool = field(
        False,
        "of a block only what enters it is kept for backward, the rest is computed again: less memory, more "
        "time. In the encoder and in a predictor that is a transformer",
        speed=True,
    )
    drop_path: float = field(
        0.0,
        "stochastic depth: how often a branch of the last block is left out, for a volume in a step; of "
        "block l of L l / L as often. In the encoder that is trained",
        least=0,
        below=1,
    )


@dataclass
class PredictorConfig:
    """The transformer of `vjepa2`, `vjepa2_1` and `mae`; the MLP of `byol` is `width` wide inside."""

    width: int = field(384, "features of a token", least=1, limit=WIDE)
    depth: int = field(12, "blocks", least=1, limit=DEEP)
    heads: int = field(6, "attention heads: head_dim 64 (V-JEPA 2 takes 12 heads of 32)", least=1, limit=WIDE)


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
class RunConfig:
    """Length, batch, cadence, place."""

    out: str = field(
        "runs/run", "folder of checkpoints, metrics.jsonl and config.yaml", speed=True, place=True
    )
    seed: int = field(0, "of weights, order, crops, views and masks", limit=SEEDS)
    epochs: float | None = field(
        None, "length in passes over the data ...", unit="passes", above=0, limit=MANY
    )
    samples_budget: int | None = field(
        None, "... or in samples; exactly one of the two", unit="samples", least=1, limit=MANY_SAMPLES
    )
    global_batch: int = field(
        128, "per_device_batch x devices x accumulation", unit="samples", least=1, limit=MANY
    )
    per_device_batch: int = field(
        2, "of one micro-batch on one device", unit="samples", least=1, limit=MANY, speed=True
    )
    device: str = field(
        "auto",
        "auto: cuda, else xla on a TPU machine, else cpu",
        choices=("auto", "cpu", "cuda", "xla"),
        speed=True,
    )
    precision: str = field("bf16", "bf16: autocast; fp32", choices=("bf16", "fp32"))
    compile: bool = field(False, "torch.compile on cuda", speed=True)
    packing: str = field(
        "auto",
        "volumes of a batch in one sequence where all their tokens are encoded; auto: if it saves FLOPs",
        choices=("auto", "on", "off"),
        speed=True,
    )
    deterministic: bool = field(
        False, "on cuda only kernels that repeat bit for bit, as those of a cpu do; slower", speed=True
    )
    cpu_threads: int = field(
        0,
        "torch threads on cpu; 0 = as torch chooses. Part of the result: bit-exact resume needs it",
        least=0,
        limit=MANY_THREADS,
    )
    checkpoint_every_epochs: float = field(
        5.0, "between checkpoints", unit="passes", above=0, limit=MANY, speed=True
    )
    log_every_steps: int = field(
        50, "between lines of metrics", unit="steps", least=1, limit=MANY, speed=True
    )
    keep_last: int = field(
        2, "checkpoints kept besides the best and the last", least=0, limit=MANY, speed=True
    )
    val_samples: int = field(
        256,
        "validation volumes at each checkpoint, at most; 0 = no validation",
        unit="samples",
        least=0,
        limit=MANY,
    )
    probe_every: int = field(
        0,
        "between snapshots of the target encoder that probes judge in a process of their own, as they do "
        "each checkpoint; 0 = none",
        unit="samples",
        least=0,
        limit=MANY_SAMPLES,
        speed=True,
    )
    probe_participants: str = field(
        "", "participants.tsv, where the labels of the probes come from", speed=True, place=True
    )
    probe_target: str = field("study_group", "a column of it: classes, or numbers", speed=True)
    probe_samples: int = field(
        512, "labelled volumes of train, and of val, that a probe reads, at most", unit="samples", least=1,
        limit=MANY, speed=True,
    )  # fmt: skip
    probe_device: str = field(
        "cpu", "of the probes: cpu, or a GPU that the run leaves free, such as cuda:1", speed=True
    )
    probe_threads: int = field(1, "threads of their process", least=1, limit=MANY_THREADS, speed=True)
    probe_timeout_s: float = field(
        600.0,
        "a probe without progress for so long has failed; the end of a run waits no longer for the last one",
        unit="s",
        above=0,
        limit=MANY,
        speed=True,
    )
    patience: int = field(
        0,
        "scores of the probe in a row, after the warm-up, that are no better than the best end the run; "
        "0 = never",
        least=0,
        limit=MANY,
        speed=True,
    )
    wandb: str = field("off", "Weights & Biases", choices=("off", "offline", "online"), speed=True)
    wandb_project: str = field("octshard", "its project", speed=True)
    wandb_artifacts: bool = field(False, "checkpoints go there too, as artifacts", speed=True)
    tensorboard: bool = field(False, "event files in run.out/tensorboard", speed=True)
    pictures: int = field(
        0,
        "newest pictures kept in run.out/pictures; one is drawn of each checkpoint, none if 0",
        least=0,
        limit=MANY,
        speed=True,
    )
    name: str = field(
        "", "beginning of the run's name in W&B and TensorBoard; empty = last folder of run.out", speed=True
    )
    tags: list[str] = field([], "tags beside those of the devices and the objective", speed=True)
    init_from: str = field(
        "",
        "weights that a new run begins with: a run's folder (its newest checkpoint), a checkpoint, or a file "
        "in V-JEPA 2's layout; empty = at random",
        place=True,
    )
    memory_probe: str = field(
        "auto",
        "two steps on made-up data before the first one: while memory is full, per_device_batch is halved. "
        "auto: not on the cpu",
        choices=("auto", "on", "off"),
        speed=True,
    )
    oom_shrink: bool = field(
        False,
        "a new run that does not fit at per_device_batch 1 takes image_size [64,320,320], another result",
        speed=True,
    )
    start_timeout_s: float = field(
        600.0,
        "of several processes: all end if one has not come to the start by then",
        unit="s",
        above=0,
        limit=MANY,
        speed=True,
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

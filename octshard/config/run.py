"""Settings of `octshard train`: length, batch, cadence, place."""

from dataclasses import dataclass

from octshard.config.fields import MANY, MANY_THREADS, SEEDS, field

MANY_SAMPLES = 10**15  # far beyond any use
LINEAR, ROBUSTNESS = "linear", "robustness"  # what patience counts


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
        "volumes of a batch in one sequence; auto: if it saves FLOPs, or in lists by size",
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
        "", "participants.tsv or a table like it: labels of the probes", speed=True, place=True
    )
    probe_target: str = field("study_group", "a column of it: classes, or numbers", speed=True)
    probe_site: str = field(
        "clinical_site",
        "a column of it, the site: what the robustness index is about where all are of one device; empty: "
        "none",
        speed=True,
    )
    probe_samples: int = field(
        512, "labelled volumes of train, and of val, that a probe reads, at most", unit="samples", least=1,
        limit=MANY, speed=True,
    )  # fmt: skip
    probe_view: str = field(
        "centre",
        "what they read of a volume larger than model.image_size: centre: one crop; whole: all of it in "
        "tiles, as eval does, at the cost of a crop for each tile",
        choices=("centre", "whole"),
        speed=True,
    )
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
    patience_by: str = field(
        LINEAR,
        "what it counts: scores of the linear probe, or the robustness index",
        choices=(LINEAR, ROBUSTNESS),
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
        "weights that a new run begins with: a run's folder (its newest checkpoint), RUN/best or "
        "RUN/best-robustness, a checkpoint, a folder "
        "of octshard export, or a file in V-JEPA 2's layout; empty = at random",
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

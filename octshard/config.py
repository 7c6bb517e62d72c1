"""Every knob, its unit and its default: PrepConfig, TrainConfig, ProbeConfig. A default lives here, once.

`load(TrainConfig, files, overrides)` merges YAML files and KEY=VALUE words over the defaults, strictly: an
unknown key or a wrong type is a UsageError with a suggestion. Fields made by `speed(...)` change how fast
a run goes, never its result: they stay out of the digest and may differ on resume.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from octshard.errors import UsageError

Config = TypeVar("Config")


def speed(default: Any) -> Any:
    """A field that changes the speed or the place of a run, not its result."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"speed": True})
    return field(default=default, metadata={"speed": True})


def several(*values: Any) -> Any:
    """A list-valued default."""
    return field(default_factory=lambda: list(values))


@dataclass
class PrepConfig:
    """`octshard prep shard`: what a shard holds."""

    src: str = speed("")  # release root: the folder that holds manifest.tsv
    dst: str = speed("")  # where SHARDS/<device>/ is written
    target_spacing: list[float] = several(0.05, 0.02, 0.02)  # mm (D, H, W)
    image_size: list[int] = several(64, 384, 384)  # voxels (D, H, W): for fit=resize and for assumed spacing
    fit: str = "crop_pad"  # crop_pad: the whole field of view is stored | resize: stretched to image_size
    include_geometry: list[str] = several()  # geometries besides raster that become volumes
    shard_bytes: int = 256_000_000  # aimed-at size of one tar, bytes
    zstd_level: int = 3
    limit: int = 0  # so many files of each device, a seeded draw; 0 = all
    seed: int = (
        0  # of the order of samples over shards, of the draw, and of the split where the release names none
    )
    max_voxels: int = 2_000_000_000  # a file that declares more is refused as too_large
    max_output_voxels: int = 400_000_000  # so is one whose stored volume would have more
    decode: str = (
        "exact"  # exact: as pydicom | fast: JPEG 2000 at reduced resolution where the target allows it
    )
    workers: int = speed(0)  # processes; 0 = one per core
    from_zip: bool = speed(False)  # read the members of the device ZIPs below src, not unpacked files
    engine: str = speed("local")  # local: processes of this machine | ray: a Ray cluster
    decode_timeout_s: float = speed(300.0)  # a file that decodes longer is tried once more, then refused
    max_refused: str = speed("")  # files, or a share such as 5%: a device with more fails; empty = any number
    price_per_core_hour: float = speed(0.04)  # USD, for the estimate of a dry run
    worker_memory: int = speed(4_000_000_000)  # bytes that making one volume may take; beyond: as above
    unzip_memory: int = speed(256_000_000)  # bytes that unzip holds at once, all threads together


@dataclass
class DataConfig:
    """What is streamed."""

    shards: list[str] = speed([])  # dataset folders SHARDS/<device>, in an order that stays
    weights: list[float] = several()  # one per entry of shards: its share of what is seen; empty = by size
    balance: str = "none"  # none | device: every device is drawn equally, whatever its number of volumes
    lanes: int = 64  # sequential readers that make up the order (DESIGN §6)
    shuffle_window: int = 256  # samples permuted together within a lane
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
    """The transformer predictor of `vjepa2`; the MLP of `seed` takes `width` as its hidden width."""

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


@dataclass
class ProbeConfig:
    """`octshard eval linear-probe`."""

    checkpoint: str = ""  # a checkpoint file, or a run folder (its last checkpoint)
    shards: list[str] = several()  # dataset folders with train, val and test samples
    participants: str = ""  # participants.tsv: where labels come from
    label: str = "study_group"  # a column of it
    out: str = "runs/probe"  # probe.json, probe.html, cached features
    regularisation: list[float] = several(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # C; chosen on val
    bootstrap: int = 1000  # resamples of participants behind each interval
    shuffles: int = 20  # random deals of the labels behind the shuffled-label control
    seed: int = 0
    batch: int = speed(8)
    device: str = speed("auto")


def load(kind: type[Config], files: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Config:
    """Defaults < files in order < KEY=VALUE overrides; unknown keys and wrong types are UsageErrors."""
    merged = OmegaConf.structured(kind)
    layers: list[tuple[str, Any]] = []
    for file in files:
        try:
            layers.append((str(file), OmegaConf.load(file)))
        except FileNotFoundError:
            raise UsageError(f"config {file}: no such file") from None
        except (YAMLError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"config {file}: not YAML: {' '.join(str(error).split())}") from error
    for word in overrides:
        if "=" not in word:
            raise UsageError(f"{word!r}: want KEY=VALUE, for example run.seed=1")
        try:
            layers.append((word, OmegaConf.from_dotlist([word])))
        except YAMLError as error:
            raise UsageError(f"config {word}: not YAML: {' '.join(str(error).split())}") from error
    for origin, layer in layers:
        if not isinstance(layer, DictConfig):
            raise UsageError(f"config {origin}: found a {type(layer).__name__}, want key: value pairs")
        _reject_unknown(kind, layer, origin)
        try:
            merged = OmegaConf.merge(merged, layer)
        except OmegaConfBaseException as error:
            raise UsageError(f"config {origin}: {str(error).splitlines()[0]}") from error
    try:
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise UsageError(f"config: {str(error).splitlines()[0]}") from error


def save(cfg: Any) -> str:
    """`cfg` as YAML text, every key written."""
    return OmegaConf.to_yaml(OmegaConf.structured(cfg))


def result_values(cfg: Any) -> dict[str, Any]:
    """Dotted key -> value of every field that changes the result (not those made by `speed`)."""
    return dict(_leaves(cfg, "", with_speed=False))


def digest(cfg: Any) -> str:
    """16 hex digits that change exactly when a value that changes the result does."""
    text = json.dumps(result_values(cfg), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines `key: old -> new` between two `result_values`."""
    keys = sorted(set(old) | set(new))
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]


def _leaves(value: Any, prefix: str, *, with_speed: bool) -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(value):
        if item.metadata.get("speed") and not with_speed:
            continue
        child, name = getattr(value, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(child):
            yield from _leaves(child, name + ".", with_speed=with_speed)
        elif isinstance(child, list) and child and dataclasses.is_dataclass(child[0]):
            yield name, [dataclasses.asdict(entry) for entry in child]
        else:
            yield name, child


def known_keys(kind: type, prefix: str = "") -> list[str]:
    """Every dotted key of a config class."""
    keys = []
    for name, hint in get_type_hints(kind).items():
        keys.append(prefix + name)
        if dataclasses.is_dataclass(hint):
            keys += known_keys(hint, prefix + name + ".")  # type: ignore[arg-type]
    return keys


def _reject_unknown(
    kind: type, layer: DictConfig, origin: str, prefix: str = "", root: type | None = None
) -> None:
    hints, root = get_type_hints(kind), root or kind
    for name in layer:
        key = f"{prefix}{name!s}"
        if name not in hints:
            everything = known_keys(root)
            last = {known.rsplit(".", 1)[-1]: known for known in reversed(everything)}
            close = difflib.get_close_matches(key, everything, 1) or [
                last[match] for match in difflib.get_close_matches(str(name), list(last), 1)
            ]
            advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(hints))}"
            raise UsageError(f"config {origin}: unknown key {key}; {advice}")
        child = layer._get_node(name)
        inner = _item_class(hints[name])
        if isinstance(child, DictConfig) and dataclasses.is_dataclass(hints[name]):
            _reject_unknown(hints[name], child, origin, key + ".", root)
        elif isinstance(child, ListConfig) and inner is not None:
            for i in range(len(child)):
                if isinstance(child[i], DictConfig):
                    _reject_unknown(inner, child[i], origin, f"{key}[{i}].", inner)


def _item_class(hint: Any) -> type | None:
    """MaskSet for list[MaskSet]; None for anything else."""
    for argument in getattr(hint, "__args__", ()):
        if dataclasses.is_dataclass(argument) and isinstance(argument, type):
            return argument
    return None

"""Settings of `octshard eval`. What several commands have alike stands once, in classes that they inherit."""

from dataclasses import dataclass

from octshard.config.fields import MANY, SEEDS, field
from octshard.config.head import HeadConfig, HeadsConfig, LinearConfig
from octshard.config.label import LabelConfig


@dataclass
class FilterConfig:
    """Which of the scans are read."""

    filter: str = field(
        "",
        "which scans: an expression over samples.parquet, as data.filter of octshard train, or over the "
        "scans.parquet of features; empty = all",
        later=True,
    )


@dataclass
class ShardsConfig(FilterConfig):
    """The scans that trained encoders read."""

    shards: list[str] = field(
        [], "dataset folders with train, val and test samples, or folders of them", place=True
    )
    allow_seen_people: bool = field(
        False, "score also if the encoder was pretrained on test participants; the result says on how many"
    )


@dataclass
class EncoderConfig:
    """A trained encoder."""

    checkpoint: str = field("", "a checkpoint file, or a run folder (its newest checkpoint)", place=True)


@dataclass
class DeviceConfig:
    """Where encoders run."""

    device: str = field(
        "auto", "as run.device of octshard train", choices=("auto", "cpu", "cuda", "xla"), speed=True
    )


@dataclass
class IntervalConfig:
    """How sure a score is."""

    bootstrap: int = field(1000, "resamples of participants behind each interval", least=1, limit=1_000_000)


@dataclass
class SiteConfig:
    """Where scans come from."""

    site: str = field("clinical_site", "the column of participants that names the site; empty: none does")


@dataclass
class FeatureConfig:
    """Which features of an encoder."""

    layer: str = field("last", "behind which block features are taken: last, or its number")
    pooling: str = field("mean_std", "of the valid tokens of a scan", choices=("mean", "mean_std", "max"))


@dataclass
class ViewConfig:
    """What encoders read of a scan, and how much at once."""

    view: str = field(
        "whole",
        "what is read of a scan larger than model.image_size: whole: all of it, in tiles; centre: one crop",
        choices=("whole", "centre"),
    )
    batch: int = field(8, "tiles per forward pass", unit="samples", least=1, limit=MANY, speed=True)


@dataclass
class ControlConfig:
    """What stands beside a trained encoder."""

    shuffles: int = field(
        20, "random deals of the labels behind the shuffled-label control", least=1, limit=1_000_000
    )
    random_draws: int = field(5, "random encoders behind the random-init control", least=1, limit=1000)
    encoder: str = field(
        "", "a 2-D encoder as one more control: timm:NAME; B-scans go through it one by one; empty: none"
    )
    encoder_weights: str = field(
        "", "its weights, a local .pth or .safetensors; nothing is downloaded", place=True
    )
    encoder_every: int = field(4, "it reads one of so many B-scans", unit="B-scans", least=1, limit=MANY)


@dataclass
class StudyConfig(
    FeatureConfig,
    ViewConfig,
    ControlConfig,
    SiteConfig,
    IntervalConfig,
    DeviceConfig,
    LabelConfig,
    ShardsConfig,
):
    """Frozen features of scans beside all controls: what a probe and a report have alike."""

    seed: int = field(0, "of resamples, deals and the random encoders", limit=SEEDS)


@dataclass
class ProbeConfig(HeadConfig, StudyConfig, EncoderConfig):
    """`octshard eval linear-probe`."""

    out: str = field("runs/probe", "folder of probe.json, probe.html and cached features", place=True)


@dataclass
class ReportConfig(HeadsConfig, StudyConfig):
    """`octshard eval report`."""

    checkpoint: list[str] = field(
        [], "checkpoint files, or run folders (their newest checkpoints); all read the same pass", place=True
    )
    names: list[str] = field(
        [], "what each checkpoint is called; those of one name are its seeds; empty: run folder and step"
    )
    out: str = field(
        "runs/report",
        "folder of report.html, report.json, predictions.parquet, figures, features",
        place=True,
    )


@dataclass
class RobustnessConfig(FeatureConfig, SiteConfig, LinearConfig, IntervalConfig, LabelConfig, FilterConfig):
    """`octshard eval robustness`."""

    features: str = field("", "a feature table: a folder that octshard eval embed made", place=True)
    source: str = field("pretrained", "which of its features")
    label: str = field("study_group", "a column of the table, the biology")
    target: str = field(
        "classes", "ordinal: the order of classes is that of `order`", choices=("classes", "ordinal")
    )
    nuisances: list[str] = field(
        ["device", "site"],
        "what features should not follow",
        choices=("device", "manufacturer", "model", "protocol", "region", "site"),
        least_length=1,
    )
    region: str = field("", "scans of this anatomic region alone; empty: all")
    out: str = field("runs/robustness", "folder of robustness.json and robustness.html", place=True)
    neighbours: int = field(
        10, "of each scan, for the robustness index; no more than the smallest class has", least=1, limit=MANY
    )
    draws: int = field(
        5,
        "of people, each with other pairs of class and nuisance, for the performance drop",
        least=1,
        limit=1000,
    )
    seed: int = field(0, "of resamples and draws", limit=SEEDS)


@dataclass
class CompareConfig(
    FeatureConfig, ViewConfig, HeadConfig, IntervalConfig, DeviceConfig, LabelConfig, ShardsConfig
):
    """`octshard eval compare`."""

    features: list[str] = field([], "feature tables: folders that octshard eval embed made", place=True)
    checkpoint: list[str] = field(
        [],
        "in place of features: checkpoint files, or run folders (their newest checkpoints), that read "
        "shards; features stay in out/features",
        place=True,
    )
    random_draws: int = field(
        5,
        "random encoders of the form of the first checkpoint, as one more arm; 0: none",
        least=0,
        limit=1000,
    )
    sources: list[str] = field([], "which of their features; empty: all of that layer and pooling")
    names: list[str] = field(
        [],
        "what each source or checkpoint is called; those of one name are its seeds; empty: each its own",
    )
    label_fractions: list[float] = field(
        [], "shares of train people whose labels are used, for learning curves; empty: none", above=0, most=1
    )
    label_draws: int = field(5, "of people, at each share below 1", least=1, limit=1000)
    out: str = field("runs/compare", "folder of compare.json, compare.html, figures and features", place=True)
    shuffles: int = field(
        199, "deals of the test labels that the better one must beat", least=1, limit=1_000_000
    )
    seed: int = field(0, "of resamples, deals and draws", limit=SEEDS)


@dataclass
class EmbedConfig(ViewConfig, SiteConfig, DeviceConfig, FilterConfig):
    """`octshard eval embed`."""

    checkpoint: list[str] = field(
        [], "checkpoint files, or run folders (their newest checkpoints); all read the same pass", place=True
    )
    shards: list[str] = field([], "dataset folders, or folders of them", place=True)
    participants: str = field(
        "", "participants.tsv, where the column site of scans.parquet comes from", place=True
    )
    out: str = field("runs/features", "folder of scans.parquet and the tensors", place=True)
    layers: list[str] = field(
        ["last"], "behind which blocks features are taken: last, or their numbers", least_length=1
    )
    pooling: list[str] = field(
        ["mean_std"],
        "of the valid tokens of a scan; tokens: none, all are stored, a file for each scan",
        choices=("mean", "mean_std", "max", "tokens"),
        least_length=1,
    )
    token_type: str = field("fp16", "number type of stored tokens", choices=("fp16", "fp32"))
    random_draws: int = field(
        0,
        "encoders of the form of the first checkpoint that have learned nothing, as sources too",
        least=0,
        limit=1000,
    )
    seed: int = field(0, "of the random encoders", limit=SEEDS)

"""Settings of `octshard eval segment` and `translate`: maps of scans, and heads on frozen tokens."""

from dataclasses import dataclass

from octshard.config.eval import DeviceConfig, EncoderConfig, IntervalConfig, ShardsConfig
from octshard.config.fields import MANY, SEEDS, field, group


@dataclass
class MapConfig:
    """Maps of scans, such as masks: where they lie, and how they belong to scans."""

    folder: str = field("", "folder of the maps: .npy, .nii or .nii.gz, one for each scan", place=True)
    pattern: str = field(
        "{key}.npy",
        "name of the map of a scan; {key}, {sop_instance_uid}, {source}, {participant}, {device}, "
        "{protocol}, {region} and {eye} are those of samples.parquet",
    )
    table: str = field(
        "",
        "instead of a pattern: a tab-separated table with a column map and some of those names",
        place=True,
    )
    grid: str = field(
        "auto",
        "voxels of a map are those of the scan's file, or of the stored volume; auto: by shape and size",
        choices=("auto", "file", "stored"),
    )
    axes: str = field(
        "whd",
        "order of axes in NIfTI: whd as SimpleITK and ITK-SNAP write B-scans, dhw as a ShardDataset has them",
        choices=("whd", "dhw"),
    )


@dataclass
class MaskClass:
    """One class of a segmentation: what it is called, and the values that it has in the masks."""

    name: str = field("", "of the class, in tables")
    values: list[int] = field([], "its values in the masks", least=0, most=254)
    layer: bool = field(
        False, "a layer: all layers follow each other in depth, and the places of their boundaries are scored"
    )


@dataclass
class DenseHeads:
    """The heads on frozen tokens of `segment` and `translate`, and how they are fitted."""

    names: list[str] = field(
        ["linear", "unetr"],
        "of several layers, linear: of each token the voxels of its patch; unetr: a decoder of convolutions",
        choices=("linear", "unetr"),
        least_length=1,
    )
    width: int = field(16, "channels of the decoder at full resolution", least=1, limit=4096)
    voxels: bool = field(True, "the decoder reads the voxels as well, as UNETR does")
    epochs: int = field(40, "passes over train, at most", least=1, limit=MANY)
    patience: int = field(
        8, "epochs without a lower loss on val after which a head stops", least=1, limit=MANY
    )
    lr: list[float] = field(
        [5e-3, 2e-2],
        "of AdamW, falls to 0 as a cosine over `epochs`; of several the one with the lowest loss on val is "
        "taken, for each head and source",
        above=0,
        limit=10,
        least_length=1,
    )
    weight_decay: float = field(0.01, "of AdamW", least=0, limit=10)
    batch: int = field(4, "volumes per step", unit="samples", least=1, limit=MANY)
    random_draws: int = field(5, "encoders with random weights beside the trained one", least=1, limit=100)


@dataclass
class DenseConfig(IntervalConfig, DeviceConfig, ShardsConfig, EncoderConfig):
    """What `segment` and `translate` have alike."""

    heads: DenseHeads = group(DenseHeads)
    overlap: float = field(0.25, "of sliding windows, where a volume is larger", least=0, below=1)
    seed: int = field(0, "of heads, orders, crops, resamples and random encoders", limit=SEEDS)


@dataclass
class SegmentConfig(DenseConfig):
    """`octshard eval segment`."""

    masks: MapConfig = group(MapConfig)
    classes: list[MaskClass] = field([], "layers in the order of depth, and lesions; at least two")
    ignore: list[int] = field([], "values of masks whose voxels count nowhere", least=0, most=254)
    class_weights: str = field(
        "root",
        "of the cross-entropy: 1 / sqrt of a class's share of train voxels, 1 / share, or 1",
        choices=("root", "share", "one"),
    )
    out: str = field("runs/segment", "folder of segment.json and segment.html", place=True)


@dataclass
class TranslateConfig(DenseConfig):
    """`octshard eval translate`."""

    targets: MapConfig = group(MapConfig)
    out: str = field("runs/translate", "folder of translate.json and translate.html", place=True)

"""Settings of `octshard prep`: what a shard holds, and how it is made."""

from dataclasses import dataclass

from octshard.config.fields import MANY, MANY_BYTES, MANY_THREADS, SEEDS, field
from octshard.imaging.volume import GEOMETRIES, SENSIBLE_MM

EIGHT, KEEP = "8", "keep"  # of bits


@dataclass
class PrepConfig:
    """`octshard prep shard`: what a shard holds."""

    src: str = field("", "release root: the folder that holds manifest.tsv", speed=True, place=True)
    dst: str = field("", "where SHARDS/<device>/ is written", speed=True, place=True)
    manifest: str = field("", "the manifest; empty: manifest.tsv in src", speed=True, place=True)
    target_spacing: list[float] = field(
        [0.05, 0.02, 0.02],
        "spacing of stored volumes along D, H, W",
        unit="mm",
        length=3,
        least=SENSIBLE_MM[0],
        most=SENSIBLE_MM[1],
    )
    image_size: list[int] = field(
        [64, 384, 384],
        "shape along D, H, W, for fit=resize and where the spacing is assumed",
        unit="voxels",
        length=3,
        least=1,
        limit=MANY,
    )
    fit: str = field(
        "crop_pad",
        "crop_pad: the whole field of view is stored; resize: it is stretched to image_size",
        choices=("crop_pad", "resize"),
    )
    bits: str = field(
        EIGHT,
        "of stored voxels. 8: more are mapped to 8, by their 0.1 and 99.9 % levels; keep: they are stored as "
        "they are, in 16 bits, and mapped when they are read, without that rounding",
        choices=(EIGHT, KEEP),
        later=True,
    )
    include_geometry: list[str] = field(
        [], "geometries besides raster that become volumes", choices=GEOMETRIES
    )
    shard_bytes: int = field(
        256_000_000, "size of one tar that is aimed at", unit="bytes", least=1, limit=MANY_BYTES
    )
    zstd_level: int = field(3, "zstd compression level", least=1, most=22)
    where: str = field(
        "",
        "which files of the manifest: an expression over its columns, such as eye == 'L'; empty = all",
        later=True,
    )
    limit: int = field(0, "files of each device, a seeded draw; 0 = all", least=0, limit=MANY)
    seed: int = field(
        0,
        "of the order of samples, of the draw, and of the split where the release names none",
        limit=SEEDS,
    )
    split: str = field(
        "recommended",
        "recommended: a person to whom participants.tsv gives no split stops the run; hash: such people are "
        "placed by a hash of their ids",
        choices=("recommended", "hash"),
        speed=True,  # it decides whether a release is taken; two runs that take it agree
    )
    max_voxels: int = field(
        2_000_000_000,
        "a file that declares more is refused as too_large",
        unit="voxels",
        least=1,
        limit=MANY_BYTES,
    )
    max_output_voxels: int = field(
        400_000_000,
        "a file whose stored volume would have more is refused",
        unit="voxels",
        least=1,
        limit=MANY_BYTES,
    )
    decode: str = field(
        "exact",
        "exact: as pydicom; fast: JPEG 2000 at reduced resolution where the target allows it",
        choices=("exact", "fast"),
    )
    workers: int = field(0, "processes; 0 = one per core", least=0, limit=MANY_THREADS, speed=True)
    from_zip: bool = field(
        False, "read the members of the device ZIPs below src, not unpacked files", speed=True
    )
    engine: str = field(
        "local",
        "local: processes of this machine; ray: a Ray cluster",
        choices=("local", "ray"),
        speed=True,
    )
    decode_timeout_s: float = field(
        300.0,
        "a file that decodes longer is tried once more, then refused",
        unit="s",
        least=0.001,
        most=1_000_000,  # more does not fit into a wait of the system
        speed=True,
    )
    max_refused: str = field(
        "",
        "files, or a share such as 5%: a device with more refusals fails; empty = any number",
        speed=True,
    )
    price_per_core_hour: float = field(
        0.04, "for the estimate of a dry run", unit="USD", least=0, limit=MANY, speed=True
    )
    worker_memory: int = field(
        4_000_000_000,
        "memory that making one volume may take; a file that takes more is tried once more, then refused",
        unit="bytes",
        least=1,
        limit=MANY_BYTES,
        speed=True,
    )
    unzip_memory: int = field(
        256_000_000,
        "memory that unzip holds at once, all threads together",
        unit="bytes",
        least=1,
        limit=MANY_BYTES,
        speed=True,
    )

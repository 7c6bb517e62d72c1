"""Settings of `octshard prep`: what a shard holds, and how it is made."""

from dataclasses import dataclass

from octshard.config.fields import several, speed


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

"""The row of a file by its manifest alone, before anything is read."""

from octshard.dataset.tables import SampleRow
from octshard.prep.release.entry import Entry


def manifest_row(entry: Entry, split: str) -> SampleRow:
    """Without key and shard; sizes are those of the file, which a manifest may have wrong."""
    return SampleRow(
        key="",
        participant=entry.participant,
        device=entry.device,
        manufacturer=entry.manufacturer,
        model=entry.model,
        protocol=entry.protocol,
        region=entry.region,
        eye=entry.eye,
        split=split,
        source=entry.source,
        sop_instance_uid=entry.sop_instance_uid,
        acquired=entry.acquired,
    )

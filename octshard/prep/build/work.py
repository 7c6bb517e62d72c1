"""What making the shards of one device takes."""

from dataclasses import dataclass, field

from octshard.prep.build.progress import ProgressCounter
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.plan import Member


@dataclass(frozen=True)
class Work:
    """What making shards takes. duplicate_of: what all rows of the device say of duplicates."""

    job: WorkerJob
    folder: str
    count: ProgressCounter
    duplicate_of: dict[Member, str] = field(default_factory=dict)

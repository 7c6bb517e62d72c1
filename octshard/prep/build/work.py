"""The inputs for making the shards of one device."""

from dataclasses import dataclass, field

from octshard.prep.build.progress import ProgressCounter
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.plan import Member


@dataclass(frozen=True)
class Work:
    """What an engine needs to make shards. duplicate_of: the result of `duplicates.resolve`."""

    job: WorkerJob
    folder: str
    count: ProgressCounter
    duplicate_of: dict[Member, str] = field(default_factory=dict)

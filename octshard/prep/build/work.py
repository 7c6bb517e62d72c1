"""What making the shards of one device takes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from octshard.prep.build.progress import ProgressCounter
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.plan import Member


@dataclass(frozen=True)
class Work:
    """What making shards takes. settled: what the rows of the whole device have told of twins."""

    job: WorkerJob
    folder: str
    count: ProgressCounter
    noted: Callable[[str], None]
    settled: dict[Member, str] = field(default_factory=dict)

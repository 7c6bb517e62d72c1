"""What a place takes to which a run is logged. samples_seen is the x axis everywhere."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from octshard.models.checkpoint_info import CheckpointInfo

AXIS = "samples_seen"
Values = Mapping[str, Any]


class Picture(NamedTuple):
    """A PNG of what the run saw after `samples_seen` samples. name: lower case, digits and hyphens."""

    name: str
    step: int
    samples_seen: int
    png: bytes


class Sink(Protocol):
    """One such place. What it has no room for it leaves out."""

    def write(self, values: Values) -> None:
        """One line; it holds `step` and `samples_seen`, which may be those of an earlier line."""
        return

    def write_picture(self, picture: Picture) -> None:
        """One picture."""
        return

    def write_checkpoint(self, info: CheckpointInfo) -> None:
        """The files of a finished checkpoint in run.out."""
        return

    def flush(self) -> None:
        """What was written stays, whatever becomes of the process."""
        return

    def close(self, exit_code: int) -> None:
        """Nothing more comes; the run ends with `exit_code`."""
        return

    def abandon(self) -> None:
        """`close` did not return in time: from here on it must not keep the process from ending."""
        return

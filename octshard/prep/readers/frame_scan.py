"""A scan whose frames are read one by one from a file that is held in memory or mapped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.readers.reflectance import ReflectanceLevels
from octshard.prep.readers.scan import check_size
from octshard.prep.scan_facts import ScanFacts


@dataclass(frozen=True, eq=False)
class FrameScan:
    """As `Scan`. frame: grey levels (H, W) of the frame with this index of the file; Refused if damaged."""

    facts: ScanFacts
    frame: Callable[[int], np.ndarray] = field(repr=False)
    levels: ReflectanceLevels | None = None  # where stored numbers are reflectance

    def check(self, max_voxels: int) -> None:
        """Refused `empty` or `too_large`."""
        check_size(self.facts, max_voxels)

    def level_for(self, spacing_mm: Spacing, target_mm: Spacing) -> int:
        """There is one resolution."""
        return 0

    def frames(self, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """One after another, each read when it is wanted."""
        for index in order or range(self.facts.frames):
            yield self.frame(index)

    def bits_differ(self) -> bool:
        """Pixels are as wide as the file says, or Refused."""
        return False

    def rescaling(self) -> str:
        """As `ReflectanceLevels.text`, where there are any."""
        return self.levels.text if self.levels else ""

"""One volume of a file that holds several, as a scan of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.readers.scan import Scan
from octshard.prep.scan_facts import ScanFacts


@dataclass(frozen=True, eq=False)
class VolumeScan:
    """As `Scan`. facts: of the frames in `index`, which counts frames of `whole`."""

    whole: Scan
    facts: ScanFacts
    index: tuple[int, ...]

    def check(self, max_voxels: int) -> None:
        """As that of the whole file: what is wrong with it is wrong with all that it holds."""
        self.whole.check(max_voxels)

    def level_for(self, spacing_mm: Spacing, target_mm: Spacing) -> int:
        """As that of the whole file."""
        return self.whole.level_for(spacing_mm, target_mm)

    def frames(self, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Those of this volume alone; order: by their place in it."""
        return self.whole.frames(level, [self.index[i] for i in order or range(len(self.index))])

    def bits_differ(self) -> bool:
        """As that of the whole file."""
        return self.whole.bits_differ()

    def rescaling(self) -> str:
        """As that of the whole file."""
        return self.whole.rescaling()

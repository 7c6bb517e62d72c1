"""A scan in several files, as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.readers.scan import Scan, check_size
from octshard.prep.scan_facts import ScanFacts


@dataclass(frozen=True, eq=False)
class JoinedScan:
    """As `Scan`. facts: of the whole; its frames are those of the parts, one part after another."""

    parts: Sequence[Scan]
    facts: ScanFacts

    def check(self, max_voxels: int) -> None:
        """Of the whole; parts were checked when they were joined."""
        check_size(self.facts, max_voxels)

    def level_for(self, spacing_mm: Spacing, target_mm: Spacing) -> int:
        """The lowest level that all parts allow."""
        return min(part.level_for(spacing_mm, target_mm) for part in self.parts)

    def frames(self, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Each part is asked once for frames that follow each other."""
        counts = [part.facts.frames for part in self.parts]
        starts = list(accumulate(counts, initial=0))
        part_of = np.repeat(np.arange(len(counts)), counts)
        for part, run in groupby(order or range(self.facts.frames), key=lambda i: int(part_of[i])):
            yield from self.parts[part].frames(level, [i - starts[part] for i in run])

    def bits_differ(self) -> bool:
        """True if those of a part do."""
        return any(part.bits_differ() for part in self.parts)

    def rescaling(self) -> str:
        """Empty, as of DICOM."""
        return ""

"""What a file of any format is to conversion: what it says of its scan, checks, and its frames."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from octshard.imaging.volume import Spacing, product
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import ScanFacts


class Scan(Protocol):
    """An opened file. Opening reads no pixels; whatever is wrong with the bytes is Refused."""

    @property
    def facts(self) -> ScanFacts:
        """What the file says, unchecked."""

    def check(self, max_voxels: int) -> None:
        """Refused for what needs no decoding, in an order in which each reason is true."""

    def level_for(self, spacing_mm: Spacing, target_mm: Spacing) -> int:
        """How many resolution levels may be left out for a target spacing; 0 where a format has none."""

    def frames(self, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Grey levels (H, W), uint8 or uint16, of all frames, or of those in `order`; Refused if damaged.

        With a `level`: (ceil(H / 2^level), ceil(W / 2^level)). Frames may be read-only views of the bytes.
        """

    def bits_differ(self) -> bool:
        """True if the pixels have other bits, or another sign, than the file says."""

    def rescaling(self) -> str:
        """How values became grey levels, for the detail of the row; empty if they already were.

        Known once frames have been read.
        """


def check_size(facts: ScanFacts, max_voxels: int) -> None:
    """Refused `empty` or `too_large`."""
    if min(facts.shape) < 1:
        raise Refused("empty", f"{facts.shape} voxels declared")
    if product(facts.shape) > max_voxels:
        raise Refused("too_large", f"{facts.shape} voxels declared, want at most {max_voxels}")

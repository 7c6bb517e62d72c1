"""Which parts of a stored volume an encoder reads, one after the other: the whole of it, or its centre.

Pure. Tiles of the whole hold each voxel once, so each token of the volume comes once too.
"""

import itertools
from dataclasses import dataclass

from octshard.imaging.crop import Window, crop_window
from octshard.imaging.volume import Shape

WHOLE, CENTRE = "whole", "centre"
VIEWS = (WHOLE, CENTRE)


@dataclass(frozen=True)
class View:
    """kind: one of VIEWS; image_size, patch: of the encoder."""

    kind: str
    image_size: Shape
    patch: Shape

    def windows(self, extent: Shape) -> list[Window]:
        """The tiles of a volume of this extent, of at most image_size each, in the order of its tokens.

        Of the whole, each axis is cut into the fewest parts. They do not overlap, and differ by one token at
        most, so that none is a thin rest.
        """
        if self.kind == CENTRE:
            return [crop_window(extent, self.image_size, None)]
        axes = zip(extent, self.image_size, self.patch, strict=True)
        d_parts, h_parts, w_parts = (_parts(*axis) for axis in axes)
        return list(itertools.product(d_parts, h_parts, w_parts))

    @property
    def field(self) -> str:
        """What is seen, in words, for those who need no tiles."""
        return "whole" if self.kind == WHOLE else str(self)

    def __str__(self) -> str:
        size = "x".join(map(str, self.image_size))
        return f"whole, tiles of at most {size}" if self.kind == WHOLE else f"centre crop, at most {size}"


def shape_of(window: Window) -> Shape:
    """Voxels along D, H, W."""
    d, h, w = (part.stop - part.start for part in window)
    return d, h, w


def _parts(voxels: int, size: int, patch: int) -> list[slice]:
    """Of one axis."""
    tokens = -(-voxels // patch)
    count = -(-tokens // (size // patch))
    least, longer = divmod(tokens, count)
    bounds = [patch * (i * least + min(i, longer)) for i in range(count)] + [voxels]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

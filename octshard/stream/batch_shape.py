"""The shape of all batches of an index: fixed, and no larger than its largest volume asks for."""

from typing import NamedTuple

from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape, product, triple
from octshard.stream.index import SampleIndex, token_grid


class BatchShape(NamedTuple):
    """box: voxels (D, H, W) of a volume in a batch, whole patches inside image_size; tokens: V, the most that
    an encoder reads of a volume; least_valid, most_valid: valid tokens of the smallest and the largest one.
    """

    box: Shape
    tokens: int
    least_valid: int
    most_valid: int

    @property
    def padded(self) -> bool:
        """True if of some volume fewer than V are read."""
        return self.least_valid < self.tokens

    def of_length(self, valid: int) -> "BatchShape":
        """Of a batch in which no volume has more valid tokens."""
        return self._replace(tokens=min(self.tokens, valid), most_valid=valid)

    def grid(self, cfg: TrainConfig) -> Shape:
        """Tokens along D, H, W of the box."""
        return triple([n // p for n, p in zip(self.box, cfg.model.patch, strict=True)])


def batch_shape(index: SampleIndex, cfg: TrainConfig, max_tokens: int | None = None) -> BatchShape:
    """That of `index` at this model's image_size and patch; of a volume at most `max_tokens` are read."""
    grids = {token_grid(shape, cfg) for shape in {sample.shape for sample in index.samples}}
    if not grids:
        grids = {token_grid(triple(cfg.model.image_size), cfg)}
    d, h, w = (max(sizes) * p for sizes, p in zip(zip(*grids, strict=True), cfg.model.patch, strict=True))
    counts = [product(grid) for grid in grids]
    tokens = min(max(counts), max_tokens or max(counts))
    return BatchShape((d, h, w), tokens, min(counts), max(counts))

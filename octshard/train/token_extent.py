"""What the tokens of a run cover in mm: said at its start, and beside each picture of a volume."""

from collections.abc import Iterable, Sequence

from octshard.config.train import TrainConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import Spacing, triple
from octshard.train.objectives import footprints


def start_line(cfg: TrainConfig, rows: Sequence[SampleRow]) -> str:
    """Over these volumes, from the least to the greatest where they differ."""
    known = {spacing for row in rows if (spacing := row.known_spacing) is not None}
    unknown = sum(row.known_spacing is None for row in rows)
    if not known:
        return "tokens: what one covers in mm is not known, as no spacing is"
    target = _extent(cfg.model.patch, known)
    line = f"tokens: one covers {target}"
    if footprints.is_coarse(cfg):
        side = [n * s for n, s in zip(cfg.model.patch, cfg.objective.context_scale, strict=True)]
        line = f"tokens: one of the targets covers {target}, one of the context {_extent(side, known)}"
    return line + (f"; of {unknown:,} of {len(rows):,} volumes no spacing is known" if unknown else "")


def _extent(side: Sequence[int], spacings: Iterable[Spacing]) -> str:
    """Of `side` voxels along D, H, W."""
    axes = zip(*spacings, strict=True)
    lengths = [_range(n * min(mm), n * max(mm)) for n, mm in zip(triple(side), axes, strict=True)]
    return f"{' x '.join(lengths)} mm (D x H x W)"


def _range(least: float, greatest: float) -> str:
    low, high = f"{least:.3g}", f"{greatest:.3g}"
    return low if low == high else f"{low} to {high}"

"""What one source says of spacing (PS3.3 Pixel Measures)."""

from dataclasses import dataclass

SAME = 0.01  # two spacings closer than this share are one


@dataclass(frozen=True)
class PixelMeasures:
    """What one source says, mm; None where it says nothing. `varies`: frames disagree by more than 1 %."""

    source: str  # per_frame | shared | top_level | manifest
    pixel_mm: tuple[float, float] | None = None  # (row, col) = (axial, lateral)
    thickness_mm: float | None = None
    spacing_between_slices_mm: float | None = None
    varies: bool = False

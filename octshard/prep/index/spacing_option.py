"""--spacing of prep index: the size of a voxel in mm, for files that tell none. Pure."""

from octshard.errors import UsageError
from octshard.imaging.volume import Spacing

EXAMPLE = "0.047,0.0026,0.0117"
MOST_MM = (5.0, 0.1, 0.5)  # no OCT is so coarse: such numbers are µm
WANT = f"the mm from B-scan to B-scan, in depth, and from A-scan to A-scan, as in {EXAMPLE}"


def parse(text: str) -> Spacing:
    """The step between B-scans, in depth and between A-scans; UsageError unless all are lengths in mm."""
    try:
        step, depth, width = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--spacing {text}: want three numbers, {WANT}") from None
    lengths = (step, depth, width)
    if not all(0 < mm < float("inf") for mm in lengths):
        raise UsageError(f"--spacing {text}: want three lengths above 0, {WANT}")
    if any(mm > most for mm, most in zip(lengths, MOST_MM, strict=True)):
        inner = all(mm / 1000 <= most for mm, most in zip(lengths, MOST_MM, strict=True))
        advice = (
            f"; if these are µm, --spacing {','.join(f'{mm / 1000:g}' for mm in lengths)}" if inner else ""
        )
        raise UsageError(f"--spacing {text}: too large for mm, want {WANT}{advice}")
    return lengths

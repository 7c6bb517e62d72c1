"""What a file says of its scan, in any format: who made it, its size, its spacing, where its frames lie."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

MANIFEST = "manifest"  # source of what the manifest says
ANGLE = "angle"  # source of a width that a file tells in degrees: an estimate, and the last that is asked


@dataclass(frozen=True)
class PixelMeasures:
    """What one source says, mm; None where it says nothing. `varies`: frames disagree by more than 1 %.

    alone_mm: (row, col) where a file tells only one of the two, or the other in degrees.
    unreadable: what stands there, but is no length or can be read in two ways. invented_mm: an
    in-plane spacing that was left out, because it is a converter's placeholder.
    """

    source: str  # per_frame | shared | top_level of DICOM | file of other formats | manifest | ANGLE
    pixel_mm: tuple[float, float] | None = None  # (row, col) = (axial, lateral)
    thickness_mm: float | None = None
    spacing_between_slices_mm: float | None = None
    varies: bool = False
    unreadable: tuple[str, ...] = ()
    invented_mm: tuple[float, float] | None = None
    alone_mm: tuple[float | None, float | None] = (None, None)


class FrameLabel(NamedTuple):
    """Which volume of a file a frame is of; empty where it does not say."""

    eye: str = ""  # FrameLaterality
    stack: str = ""  # StackID
    time: str = ""  # TemporalPositionIndex


@dataclass(frozen=True, eq=False)
class Placement:
    """What the frames say of their place, one entry per per-frame item; NaN where one is silent."""

    numbers_F: np.ndarray  # InStackPositionNumber
    indices_FK: np.ndarray  # DimensionIndexValues, as many as most frames have
    positions_F3: np.ndarray  # ImagePositionPatient, mm
    normal_3: np.ndarray | None  # to the frames' planes; None if unknown, or if the frames are not parallel
    stacks: tuple[str, ...]  # StackIDs, each once
    times: tuple[str, ...]  # TemporalPositionIndex, each once
    eyes: tuple[str, ...]  # FrameLaterality, each once: L, R, B
    locations: tuple[np.ndarray, ...]  # (n_points, 2) of (row, col) localizer pixels; empty: none
    labels: tuple[FrameLabel, ...] = ()
    numbered_by: str = "InStackPositionNumber"  # what numbers_F is


@dataclass(frozen=True)
class Concatenation:
    """Which part of a scan in several files this one is; None where the file does not say."""

    uid: str = ""
    part: int | None = None
    parts: int | None = None
    first_frame: int | None = None

    @property
    def is_part(self) -> bool:
        """True if other files hold the rest of the scan."""
        if self.parts is not None:
            return self.parts > 1
        return bool(self.uid) or (self.part or 1) > 1 or (self.first_frame or 0) > 0


@dataclass(frozen=True, eq=False)
class ScanFacts:
    """All that conversion asks of a file before its frames are decoded."""

    sop_instance_uid: str
    transfer_syntax: str
    manufacturer: str
    model: str
    eye: str  # L, R or empty
    frames: int
    rows: int
    cols: int
    bits: int  # of a stored number
    measures: tuple[PixelMeasures, ...]  # in search order: per frame, shared, top level
    locations: tuple[np.ndarray, ...]  # per frame (n_points, 2) of (row, col) localizer pixels; () if none
    placement: Placement  # what else the frames say of their place
    concatenation: Concatenation
    # one of volume.GEOMETRIES, where the file names it; empty: it does not
    pattern: str = field(default="", kw_only=True)
    lost_frames: int = field(default=0, kw_only=True)  # that the file declares, and does not hold
    size_in_name: tuple[int, int] | None = field(
        default=None, kw_only=True
    )  # (D, W), where the name tells it
    # levels of 16 bits that the format shows as black and white; None: percentiles of the volume are
    display: tuple[float, float] | None = field(default=None, kw_only=True)
    left_out: tuple[str, ...] = field(default=(), kw_only=True)  # images of a folder that are not of its scan

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) in voxels."""
        return self.frames, self.rows, self.cols

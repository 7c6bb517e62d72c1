"""Heidelberg's reflectance -> grey levels, by the vendor's own display mapping: the fourth root of 0 to 1.

The mapping is the same for every scan, so that grey levels of two scans can be compared, and gives the 8 bits
that Spectralis shows and exports; where more are kept, 16 bits of the same grey. Two square roots: these are
exact on every machine, a power is not.
"""

from dataclasses import dataclass, field

import numpy as np

from octshard.prep.readers.scan_bytes import ScanBytes

KEPT_TOP = 65535
NO_VALUE = np.float32(1e38)  # stored as the greatest float32, 3.402823e38, where the B-scan has no A-scan


def levels_of(file: ScanBytes) -> "ReflectanceLevels":
    """8 bits, or 16 where the file is asked for all that it has."""
    return ReflectanceLevels(KEPT_TOP if file.keep else 255)


@dataclass(frozen=True)
class ReflectanceLevels:
    """Maps frames, and remembers of each how many pixels had no value. top: the level of 1, 255 or 65535."""

    top: int = 255
    no_value_by_frame: dict[int, int] = field(default_factory=dict)

    def of(self, reflectance_HW: np.ndarray, index: int) -> np.ndarray:
        """uint8 or uint16 (H, W) of float32; negative or no number or NO_VALUE is black, above 1 is white."""
        valid_HW = (reflectance_HW >= 0) & (reflectance_HW < NO_VALUE)
        self.no_value_by_frame[index] = int(valid_HW.size - np.count_nonzero(valid_HW))
        root_HW = np.sqrt(np.sqrt(np.where(valid_HW, np.minimum(reflectance_HW, np.float32(1)), 0)))
        return np.rint(root_HW * np.float32(self.top)).astype(np.uint8 if self.top == 255 else np.uint16)

    @property
    def display(self) -> tuple[float, float] | None:
        """As in ScanFacts."""
        return None if self.top == 255 else (0.0, float(self.top))

    @property
    def text(self) -> str:
        """How levels were made of the frames so far, for the detail of a row."""
        black = sum(self.no_value_by_frame.values())
        return f"reflectance 0 to 1 became levels 0 to {self.top} by its fourth root" + (
            f"; {black} pixels without a value became 0" if black else ""
        )

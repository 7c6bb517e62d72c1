"""The targets of all scans, on their stored grids, compressed in memory: maps are read once."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from octshard.imaging.crop import Window
from octshard.imaging.volume import Shape

PADDING = 255  # the label of voxels that count nowhere: outside a volume, or ignored


@dataclass(frozen=True, eq=False)
class TargetStore:
    """Of each key labels, uint8 (D, H, W), or pictures from above, float32 (D, W)."""

    packed: Mapping[str, bytes]
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str

    @staticmethod
    def of(targets: Mapping[str, np.ndarray], dtype: str) -> "TargetStore":
        """Of all targets at once; for many, `pack` one by one."""
        packed = {key: pack(target) for key, target in targets.items()}
        return TargetStore(packed, {key: target.shape for key, target in targets.items()}, dtype)

    def whole(self, key: str) -> np.ndarray:
        """The target of one scan."""
        return np.frombuffer(zlib.decompress(self.packed[key]), self.dtype).reshape(self.shapes[key])

    def cropped(self, key: str, window: Window, box: Shape) -> np.ndarray:
        """That part of it, in the box of a batch: PADDING behind labels, 0 behind pictures."""
        whole = self.whole(key)
        axes = (0, 1, 2) if whole.ndim == 3 else (0, 2)
        part = whole[tuple(window[axis] for axis in axes)]
        filled = np.full([box[axis] for axis in axes], PADDING if whole.ndim == 3 else 0, self.dtype)
        filled[tuple(slice(n) for n in part.shape)] = part
        return filled


def pack(target: np.ndarray) -> bytes:
    """Fast: labels are long runs."""
    return zlib.compress(np.ascontiguousarray(target).tobytes(), 1)

"""Smooth noise over the fundus: the irregularity of living tissue as a function of position.

A lattice belongs to an eye, not to a scan: two devices that scan one place show the same texture.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LOW_MM, HIGH_MM = (-9.0, -9.0), (11.0, 9.0)  # extent of the lattice, (x nasal, y superior) from the fovea


@dataclass(frozen=True, eq=False)
class Lattice:
    """values_YXK: K standard normal fields at nodes step_mm apart; positions outside are clipped."""

    values_YXK: np.ndarray
    step_mm: float

    def at(self, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
        """Values (*shape, K) float32 at positions of any shape; a smoothstep leads from node to node."""
        rows, cols, fields = self.values_YXK.shape
        i, v = _cell((y_mm - LOW_MM[1]) / self.step_mm, rows)
        j, u = _cell((x_mm - LOW_MM[0]) / self.step_mm, cols)
        flat = self.values_YXK.reshape(-1, fields)
        corner, u, v = i * cols + j, u[..., None], v[..., None]
        near = flat[corner] * (1 - u) + flat[corner + 1] * u
        far = flat[corner + cols] * (1 - u) + flat[corner + cols + 1] * u
        return near * (1 - v) + far * v


def generate(rng: np.random.Generator, fields: int, step_mm: float, smooth: tuple[float, float]) -> Lattice:
    """K fields of unit variance; smooth: Gaussian widths, in nodes along x and y, and in fields along K."""
    cols, rows = (round((high - low) / step_mm) + 2 for low, high in zip(LOW_MM, HIGH_MM, strict=True))
    values = rng.standard_normal((rows, cols, fields), dtype=np.float32)
    if any(smooth):
        values = ndimage.gaussian_filter(values, (smooth[0], smooth[0], smooth[1]), mode="wrap", truncate=2.5)
        values /= values.std()
    return Lattice(values, step_mm)


def _cell(position: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    position = np.clip(position, 0, nodes - 1.001)
    index = position.astype(np.intp)
    fraction = (position - index).astype(np.float32)
    return index, fraction * fraction * (3 - 2 * fraction)

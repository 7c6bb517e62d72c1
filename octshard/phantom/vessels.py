"""Retinal vessels: a tree that leaves the optic disc, arches over the macula and spares the fovea.

Coordinates are mm from the fovea, x towards the nose, y upwards; every scan of an eye sees the same tree.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

STEP_MM = 0.03  # between points of a vessel
AVASCULAR_MM = 0.45  # radius of the foveal avascular zone


@dataclass(frozen=True, eq=False)
class Tree:
    """All vessels as points with a radius."""

    points: cKDTree
    radius_N: np.ndarray  # mm

    def chord(self, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
        """Height in mm of the vessel lumen over each position (0: no vessel), float32."""
        positions = np.stack([x_mm.ravel(), y_mm.ravel()], axis=1)
        reach = float(self.radius_N.max())
        distance, nearest = self.points.query(positions, distance_upper_bound=reach)
        radius = self.radius_N[np.minimum(nearest, len(self.radius_N) - 1)]
        inside = np.clip(1 - (np.minimum(distance, reach) / radius) ** 2, 0, 1)
        return (2 * radius * np.sqrt(inside) * (distance < radius)).reshape(x_mm.shape).astype(np.float32)


def generate(disc_mm: tuple[float, float], rng: np.random.Generator) -> Tree:
    """Four temporal arcades and four nasal trunks (an artery and a vein each way), branching twice."""
    points: list[np.ndarray] = []
    for towards, bend in ((-1.0, 1.3), (1.0, 0.9)):
        for up in (1.0, -1.0):
            for radius, spread in ((0.055, 0.9), (0.070, 1.12)):
                trunk = _arcade(disc_mm, towards, up * bend * spread * rng.uniform(0.9, 1.1), rng)
                points += _branch(trunk, radius, 2, rng)
    everything = np.concatenate(points)
    vascular = np.hypot(everything[:, 0], everything[:, 1]) > AVASCULAR_MM
    everything = everything[vascular]
    return Tree(cKDTree(everything[:, :2]), everything[:, 2])


def _arcade(
    disc_mm: tuple[float, float], towards: float, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """A parabola x = t^2, y = bend * t out of the disc with a wiggle, as (n, 2) points STEP_MM apart."""
    t = np.linspace(0, 3.0, 900)
    wiggle = sum(rng.normal(0, 0.09 / k) * np.sin(k * (1.7 * t + rng.uniform(0, 6.3))) for k in (1, 2, 3, 5))
    x = disc_mm[0] + towards * t**2 * (1.0 + 0.03 * wiggle)
    y = disc_mm[1] + bend * t * 1.15 + wiggle * np.minimum(t, 1)
    return _even(np.stack([x, y], axis=1))


def _branch(path: np.ndarray, radius: float, depth: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`path` with a tapering radius as (n, 3), and its side branches."""
    taper = radius * (1 - 0.6 * np.linspace(0, 1, len(path)))
    branches = [np.column_stack([path, taper])]
    if depth == 0 or len(path) < 40:
        return branches
    length_mm = len(path) * STEP_MM
    for start in rng.integers(15, len(path) - 5, max(1, rng.poisson(length_mm * 1.1))):
        heading = np.arctan2(*(path[start + 4] - path[start])[::-1])
        turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
        n = int(rng.uniform(0.25, 1.0) * (150 if depth == 2 else 60))
        # the heading wanders back towards that of the parent
        angles = heading + turn * np.exp(-np.arange(n) / 60) + np.cumsum(rng.normal(0, 0.06, n))
        steps = STEP_MM * np.column_stack([np.cos(angles), np.sin(angles)])
        side = path[start] + np.cumsum(steps, axis=0)
        branches += _branch(side, taper[start] * rng.uniform(0.4, 0.7), depth - 1, rng)
    return branches


def _even(path: np.ndarray) -> np.ndarray:
    """The same curve in steps of STEP_MM."""
    run = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    even = np.arange(0, run[-1], STEP_MM)
    return np.column_stack([np.interp(even, run, path[:, 0]), np.interp(even, run, path[:, 1])])

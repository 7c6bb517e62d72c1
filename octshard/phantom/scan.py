"""A scan of an eye by a device: the positions of its A-scans, and their voxels.

A scan is a function of its eye, protocol, scale and generator. `scale` multiplies frames, rows and columns
and divides the spacing, so that the extent stays. Frames are rendered in blocks, so memory is bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from octshard.phantom import display, tissue
from octshard.phantom import eye as anatomy
from octshard.phantom.device import DEVICES, Device, Protocol
from octshard.phantom.eye import BM, ELM, ILM, INL, SUB, Eye

BLOCK_VOXELS = 2**19  # rendered at once: a few arrays of this size fit the CPU cache
DRUSE_MM = 0.004  # where the RPE is lifted by more, the truth has a druse
_LINES, _CIRCLES = 24, (3.5, 4.1, 4.7)  # radial lines; diameters in mm


@dataclass(frozen=True, eq=False)
class Grid:
    """Positions of A-scans: x, y mm on the fundus (nasal, superior); u, v mm from the display centre."""

    x_DW: np.ndarray
    y_DW: np.ndarray
    u_DW: np.ndarray  # to the right
    v_DW: np.ndarray  # downwards
    locations: tuple[np.ndarray, ...]  # per frame (n_points, 2) of (row, col) localizer pixels


@dataclass(frozen=True, eq=False)
class Picture:
    """A scan and its ground truth. A row coordinate r means depth r * dy; voxel j covers [j, j + 1)."""

    voxels_DHW: np.ndarray  # uint8
    rows_KDW: np.ndarray  # float32 row of each of eye.BOUNDARIES
    drusen_DB: np.ndarray  # per frame the packed bits of (H, W)
    fluid_DB: np.ndarray
    extent_mm: tuple[float, float, float]
    grid: Grid

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        depth, height, width = self.voxels_DHW.shape
        return depth, height, width


def shape_of(protocol: Protocol, scale: float) -> tuple[int, int, int]:
    """(D, H, W) at a scale. The number of radial lines and circles does not scale."""
    frames = protocol.frames if protocol.pattern != "raster" else max(4, round(protocol.frames * scale))
    return frames, max(8, round(protocol.rows * scale)), max(8, round(protocol.cols * scale))


def acquire(
    eye: Eye,
    protocol: Protocol,
    scale: float,
    rng: np.random.Generator,
    closed_DW: np.ndarray | None = None,
) -> Picture:
    """One scan of an eye. closed_DW: A-scans under a closed lid, which hold only noise."""
    device, (frames, height, width) = DEVICES[protocol.device], shape_of(protocol, scale)
    grid = scan_grid(eye, protocol, (frames, width), rng)
    settings = display.draw_settings(device, eye.person.participant[:1], rng)
    grain = display.grain_of(device, protocol, (height, width))
    dy = protocol.extent_mm[1] / height
    depth_KDW = anatomy.boundaries(eye, grid.x_DW, grid.y_DW)
    surface_DW = _surface(protocol, grid, depth_KDW, rng)
    shade_DW = settings.gain_db + _shading(grid, rng)
    rows_KDW = (depth_KDW + surface_DW) / dy
    voxels = np.empty((frames, height, width), np.uint8)
    drusen, fluid = (np.empty((frames, -(-height * width // 8)), np.uint8) for _ in range(2))
    for block in _blocks(frames, height * width):
        frame_block = _FrameBlock(
            eye, device, grid.x_DW[block], grid.y_DW[block], rows_KDW[:, block], dy, height
        )
        power_DWH, fluid_DWH = frame_block.power(depth_KDW[:, block], surface_DW[block], shade_DW[block])
        if closed_DW is not None:
            power_DWH[closed_DW[block]] = 0
        voxels[block] = display.render(power_DWH, settings, grain, rng)
        fluid[block], drusen[block] = _pack(fluid_DWH), _pack(frame_block.drusen())
    extent = (protocol.extent_mm[0], protocol.extent_mm[1], protocol.extent_mm[2])
    return Picture(voxels, rows_KDW.astype(np.float32), drusen, fluid, extent, grid)


def scan_grid(eye: Eye, protocol: Protocol, shape_DW: tuple[int, int], rng: np.random.Generator) -> Grid:
    """The scan pattern on the fundus: the right of the display is nasal in a right eye only."""
    device, nasal = DEVICES[protocol.device], 1.0 if eye.side == "R" else -1.0
    u, v, ends = (
        _raster(protocol, shape_DW) if protocol.pattern == "raster" else _radial_circle(protocol, shape_DW)
    )
    if device.bottom_up and protocol.pattern == "raster":
        u, v, ends = u[::-1], v[::-1], ends[::-1]
    at_disc = {"macula": 0.0, "between": 0.5, "disc": 1.0}[protocol.centre]
    fixation = rng.normal(0, 0.06 if protocol.centre == "disc" else 0.15, 2)
    x = nasal * u + at_disc * eye.disc.x_mm + fixation[0]
    y = -v + at_disc * eye.disc.y_mm + fixation[1]
    per_mm = device.localizer_px / (1.3 * max(protocol.extent_mm[0], protocol.extent_mm[2], 5.0))
    locations = tuple(
        (device.localizer_px / 2 + per_mm * points[:, ::-1]).astype(np.float32) for points in ends
    )
    return Grid(
        x.astype(np.float32), y.astype(np.float32), u.astype(np.float32), v.astype(np.float32), locations
    )


def _raster(protocol: Protocol, shape_DW: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """u_DW, v_DW of voxel centres from top to bottom, and the two ends (u, v) of every frame."""
    (d, w), (slow_mm, _, fast_mm) = shape_DW, protocol.extent_mm
    across = (np.arange(w) + 0.5) / w * fast_mm - fast_mm / 2
    down = (np.arange(d) + 0.5) / d * slow_mm - slow_mm / 2
    cos, sin = np.cos(np.radians(protocol.degrees)), np.sin(np.radians(protocol.degrees))
    u = across * cos - down[:, None] * sin
    v = across * sin + down[:, None] * cos
    half = np.array([-fast_mm / 2, fast_mm / 2])
    ends = [np.stack([half * cos - at * sin, half * sin + at * cos], axis=1) for at in down]
    return u, v, ends


def _radial_circle(
    protocol: Protocol, shape_DW: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """u_DW, v_DW and locations (u, v) of 24 radial lines, then 3 circles."""
    w, length = shape_DW[1], protocol.extent_mm[2]
    along = (np.arange(w) + 0.5) / w * length - length / 2
    angles = np.arange(_LINES) * np.pi / _LINES
    lines = [np.stack([along * np.cos(a), along * np.sin(a)], axis=1) for a in angles]
    turn = np.arange(w) / w * 2 * np.pi
    rounds = [np.stack([mm / 2 * np.cos(turn), mm / 2 * np.sin(turn)], axis=1) for mm in _CIRCLES]
    ends = [
        np.stack([np.array([-1, 1]) * length / 2 * f(a) for f in (np.cos, np.sin)], axis=1) for a in angles
    ]
    points = np.stack(lines + rounds)
    return points[..., 0], points[..., 1], ends + rounds


def _surface(protocol: Protocol, grid: Grid, depth_KDW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Depth (mm) of Bruch's plane in the frame: curvature, tilt, axial motion, and the operator's offset."""
    u, v = grid.u_DW, grid.v_DW
    reach = max(float(np.abs(u).max()), float(np.abs(v).max()), 3.0) / 3.0
    tilt_u, tilt_v = np.tan(np.radians(rng.normal(0, 1.8, 2) / reach))
    bowl = (u**2 + v**2) / (2 * rng.uniform(35, 80))
    steps = rng.normal(0, 0.0025, len(u)) + 0.006 * rng.standard_normal(len(u)) * (rng.random(len(u)) < 0.03)
    drift = np.cumsum(steps)
    drift -= np.linspace(drift[0], drift[-1], len(u))
    shape = tilt_u * u + tilt_v * v - bowl + drift[:, None]
    top, bottom = float((depth_KDW[ILM] + shape).min()), float((depth_KDW[BM] + shape).max()) + 0.28
    free = protocol.extent_mm[1] - (bottom - top)
    margin = free * rng.uniform(0.25, 0.65) if free > 0.1 else 0.05
    return (shape + margin - top).astype(np.float32)


def _shading(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """dB over the scan: vignetting, opacities of lens and vitreous, gain by frame and by A-scan."""
    u, v = grid.u_DW, grid.v_DW
    reach = max(float(np.abs(u).max()), 1.0)
    shade = -rng.uniform(0.3, 1.6) * (u**2 + v**2) / reach**2 + rng.normal(0, 0.8) * u / reach
    for _ in range(rng.poisson(1.2)):
        x, y = rng.uniform(-reach, reach, 2)
        width = rng.uniform(0.1, 0.5) * reach
        shade = shade - rng.uniform(1, 4.5) * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * width**2))
    shade = shade + rng.normal(0, 0.25, (len(u), 1)) + rng.normal(0, 0.22, u.shape)
    return shade.astype(np.float32)


@dataclass(frozen=True, eq=False)
class _FrameBlock:
    """A block of frames of one scan."""

    eye: Eye
    device: Device
    x_DW: np.ndarray
    y_DW: np.ndarray
    rows_KDW: np.ndarray
    dy: float
    height: int

    def power(
        self, depth_KDW: np.ndarray, surface_DW: np.ndarray, shade_DW: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean backscattered power (D, W, H) of every voxel, 1 = the brightest RPE, and the mask of fluid."""
        slabs = tissue.slabs(self.eye, depth_KDW, self.x_DW, self.y_DW)
        below_mm = np.maximum(slabs.edges_SDW - depth_KDW[BM], 0)
        edges_mm = slabs.edges_SDW + surface_DW
        level = slabs.level_SDW + shade_DW - self.device.choroid_db_per_mm * below_mm
        level -= self.device.rolloff_db_per_mm * edges_mm
        power_SDW = np.exp(level * np.float32(np.log(10) / 10))
        power_DWH = _fill(edges_mm / self.dy, power_SDW, self.height)
        return power_DWH, self._fluid(power_DWH)

    def drusen(self) -> np.ndarray:
        """Voxels (D, W, H) between a lifted RPE and Bruch's membrane."""
        top, bottom = self.rows_KDW[SUB], self.rows_KDW[BM]
        mask = np.zeros((*top.shape, self.height), bool)
        d, w = np.nonzero((bottom - top) * self.dy > DRUSE_MM)
        centre = np.arange(self.height, dtype=np.float32) + 0.5
        mask[d, w] = (centre >= top[d, w, None]) & (centre < bottom[d, w, None])
        return mask

    def _fluid(self, power_DWH: np.ndarray) -> np.ndarray:
        """Darkens the cysts in `power_DWH` and returns their mask (D, W, H)."""
        fluid = np.zeros(power_DWH.shape, bool)
        dark = np.float32(10 ** (tissue.FLUID_DB / 10))
        for x, y, level, rx, ry, rz in self.eye.cysts_N6:
            inside = 1 - ((self.x_DW - x) / rx) ** 2 - ((self.y_DW - y) / ry) ** 2
            d, w = np.nonzero(inside > 0)
            if len(d) == 0:
                continue
            top, bottom = self.rows_KDW[INL][d, w], self.rows_KDW[ELM][d, w]
            centre = top + level * (bottom - top)
            half = np.minimum(rz / self.dy * np.sqrt(inside[d, w]), 0.48 * (bottom - top))
            low = max(0, int((centre - half).min()) - 1)
            high = min(self.height, int((centre + half).max()) + 2)
            row = np.arange(low, high, dtype=np.float32) + 0.5
            filled = np.clip(half[:, None] - np.abs(row - centre[:, None]) + 0.5, 0, 1)
            power_DWH[d, w, low:high] *= 1 - filled * (1 - dark)
            fluid[d, w, low:high] |= filled > 0.5
        return fluid


def _fill(edges_SDW: np.ndarray, power_SDW: np.ndarray, height: int) -> np.ndarray:
    """Mean power (D, W, H) in each voxel of a stack of uniform slabs: the running integral's differences.

    The integral is linear within a slab, so a slab gives an offset and a slope to the voxel edges in it.
    """
    edges = np.moveaxis(edges_SDW, 0, -1)
    slope = np.concatenate(
        [np.full((*edges.shape[:2], 1), 1e-6, np.float32), np.moveaxis(power_SDW, 0, -1)], axis=2
    )
    middle = height / 2  # offsets are about the middle row: float32 keeps its digits
    begin = np.concatenate([np.zeros((*edges.shape[:2], 1)), edges], axis=2)
    passed = np.zeros(begin.shape)
    np.cumsum(slope[..., :-1] * np.diff(begin, axis=2), axis=2, out=passed[..., 1:])
    offset = (passed - slope * (begin - middle)).astype(np.float32)
    first = np.clip(np.ceil(begin), 0, height + 1).astype(np.intp)
    first[..., 0] = 0
    counts = np.diff(first, axis=2, append=height + 1).ravel()
    row = np.arange(height + 1, dtype=np.float32) - np.float32(middle)
    integral = np.repeat(slope.ravel(), counts).reshape(*edges.shape[:2], height + 1)
    integral *= row
    integral += np.repeat(offset.ravel(), counts).reshape(integral.shape)
    return np.diff(integral, axis=2)


def _pack(mask_DWH: np.ndarray) -> np.ndarray:
    frames = mask_DWH.transpose(0, 2, 1).reshape(len(mask_DWH), -1)
    return np.packbits(frames, axis=1)


def _blocks(frames: int, voxels_per_frame: int) -> Iterator[slice]:
    step = max(1, BLOCK_VOXELS // voxels_per_frame)
    for start in range(0, frames, step):
        yield slice(start, min(start + step, frames))

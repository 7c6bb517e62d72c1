"""The anatomy of a made-up eye: layer boundaries, optic disc and lesions as functions of position in mm.

Positions are mm from the fovea, x towards the nose, y upwards, so that left and right eyes share one anatomy;
depths are mm below Bruch's membrane (negative: above it). Nothing here knows of pixels or devices.
"""

from dataclasses import dataclass

import numpy as np

from octshard.phantom import noise_field, vessels
from octshard.rng import rng_for

STATES = ("healthy", "drusen", "fluid", "thinning")
BOUNDARIES = (
    "ILM", "RNFL_GCL", "GCL_IPL", "IPL_INL", "INL_OPL", "OPL_ONL", "ELM", "EZ", "RPE", "RPE_BM", "BM", "CSI",
)  # fmt: skip
# each index names what lies below the boundary
ILM, GCL, IPL, INL, OPL, ONL, ELM, EZ, RPE, SUB, BM, CSI = range(len(BOUNDARIES))
LAYERS = len(BOUNDARIES) - 1
MIN_MM = 0.0015  # no layer is thinner, so that the order of boundaries is strict outside the disc


@dataclass(frozen=True)
class Person:
    """The properties of a participant that the eyes depend on. severity: in (0, 1], 0 if healthy."""

    participant: str
    state: str  # one of STATES
    severity: float
    age: int


@dataclass(frozen=True)
class Disc:
    """The optic nerve head. cup is the cup-to-disc ratio."""

    x_mm: float
    y_mm: float
    radius_mm: float
    cup: float
    depth_mm: float


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye: all parameters of its anatomy."""

    person: Person
    side: str  # L or R
    severity: float
    thickness_K: np.ndarray  # factor of each layer
    pit_mm: float  # radius of the foveal pit, in which the inner layers thin out
    disc: Disc
    loss: tuple[float, float]  # share of nerve fibres lost above and below the raphe
    drusen_N4: np.ndarray  # x, y, height, radius (mm)
    swelling_N4: np.ndarray  # x, y, thickening, radius (mm)
    cysts_N6: np.ndarray  # x, y, place between INL (0) and ELM (1), half-axes x, y, z (mm)
    choroid_mm: float
    uneven: noise_field.Lattice  # slow variation of each layer's thickness
    tree: vessels.Tree
    texture_seed: int


def generate(person: Person, side: str, seed: int) -> Eye:
    """One eye of a person: both eyes share state and build, and differ in detail."""
    build = rng_for(seed, "phantom", person.participant)
    rng = rng_for(seed, "phantom", person.participant, side)
    years = person.age - 60
    severity = float(np.clip(person.severity + rng.normal(0, 0.08), 0.05, 1)) if person.severity > 0 else 0.0
    thickness = build.normal(1, 0.05, LAYERS) * rng.normal(1, 0.02, LAYERS) * (1 - 0.0012 * years)
    cup = build.normal(0.38, 0.1) + (0.25 * severity if person.state == "thinning" else 0)
    disc = Disc(
        x_mm=float(build.normal(4.5, 0.15) + rng.normal(0, 0.05)),
        y_mm=float(build.normal(0.35, 0.15) + rng.normal(0, 0.05)),
        radius_mm=float(build.normal(0.85, 0.06)),
        cup=float(np.clip(cup, 0.1, 0.8)),
        depth_mm=float(build.uniform(0.3, 0.45)),
    )
    choroid = build.normal(0.29, 0.06) + rng.normal(0, 0.01) - 0.0015 * years
    swelling = _swelling(person.state, severity, rng)
    return Eye(
        person, side, severity, thickness,
        pit_mm=float(build.uniform(0.36, 0.52)),
        disc=disc,
        loss=_fibre_loss(person.state, severity, rng),
        drusen_N4=_drusen(person.state, severity, person.age, rng),
        swelling_N4=swelling,
        cysts_N6=_cysts(swelling, severity, rng),
        choroid_mm=float(np.clip(choroid, 0.13, 0.45)),
        uneven=noise_field.generate(rng, LAYERS, 1.2, (0, 0)),
        tree=vessels.generate((disc.x_mm, disc.y_mm), rng),
        texture_seed=int(rng.integers(2**62)),
    )  # fmt: skip


def boundaries(eye: Eye, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
    """Depths (12, *shape) in mm of BOUNDARIES below Bruch's membrane's plane, never decreasing; float32.

    Layer thicknesses follow population maps of the macula (about 0.22 mm at the foveola, 0.34 mm at 1 mm).
    """
    x_mm, y_mm = np.asarray(x_mm, np.float32), np.asarray(y_mm, np.float32)
    thick_K = _thickness(eye, x_mm, y_mm)
    rd = np.hypot(x_mm - eye.disc.x_mm, (y_mm - eye.disc.y_mm) * 0.92) / eye.disc.radius_mm
    outside = _smoothstep(0.98, 1.5, rd)
    thick_K[1:] *= outside
    bruch = eye.disc.depth_mm * (1 - _smoothstep(0.72, 1.02, rd))
    cup = 1 - _smoothstep(eye.disc.cup - 0.3, eye.disc.cup + 0.25, rd)
    inner_limit = -0.16 + (0.16 + 0.55 * eye.disc.depth_mm) * cup
    rim = 1 - _smoothstep(1.0, 1.5, rd)
    thick_K[0] = (1 - rim) * thick_K[0] + rim * np.maximum(bruch - inner_limit, 0.04)
    depth = np.empty((len(BOUNDARIES), *x_mm.shape), np.float32)
    depth[BM] = bruch
    for k in range(SUB, -1, -1):
        depth[k] = depth[k + 1] - thick_K[k]
    depth[CSI] = bruch + thick_K[BM]
    return depth


def drusen_height(eye: Eye, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
    """How far deposits lift the RPE off Bruch's membrane (mm)."""
    height = np.zeros(x_mm.shape, np.float32)
    for x, y, top, radius in eye.drusen_N4.astype(np.float32):
        squared = ((x_mm - x) ** 2 + (y_mm - y) ** 2) / radius**2
        np.maximum(height, top * np.exp(-squared * (1 + 0.5 * squared)), out=height)
    return height


def _thickness(eye: Eye, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Thickness (11, *shape) in mm of the layer below each boundary but the last, lesions included."""
    r = np.hypot(x, y)
    s, pit = eye.pit_mm, np.exp(-((r / (1.25 * eye.pit_mm)) ** 2))
    near, far = np.exp(-((r / 2.6) ** 2)), np.exp(-((r / 3.4) ** 2))
    clear = 1 - np.exp(
        -((r / (1.5 * s)) ** 2.2)
    )  # 0 in the pit, 1 where the inner layers have their full thickness
    fibres, lost = _nerve_fibres(eye, x, y, r)
    lift = drusen_height(eye, x, y)
    swell = _bumps(eye.swelling_N4, x, y)
    cone = np.exp(-((r / 0.7) ** 2))
    thick = np.stack([
        0.007 + fibres * (1 - pit) * (1 - lost),
        0.050 * clear * (0.22 + 0.78 * near) * (1 - 0.6 * lost),
        0.044 * clear * (0.45 + 0.55 * near) * (1 - 0.2 * lost),
        0.040 * clear * (0.62 + 0.38 * far) + 0.45 * swell,
        0.010 + 0.020 * clear + 0.1 * swell,
        0.058 + 0.042 * cone + 0.022 * far + 0.45 * swell,
        0.030 + 0.005 * cone,
        0.024 + 0.020 * cone + 0.006 * far,
        np.full_like(r, 0.016),
        lift,
        eye.choroid_mm * (1 - 0.035 * np.maximum(x, 0) - 0.010 * r) * np.ones_like(r),
    ])  # fmt: skip
    thick[5] -= np.minimum(0.75 * lift, 0.6 * thick[5])  # photoreceptors are thinner over a druse
    thick[7] *= 1 - 0.45 * np.minimum(lift / 0.06, 1)
    vary = np.moveaxis(eye.uneven.at(x, y), -1, 0) * _UNEVEN[:, None, None]
    factor = eye.thickness_K.reshape(-1, 1, 1) * (1 + vary)
    factor[9] = 1
    return np.maximum(thick * factor, MIN_MM).astype(np.float32)


_UNEVEN = np.array([0.07, 0.06, 0.05, 0.05, 0.08, 0.05, 0.02, 0.03, 0.02, 0.0, 0.07], np.float32)


def _nerve_fibres(eye: Eye, x: np.ndarray, y: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thickness of the nerve fibre layer (mm) and the share of it that is lost.

    Fibres thicken towards the disc, most in two bundles above and below that arch over the macula.
    """
    along, above = eye.disc.x_mm - x, y - eye.disc.y_mm
    to_disc = np.maximum(np.hypot(along, above) - eye.disc.radius_mm, 0)
    angle = np.degrees(np.arctan2(np.abs(above), along))  # 0 temporal, 90 vertical, 180 nasal
    lobe = np.exp(-(((angle - 75) / 38) ** 2))
    arc = np.abs(above) - 1.35 * np.sqrt(np.maximum(along, 0))
    bundle = np.exp(-((arc / 1.0) ** 2) - np.maximum(along, 0) / 5.5) * (along > 0)
    fibres = np.exp(-to_disc / 1.9) * (0.040 + 0.075 * lobe) + 0.036 * bundle + 0.006 * np.minimum(r / 2, 1)
    raphe = 1 / (1 + np.exp(-y / 0.35))
    return fibres, eye.loss[0] * raphe + eye.loss[1] * (1 - raphe)


def _fibre_loss(state: str, severity: float, rng: np.random.Generator) -> tuple[float, float]:
    """Diffuse loss that is deeper on one side of the raphe: 24 to 75 %."""
    if state != "thinning":
        return 0.0, 0.0
    loss, side = 0.24 + 0.38 * severity, rng.uniform(0, 0.14)
    return (loss + side, loss - 0.3 * side) if rng.random() < 0.4 else (loss - 0.3 * side, loss + side)


def _drusen(state: str, severity: float, age: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 4) x, y, height, radius in mm: few and tiny in any ageing eye, many and large in state drusen."""
    n = rng.poisson(0.05 * max(age - 45, 0)) if state != "drusen" else 10 + rng.poisson(10 + 50 * severity)
    place = rng.normal(0, 1.25, (n, 2))
    if state != "drusen":
        return np.column_stack([place, rng.uniform(0.004, 0.012, n), rng.uniform(0.03, 0.06, n)])
    height = (0.018 + 0.075 * severity) * rng.lognormal(0, 0.4, n)
    radius = np.clip(1.6 * height, 0.05, 0.4) * rng.uniform(1, 2, n)
    return np.column_stack([place, np.clip(height, 0.012, 0.2), radius])


def _swelling(state: str, severity: float, rng: np.random.Generator) -> np.ndarray:
    if state != "fluid":
        return np.empty((0, 4))
    n = 1 + rng.poisson(0.6 + severity)
    # the first lies nearest to the fovea
    place = rng.normal(0, 0.8, (n, 2)) * np.arange(1, n + 1)[:, None] / n
    amount = (0.03 + 0.16 * severity) * rng.uniform(0.6, 1.2, n)
    return np.column_stack([place, amount, rng.uniform(0.5, 1.1, n)])


def _cysts(swelling_N4: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """(n, 6) as `Eye.cysts_N6`: fluid-filled spaces inside the swellings, larger at their centre."""
    if len(swelling_N4) == 0:
        return np.empty((0, 6))
    n = 14 + rng.poisson(20 + 60 * severity)
    home = swelling_N4[rng.integers(0, len(swelling_N4), n)]
    offset = rng.normal(0, 0.5, (n, 2)) * home[:, 3:]
    central = np.exp(-((offset / home[:, 3:]) ** 2).sum(axis=1))
    size = (0.011 + 0.026 * severity) * (0.4 + central) * rng.lognormal(0, 0.35, n)
    wide = size[:, None] * rng.uniform(1.3, 3.5, (n, 2))
    level = np.where(rng.random(n) < 0.45, rng.uniform(0.06, 0.26, n), rng.uniform(0.4, 0.62, n))
    return np.column_stack([home[:, :2] + offset, level, wide, size])


def _bumps(bumps_N4: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum of Gaussians (x, y, height, radius)."""
    total = np.zeros(x.shape, np.float32)
    for bump_x, bump_y, height, radius in bumps_N4.astype(np.float32):
        total += height * np.exp(-((x - bump_x) ** 2 + (y - bump_y) ** 2) / (2 * radius**2))
    return total


def _smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)

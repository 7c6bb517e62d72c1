"""Backscattering of the tissue of an eye: slabs between surfaces, with levels in decibels.

0 dB is the brightest RPE. Layers that are not uniform consist of several slabs; vessels, deposits and uneven
tissue change the slabs column by column. Devices add attenuation, blur, speckle and noise.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from octshard.phantom import noise_field
from octshard.phantom.eye import BM, CSI, ELM, EZ, GCL, ILM, INL, IPL, ONL, OPL, RPE, SUB, Eye
from octshard.rng import rng_for

CHOROID_SLABS = 16
FLUID_DB = -36.0
SHADOW_DB_PER_MM = 62.0  # a 0.12 mm vessel takes 7 dB from the tissue below it
FIBRE_DB_PER_MM = 38.0
LAMINA_DB = 7.0

# boundary above, share of the way to the next boundary at which the slab begins, its level in dB;
# chosen after a foveal B-scan on the display of a spectral-domain device
_RETINA = (
    (ILM, 0.0, -7.0), (ILM, 0.12, -6.5), (ILM, 0.25, -6.0), (ILM, 0.37, -6.2), (ILM, 0.5, -6.5),
    (ILM, 0.62, -7.0), (ILM, 0.75, -7.5), (ILM, 0.87, -8.0), (GCL, 0.0, -14.0), (GCL, 0.5, -15.0),
    (IPL, 0.0, -12.8), (IPL, 0.6, -13.8), (INL, 0.0, -18.8), (INL, 0.6, -19.4), (OPL, 0.0, -14.2),
    (OPL, 0.5, -15.8), (ONL, 0.0, -20.8), (ONL, 0.25, -23.0), (ONL, 0.5, -25.0), (ONL, 0.85, -25.5),
    (ELM, 0.0, -17.5), (ELM, 0.25, -21.5), (ELM, 0.8, -16.0), (EZ, 0.0, -3.0), (EZ, 0.40, -11.5),
    (EZ, 0.75, -8.0), (RPE, 0.0, -1.0), (SUB, 0.0, -6.5),
)  # fmt: skip
# mm below the choroid at which the slabs of the sclera begin
_DEEP_MM = (0.0, 0.05, 0.1, 0.16, 0.23, 0.31, 0.4, 0.5, 0.65, 0.85, 1.1)
_DEEP_DB = -18.0, -17.0  # at its top; per mm
_FIRST_CHOROID = len(_RETINA)
_FIRST_DEEP = _FIRST_CHOROID + CHOROID_SLABS - 1
_LAYER = np.array([boundary for boundary, _, _ in _RETINA])
# the slab at the top of each layer
_FIRST = {int(boundary): list(_LAYER).index(boundary) for boundary in _LAYER}


@dataclass(frozen=True, eq=False)
class Slabs:
    """edges_SDW: S surfaces (mm, as `eye.boundaries`); level_SDW: dB of the slab below each surface."""

    edges_SDW: np.ndarray
    level_SDW: np.ndarray


@dataclass(frozen=True, eq=False)
class _Texture:
    layers: noise_field.Lattice  # slow change of each retinal layer's brightness
    fine: noise_field.Lattice  # capillaries and granularity
    choroid: noise_field.Lattice  # vessels of the choroid, level by level


def slabs(eye: Eye, depth_KDW: np.ndarray, x_mm: np.ndarray, y_mm: np.ndarray) -> Slabs:
    """The tissue under the A-scans at (x, y), whose boundaries are depth_KDW (from `eye.boundaries`)."""
    texture = _texture(eye.texture_seed)
    edges = [_between(depth_KDW, boundary, share) for boundary, share, _ in _RETINA]
    thick = depth_KDW[CSI] - depth_KDW[BM]
    ragged = texture.fine.at(x_mm, y_mm)
    # slabs of the choroid are thinner at the top, and not flat: else they would show as lines
    share = np.linspace(0, 1, CHOROID_SLABS) ** 1.25
    sag = 0.035 * ragged[..., 0]
    edges += [depth_KDW[BM] + thick * np.clip(f + sag * f * (1 - f) * 4, 0, 1) for f in share[:-1]]
    edges += [depth_KDW[CSI] + below + 0.05 * below * ragged[..., 2] for below in _DEEP_MM]
    level = np.empty((len(edges), *x_mm.shape), np.float32)
    level[:_FIRST_CHOROID] = np.array([db for _, _, db in _RETINA], np.float32)[:, None, None]
    _choroid_levels(level, texture.choroid.at(x_mm, y_mm), share)
    _vary(level, texture, ragged, x_mm, y_mm)
    _vessels(level, eye.tree.chord(x_mm, y_mm))
    _fibre_thinness(level, depth_KDW)
    level[_FIRST_DEEP:] += LAMINA_DB * np.exp(-thick / 0.04)  # no choroid: the lamina cribrosa of the disc
    return Slabs(np.maximum.accumulate(np.stack(edges)), level)


def _between(depth_KDW: np.ndarray, boundary: int, share: float) -> np.ndarray:
    top = depth_KDW[boundary]
    return top if share == 0 else top + share * (depth_KDW[boundary + 1] - top)


def _choroid_levels(level: np.ndarray, noise_DWL: np.ndarray, share: np.ndarray) -> None:
    """Choriocapillaris, then stroma with dark lumens that widen with depth, then sclera."""
    for i in range(CHOROID_SLABS - 1):
        depth = float(share[i])
        stroma = -6.5 if i == 0 else -11.0 - 4.0 * depth
        lumen = 1 / (1 + np.exp(4 * (noise_DWL[..., i] + 0.35 - 0.5 * depth)))
        contrast = 0.5 if i == 0 else 2.5 + 4.0 * min(1.0, 2 * depth)
        level[_FIRST_CHOROID + i] = stroma - contrast * lumen + 0.8 * noise_DWL[..., i]
    for i, below in enumerate(_DEEP_MM):
        level[_FIRST_DEEP + i] = _DEEP_DB[0] + _DEEP_DB[1] * below + noise_DWL[..., -1 - i]


def _vary(level: np.ndarray, texture: _Texture, ragged: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Slow and fine irregularity; columns under denser capillaries are darker."""
    slow = np.moveaxis(texture.layers.at(x, y), -1, 0)
    level[:_FIRST_CHOROID] += 0.9 * slow[_LAYER % slow.shape[0]]
    level[:_FIRST_CHOROID] += 1.1 * np.moveaxis(ragged, -1, 0)[_LAYER % ragged.shape[-1]]
    level[_FIRST[INL] :] += 0.9 * ragged[..., 1]  # capillaries of the inner retina cast shadows


def _vessels(level: np.ndarray, chord_mm: np.ndarray) -> None:
    """A vessel is bright in the inner retina and casts a shadow on all tissue below it."""
    inner, below = slice(_FIRST[ILM] + 1, _FIRST[INL]), slice(_FIRST[INL], None)
    level[inner] += np.minimum(60 * chord_mm, 5.0)
    level[below] -= np.minimum(SHADOW_DB_PER_MM * chord_mm, 11)


def _fibre_thinness(level: np.ndarray, depth_KDW: np.ndarray) -> None:
    """A thin nerve fibre layer is dimmer: it is half filled; a thick one, as in the disc, attenuates."""
    thick = depth_KDW[GCL] - depth_KDW[ILM]
    level[: _FIRST[GCL]] -= 4.5 * np.exp(-thick / 0.012)
    deep = np.maximum(thick - 0.06, 0)
    for i in range(_FIRST[GCL]):
        level[i] -= FIBRE_DB_PER_MM * deep * (_RETINA[i][1] + 0.12)
    level[_FIRST[GCL] :] -= 0.6 * FIBRE_DB_PER_MM * np.maximum(deep - 0.05, 0)


@lru_cache(maxsize=2)
def _texture(seed: int) -> _Texture:
    """The irregular tissue of an eye; cached for the two eyes of the current participant."""
    rng = rng_for(seed, "texture")
    return _Texture(
        layers=noise_field.generate(rng, 6, 0.9, (0, 0)),
        fine=noise_field.generate(rng, 4, 0.045, (0, 0)),
        choroid=noise_field.generate(rng, CHOROID_SLABS, 0.07, (1.1, 1.3)),
    )

"""From backscattered power to grey levels: point spread, noise floor, speckle, logarithm, display curve.

Every scan deviates a little from its device, so that grey levels alone tell little about the eye.
"""

from dataclasses import dataclass

import numpy as np

from octshard.phantom.device import Device, Protocol
from octshard.rng import rng_for

_DB_LOW, _DB_STEP, _DB_LEVELS = -70.0, 0.02, 5000  # the table from decibels to grey


@dataclass(frozen=True)
class Settings:
    """Display and noise of one scan, which deviate from its device's."""

    gain_db: float
    noise_db: float
    black_db: float
    white_db: float
    toe: float


@dataclass(frozen=True)
class Grain:
    """Standard deviations (voxels) of the point spread, and how many speckle patterns are averaged."""

    axial: float
    lateral: float
    looks: float


def draw_settings(device: Device, site: str, rng: np.random.Generator) -> Settings:
    """Signal strength and display vary from scan to scan, and a little from site to site."""
    offset = rng_for("site", site, device.name).normal(0, 0.4)
    return Settings(
        gain_db=float(rng.normal(0.5, 1.3) + offset),
        noise_db=device.noise_db + float(rng.normal(0, 0.7)),
        black_db=device.black_db + float(rng.normal(0, 0.8)),
        white_db=device.white_db + float(rng.normal(0, 1.0)),
        toe=device.toe * float(np.exp(rng.normal(0, 0.06))),
    )


def grain_of(device: Device, protocol: Protocol, shape_HW: tuple[int, int]) -> Grain:
    """Coarser voxels average more speckle, but less than in reality, so that pictures keep their grain."""
    height, width = shape_HW
    axial = device.axial_um / 2355 / (protocol.extent_mm[1] / height)
    lateral = device.lateral_um / 2355 / (protocol.extent_mm[2] / width)
    coarser = protocol.rows / height
    return Grain(axial, lateral, device.looks * coarser**0.6)


def render(power_DWH: np.ndarray, settings: Settings, grain: Grain, rng: np.random.Generator) -> np.ndarray:
    """The grey values (D, H, W) of power (D, W, H).

    Averaged speckle is gamma distributed with `looks` as its shape; its logarithm is drawn as a correlated
    normal, bent towards the skewness of log-gamma (Cornish-Fisher, one term).
    """
    power = _spread(power_DWH, grain.axial, 2)
    power += np.float32(10 ** (settings.noise_db / 10))
    noise = rng.standard_normal(power.shape, dtype=np.float32)
    noise = _spread(_spread(noise, 1.25 * grain.axial, 2, unit="norm"), 1.25 * grain.lateral, 1, unit="norm")
    skew = -0.7 / np.sqrt(grain.looks)
    sigma = 10 / np.log(10) / np.sqrt(grain.looks - 0.5)
    np.log(power, out=power)
    power *= np.float32(10 / np.log(10) / _DB_STEP)
    power += np.float32(-(_DB_LOW + sigma * skew / 6) / _DB_STEP)
    bent = noise * np.float32(sigma * skew / 6 / _DB_STEP)
    bent += np.float32(sigma / _DB_STEP)
    power += np.multiply(bent, noise, out=bent)
    np.clip(power, 0, _DB_LEVELS - 1, out=power)
    grey = _table(settings)[power.astype(np.uint16)]
    return grey.transpose(0, 2, 1)


def _spread(x_DWH: np.ndarray, sigma: float, axis: int, unit: str = "sum") -> np.ndarray:
    """Gaussian blur along an axis, edges mirrored; unit="norm" keeps the variance of white noise."""
    reach = int(np.ceil(1.8 * sigma)) if sigma > 0.25 else 0
    if reach == 0:
        return x_DWH
    weight = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    both = np.concatenate([weight[:0:-1], weight])
    weight /= both.sum() if unit == "sum" else np.sqrt((both**2).sum())
    pad = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
    padded, n = np.pad(x_DWH, pad, mode="symmetric"), x_DWH.shape[axis]

    def shifted(by: int) -> np.ndarray:
        return padded[
            tuple(slice(reach + by, reach + by + n) if i == axis else slice(None) for i in range(3))
        ]

    out = shifted(0) * np.float32(weight[0])
    for by in range(1, reach + 1):
        out += (shifted(by) + shifted(-by)) * np.float32(weight[by])
    return out


def _table(settings: Settings) -> np.ndarray:
    """Grey value for each step of the decibel table."""
    db = _DB_LOW + _DB_STEP * (np.arange(_DB_LEVELS) + 0.5)
    share = np.clip((db - settings.black_db) / (settings.white_db - settings.black_db), 0, 1)
    return np.rint(255 * share**settings.toe).astype(np.uint8)

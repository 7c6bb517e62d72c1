"""Nearest neighbours: each scan is predicted by the train scans whose features point the same way."""

import numpy as np

from octshard.probes.linear import Examples, standardisation

NEIGHBOURS, TEMPERATURE = 20, 0.07  # DINO, Caron et al. 2021


def predict(train: Examples, target_NC: np.ndarray, x_MF: np.ndarray) -> np.ndarray:
    """(M, C): the mean of the neighbours' rows of target_NC, weighted by exp(cosine / TEMPERATURE).

    Features are standardised on train before their cosine is taken.
    """
    mean_F, scale_F = standardisation(train.x_NF)
    unit_NF, unit_MF = (_unit((x - mean_F) / scale_F) for x in (train.x_NF, x_MF))
    cosine_MN = unit_MF @ unit_NF.T
    order_MK = np.argsort(-cosine_MN, axis=1, kind="stable")[:, :NEIGHBOURS]
    cosine_MK = np.take_along_axis(cosine_MN, order_MK, axis=1)
    weight_MK = np.exp((cosine_MK - cosine_MK[:, :1]) / TEMPERATURE)
    return np.asarray((weight_MK[:, :, None] * target_NC[order_MK]).sum(1) / weight_MK.sum(1, keepdims=True))


def _unit(x_NF: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return np.asarray(x_NF / np.maximum(np.linalg.norm(x_NF, axis=1, keepdims=True), 1e-12))

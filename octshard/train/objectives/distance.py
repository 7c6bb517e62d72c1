"""How predicted and target features of a token are compared, and what is the best guess of many targets.

The torch half is the loss of an objective, the NumPy half the same on the host, for `position_only`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional

from octshard.models.vit import LAYER_NORM_EPS

_LEAST_LENGTH = 1e-12


class Distance(NamedTuple):
    """as_compared: target features (..., F) as `error` takes them, float32; error: of predicted and compared
    features (B, T, F), the error (B, T) of each token, float32; center: (F,), what the mean error over rows
    (V, F) is least for; error_of: `error` of rows (R, F) and a guess that is compared already, (R,).
    """

    as_compared: Callable[[Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]
    center: Callable[[np.ndarray], np.ndarray]
    error_of: Callable[[np.ndarray, np.ndarray], np.ndarray]


def layer_normed(target_BTF: Tensor) -> Tensor:
    """Over the features, without affine; V-JEPA 2, Assran et al. 2025."""
    return functional.layer_norm(target_BTF.float(), target_BTF.shape[-1:], eps=LAYER_NORM_EPS)


def of_length_one(target_BTF: Tensor) -> Tensor:
    """Divided by their length."""
    return functional.normalize(target_BTF.float(), dim=-1, eps=_LEAST_LENGTH)


def absolute_error(predicted_BTF: Tensor, compared_BTF: Tensor) -> Tensor:
    """(B, T): |z - h|, its mean over features."""
    return (predicted_BTF.float() - compared_BTF).abs().mean(-1)


def cosine_error(predicted_BTF: Tensor, compared_BTF: Tensor) -> Tensor:
    """(B, T): the squared distance of unit vectors, 2 - 2 cos; BYOL, Grill et al. 2020."""
    return 2 - 2 * functional.cosine_similarity(predicted_BTF.float(), compared_BTF, dim=-1)


def _median(features_VF: np.ndarray) -> np.ndarray:
    return np.median(features_VF, axis=0)  # type: ignore[no-any-return]


def _mean_direction(features_VF: np.ndarray) -> np.ndarray:
    mean_F = features_VF.mean(axis=0, dtype=np.float64)
    return mean_F / max(float(np.linalg.norm(mean_F)), _LEAST_LENGTH)  # type: ignore[no-any-return]


def _absolute_errors(features_RF: np.ndarray, guess_RF: np.ndarray) -> np.ndarray:
    return np.abs(guess_RF - features_RF).mean(axis=-1, dtype=np.float64)  # type: ignore[no-any-return]


def _cosine_errors(features_RF: np.ndarray, guess_RF: np.ndarray) -> np.ndarray:
    return 2 - 2 * (features_RF * guess_RF).sum(axis=-1, dtype=np.float64)  # type: ignore[no-any-return]


NORMED_L1 = Distance(layer_normed, absolute_error, _median, _absolute_errors)  # V-JEPA 2
NORMALISED_MSE = Distance(of_length_one, cosine_error, _mean_direction, _cosine_errors)  # BYOL

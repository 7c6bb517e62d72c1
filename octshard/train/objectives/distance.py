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


def as_they_are(target_BTF: Tensor) -> Tensor:
    """In float32."""
    return target_BTF.float()


def of_length_one(target_BTF: Tensor) -> Tensor:
    """Divided by their length."""
    return functional.normalize(target_BTF.float(), dim=-1, eps=_LEAST_LENGTH)


def absolute_error(predicted_BTF: Tensor, compared_BTF: Tensor) -> Tensor:
    """(B, T): |z - h|, its mean over features."""
    return (predicted_BTF.float() - compared_BTF).abs().mean(-1)


def cosine_error(predicted_BTF: Tensor, compared_BTF: Tensor) -> Tensor:
    """(B, T): the squared distance of unit vectors, 2 - 2 cos; BYOL, Grill et al. 2020."""
    return 2 - 2 * functional.cosine_similarity(predicted_BTF.float(), compared_BTF, dim=-1)


def known_squared_error(predicted_BTF: Tensor, compared_BTF: Tensor) -> Tensor:
    """(B, T): (z - h)^2, its mean over the features that are numbers; NaN: there is nothing to predict."""
    missing_BTF = compared_BTF.isnan()
    difference_BTF = predicted_BTF.float() - compared_BTF.masked_fill(missing_BTF, 0)
    squares_BTF = difference_BTF.masked_fill(missing_BTF, 0).square()
    return squares_BTF.sum(-1) / (~missing_BTF).sum(-1).clamp(min=1)


def _median(features_VF: np.ndarray) -> np.ndarray:
    return np.median(features_VF, axis=0)  # type: ignore[no-any-return]


def _mean_direction(features_VF: np.ndarray) -> np.ndarray:
    mean_F = features_VF.mean(axis=0, dtype=np.float64)
    return mean_F / max(float(np.linalg.norm(mean_F)), _LEAST_LENGTH)  # type: ignore[no-any-return]


def _mean_of_known(features_VF: np.ndarray) -> np.ndarray:
    """NaN where no row has a number. Rows of few numbers weigh more in each: their error is a mean too."""
    known_VF = ~np.isnan(features_VF)
    weight_VF = known_VF / known_VF.sum(-1, keepdims=True).clip(min=1)
    total_F, weight_F = (np.nan_to_num(features_VF) * weight_VF).sum(0), weight_VF.sum(0)
    return np.divide(total_F, weight_F, out=np.full(total_F.shape, np.nan), where=weight_F > 0)


def _absolute_errors(features_RF: np.ndarray, guess_RF: np.ndarray) -> np.ndarray:
    return np.abs(guess_RF - features_RF).mean(axis=-1, dtype=np.float64)  # type: ignore[no-any-return]


def _cosine_errors(features_RF: np.ndarray, guess_RF: np.ndarray) -> np.ndarray:
    return 2 - 2 * (features_RF * guess_RF).sum(axis=-1, dtype=np.float64)  # type: ignore[no-any-return]


def _squared_errors(features_RF: np.ndarray, guess_RF: np.ndarray) -> np.ndarray:
    known_RF = ~np.isnan(features_RF)
    squares_RF = (np.nan_to_num(guess_RF) - np.nan_to_num(features_RF)) ** 2 * known_RF
    return squares_RF.sum(-1, dtype=np.float64) / known_RF.sum(-1).clip(min=1)  # type: ignore[no-any-return]


NORMED_L1 = Distance(layer_normed, absolute_error, _median, _absolute_errors)  # V-JEPA 2
NORMALISED_MSE = Distance(of_length_one, cosine_error, _mean_direction, _cosine_errors)  # BYOL
VOXEL_MSE = Distance(as_they_are, known_squared_error, _mean_of_known, _squared_errors)  # MAE

"""The best predictor that knows a token's position and nothing of its volume: what a loss is held against.

Per position and feature the median (`vjepa2`) or the mean direction (`byol`) over one half of the validation
volumes, judged on the other half; then the halves change places. On the host: a median is no work for XLA.
"""

from typing import NamedTuple

import numpy as np

MIN_VOLUMES = 4  # of one half that hold a position: with fewer, nothing is fitted or judged there


class ValTokens(NamedTuple):
    """The tokens at P positions of V validation volumes.

    features_VPF: target features as the loss compares them (layer-normed, or of length 1); held_VP: the
    volume has that token; weight_VP: the share of its loss that the volume's loss has, 0 unless a target;
    error_VP: that share times the model's loss there.
    """

    features_VPF: np.ndarray
    held_VP: np.ndarray
    weight_VP: np.ndarray
    error_VP: np.ndarray


class Losses(NamedTuple):
    """Mean losses over the same target tokens: of the model, of the position-only predictor, and of one
    that predicts the same features at every position.
    """

    model: float
    position_only: float
    constant: float

    @property
    def volume_blind(self) -> float:
        """The better of the two references: of few volumes each median is a poor one, a constant is not."""
        return min(self.position_only, self.constant)


def losses(tokens: ValTokens, second_V: np.ndarray, objective: str) -> Losses | None:
    """All three; second_V: the volume is of the second half. None if no position has enough volumes."""
    sums_4, features_VPF = np.zeros(4), tokens.features_VPF
    for judged_V in (second_V, ~second_V):
        fitting_VP, target_VP = tokens.held_VP & ~judged_V[:, None], tokens.weight_VP > 0
        fitted_P = fitting_VP.sum(0) >= MIN_VOLUMES
        target_VP = target_VP & judged_V[:, None] & fitted_P
        if not target_VP.any():
            continue
        center_PF = np.stack(
            [
                center(features_VPF[fitting_V, p], objective)
                for p, fitting_V in enumerate(fitting_VP.T)
                if fitted_P[p]
            ]
        )
        at_P = np.cumsum(fitted_P) - 1
        constant_F = center(center_PF, objective)
        for v in np.nonzero(target_VP.any(1))[0]:
            target_P = target_VP[v]
            weight, rows = tokens.weight_VP[v, target_P].astype(np.float64), features_VPF[v, target_P]
            error = error_of(rows, center_PF[at_P[target_P]], objective)
            constant = error_of(rows, constant_F, objective)
            model = tokens.error_VP[v, target_P].sum(dtype=np.float64)
            sums_4 += (model, weight @ error, weight @ constant, weight.sum())
    return Losses(*(sums_4[:3] / sums_4[3]).tolist()) if sums_4[3] else None


def center(features_VF: np.ndarray, objective: str) -> np.ndarray:
    """(F,): what the mean loss over the rows is least for."""
    if objective == "vjepa2":
        return np.median(features_VF, axis=0)  # type: ignore[no-any-return]
    mean_F = features_VF.mean(axis=0, dtype=np.float64)
    return mean_F / max(float(np.linalg.norm(mean_F)), 1e-12)  # type: ignore[no-any-return]


def error_of(features_RF: np.ndarray, predicted_RF: np.ndarray, objective: str) -> np.ndarray:
    """(R,): the loss of the objective, `jepa.normed_l1` or `jepa.normalised_mse`, averaged over features."""
    if objective == "vjepa2":
        return np.abs(predicted_RF - features_RF).mean(axis=-1, dtype=np.float64)  # type: ignore[no-any-return]
    return 2 - 2 * (features_RF * predicted_RF).sum(axis=-1, dtype=np.float64)

"""The best predictor that knows a token's position and nothing of its volume: what a loss is held against.

Per position the center of the objective's distance (of L1 the median of each feature) over one half of the
validation volumes, judged on the other half; then the halves change places. On the host: XLA has no median.
"""

from typing import NamedTuple

import numpy as np

from octshard.train.objectives.distance import Distance

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


def losses(tokens: ValTokens, second_V: np.ndarray, distance: Distance) -> Losses | None:
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
                distance.center(features_VPF[fitting_V, p])
                for p, fitting_V in enumerate(fitting_VP.T)
                if fitted_P[p]
            ]
        )
        at_P = np.cumsum(fitted_P) - 1
        constant_F = distance.center(center_PF)
        for v in np.nonzero(target_VP.any(1))[0]:
            target_P = target_VP[v]
            weight, rows = tokens.weight_VP[v, target_P].astype(np.float64), features_VPF[v, target_P]
            error = distance.error_of(rows, center_PF[at_P[target_P]])
            constant = distance.error_of(rows, constant_F)
            model = tokens.error_VP[v, target_P].sum(dtype=np.float64)
            sums_4 += (model, weight @ error, weight @ constant, weight.sum())
    return Losses(*(sums_4[:3] / sums_4[3]).tolist()) if sums_4[3] else None

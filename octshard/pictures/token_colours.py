"""Features of tokens as colours: their first three principal components are red, green and blue."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPAN = (2.0, 98.0)  # percentiles of a component that become 0 and 1
_NOTHING = 1e-6  # a component whose spread is this share of the features' size is noise of arithmetic


@dataclass(frozen=True, eq=False)
class TokenColours:
    """A map from features to colours, the same for all tokens. basis_F3: a column for each component."""

    mean_F: np.ndarray
    basis_F3: np.ndarray
    low_3: np.ndarray
    high_3: np.ndarray

    def of(self, z_VF: np.ndarray) -> np.ndarray:
        """(V, 3) in [0, 1]; a component without any spread is 0.5."""
        scores_V3 = (z_VF.astype(np.float64) - self.mean_F) @ self.basis_F3
        span_3 = self.high_3 - self.low_3
        flat_3 = span_3 <= 0
        colours_V3 = (scores_V3 - self.low_3) / np.where(flat_3, 1.0, span_3)
        return np.where(flat_3, 0.5, np.clip(colours_V3, 0, 1))


def fit(z_of_volumes: Sequence[np.ndarray]) -> TokenColours:
    """From the valid tokens (V, F) of a few volumes together: centred, largest component first.

    The largest weight of a component is positive: the sign would be chance.
    """
    z_NF = np.concatenate(z_of_volumes).astype(np.float64)
    mean_F = z_NF.mean(axis=0)
    centred_NF = z_NF - mean_F
    _, vectors_FF = np.linalg.eigh(centred_NF.T @ centred_NF)
    basis_F3 = np.zeros((len(mean_F), 3))
    count = min(3, len(mean_F))
    basis_F3[:, :count] = vectors_FF[:, ::-1][:, :count]
    largest_3 = np.abs(basis_F3).argmax(axis=0)
    basis_F3 *= np.where(basis_F3[largest_3, np.arange(3)] < 0, -1.0, 1.0)
    low_3, high_3 = np.percentile(centred_NF @ basis_F3, SPAN, axis=0)
    nothing = _NOTHING * float(np.sqrt((z_NF**2).sum(axis=1).mean()))
    high_3 = np.where(high_3 - low_3 <= nothing, low_3, high_3)
    return TokenColours(mean_F, basis_F3, low_3, high_3)

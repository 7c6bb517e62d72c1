"""Weights by the names that a state_dict gives them, and their gradients, both in float64."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Weights:
    """`gradients` grows as backward passes add to it; a weight that none reaches is not in it."""

    values: Mapping[str, Array]
    gradients: dict[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        return self.values[name]

    def add(self, name: str, gradient: Array) -> None:
        """Adds to the gradient of a weight."""
        assert gradient.shape == self.values[name].shape, (name, gradient.shape)
        self.gradients[name] = self.gradients.get(name, 0) + gradient

"""Whether K and T fit what a mask set hides: by drawing, against the draws of masks themselves."""

import numpy as np
import pytest

from octshard.config.load import load
from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.imaging.volume import Shape
from octshard.train.objectives import mask_fit, token_counts
from octshard.train.objectives.hidden import HiddenRange


def lines(valid: Shape, *sets: MaskSet) -> list[str]:
    cfg = TrainConfig()
    cfg.objective.masks = list(sets)
    return list(mask_fit.lines(cfg, valid))


def test_the_long_range_set_of_vjepa2_wants_a_k_of_its_own() -> None:
    """K = 0.2 does not fit well over half of the draws of 2 x 0.7, and the line says what would."""
    assert lines((16, 24, 24), MaskSet()) == []
    (line,) = lines((16, 24, 24), MaskSet(), MaskSet(blocks=2, scale=0.7))
    assert line.startswith("objective.masks[1]: 6")
    assert "% of its draws do not fit K = 1843 and T = 3686 of 9,216 valid tokens" in line
    assert "95% of them leave context 0.08 and hide target 0.7" in line
    assert lines((16, 24, 24), MaskSet(blocks=2, scale=0.7, context=0.08, target=0.7)) == []


def test_cubes_fit_what_their_ratio_leaves() -> None:
    assert lines((16, 9, 19), MaskSet(kind="cubes", ratio=0.6, context=0.4, target=0.6)) == []
    (line,) = lines((16, 9, 19), MaskSet(kind="cubes", ratio=0.6, context=0.5, target=0.3))
    assert "100% of its draws do not fit" in line
    assert "leave context 0.40 and hide target 0.60" in line


def test_a_stage_that_does_not_fit_is_found() -> None:
    late = MaskSet(kind="cubes", ratio=0.5, ratio_end=0.9, context=1500, target=100)
    assert len(lines((16, 9, 19), late)) == 1


def test_the_share_by_hand() -> None:
    hidden_X = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    assert mask_fit.fit_of(hidden_X, HiddenRange(3, 6)) == 0.5


@pytest.mark.parametrize("valid", [(16, 24, 24), (16, 20, 24), (16, 19, 24)])
def test_nearly_all_draws_of_the_retina_config_fit(valid: Shape) -> None:
    """Scans of 2.5, 2 and 1.9 mm depth."""
    cfg = load(TrainConfig, ["pretrain_vjepa_retina"], [])
    tokens = int(np.prod(valid))
    for i, mask_set in enumerate(cfg.objective.masks):
        counts = token_counts.counts_of_set(cfg, i, tokens)
        limits = HiddenRange(counts.T, tokens - counts.K)
        assert mask_fit.fit_of(mask_fit.hidden_counts(mask_set, valid, 1000), limits) > 0.9

"""Principal components as colours: against scikit-learn, and the same whatever the sign of chance."""

import numpy as np
from sklearn.decomposition import PCA

from octshard.pictures import token_colours


def features(seed: int = 0, count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 5)) * [1, 7, 0.1, 3, 2] @ rng.standard_normal((5, 12)) + 4


def test_components_are_those_of_scikit_learn() -> None:
    z_NF = features()
    scores_N3 = PCA(3).fit_transform(z_NF)
    colours_N3 = token_colours.fit([z_NF[:80], z_NF[80:]]).of(z_NF)
    low, high = np.percentile(scores_N3, (2, 98), axis=0)
    expected = np.clip((scores_N3 - low) / (high - low), 0, 1)
    for component in range(3):
        ours, theirs = colours_N3[:, component], expected[:, component]
        assert np.allclose(ours, theirs, atol=1e-6) or np.allclose(ours, 1 - theirs, atol=0.1)
        assert abs(np.corrcoef(ours, scores_N3[:, component])[0, 1]) > 0.98


def test_the_largest_weight_is_positive_and_order_changes_nothing() -> None:
    z_NF = features()
    colours = token_colours.fit([z_NF])
    for column in colours.basis_F3.T:
        assert column[np.abs(column).argmax()] > 0
    backwards = token_colours.fit([z_NF[::-1].copy()])
    np.testing.assert_allclose(backwards.of(z_NF), colours.of(z_NF), atol=1e-9)


def test_outliers_do_not_take_all_the_colours() -> None:
    z_NF = features()
    with_outlier = np.concatenate([z_NF, 1e3 * np.ones((1, 12))])
    assert np.ptp(token_colours.fit([z_NF]).of(with_outlier), axis=0).min() == 1.0
    assert token_colours.fit([z_NF]).of(with_outlier).max() <= 1.0


def test_features_without_spread_are_grey() -> None:
    constant = np.tile(np.random.default_rng(0).standard_normal(12).astype(np.float32), (50, 1))
    assert (token_colours.fit([constant]).of(constant) == 0.5).all()
    narrow = np.random.default_rng(0).standard_normal((50, 2))
    colours = token_colours.fit([narrow]).of(narrow)
    assert colours.shape == (50, 3)
    assert (colours[:, 2] == 0.5).all()

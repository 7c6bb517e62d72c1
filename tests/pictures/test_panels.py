"""Every pixel of a panel is the voxel that it says it is, or veiled, tinted or padded as the legend says."""

import numpy as np

from octshard.pictures import panels
from octshard.pictures.panels import PADDING, SHADE_FLOOR, TARGET, TINT_FLOOR, VEILED, Panel
from tests.support.model_views import made_up

PLANE = 4


def panel(title: str, **changes: object) -> Panel:
    (kind,) = [kind for kind in panels.panels(made_up(**changes)) if kind.title.startswith(title)]
    return kind


def grey(x_hw: np.ndarray) -> np.ndarray:
    """By the percentiles of the target view, as the module says."""
    low, high = np.percentile(made_up().target_DHW, (1, 99.8))
    return np.clip((x_hw - low) / (high - low), 0, 1)


def test_views_are_shown_in_one_window_and_padded_to_whole_tokens() -> None:
    view = made_up()
    for title, x_hw in (
        ("As stored", view.crop_DHW[view.source_D[PLANE]]),
        ("Target view", view.target_DHW[PLANE]),
        ("Context view", view.context_DHW[PLANE]),
    ):
        pixels = panel(title).pixels(PLANE)
        assert pixels.shape == (24, 24, 3)
        np.testing.assert_allclose(pixels[:20, :, 1], grey(x_hw), atol=1e-12)
        assert (pixels[20:] == PADDING).all()


def test_context_tokens_are_clear_and_all_others_veiled() -> None:
    pixels, seen = panel("Context:").pixels(PLANE), grey(made_up().context_DHW[PLANE])
    np.testing.assert_allclose(pixels[:8, :16, 0], seen[:8, :16], atol=1e-12)
    veiled = VEILED[0] + (VEILED[1] - VEILED[0]) * seen
    np.testing.assert_allclose(pixels[:8, 16:, 2], veiled[:8, 16:], atol=1e-12)
    np.testing.assert_allclose(pixels[8:20, :, 2], veiled[8:20], atol=1e-12)


def test_targets_have_their_colour_and_show_the_target_view() -> None:
    pixels, wanted = panel("Targets:").pixels(PLANE), grey(made_up().target_DHW[PLANE])
    tinted = (TINT_FLOOR + (1 - TINT_FLOOR) * wanted[8:20, 16:, None]) * np.array(TARGET)
    np.testing.assert_allclose(pixels[8:20, 16:], tinted, atol=1e-12)
    assert (np.ptp(pixels[:20, :16], axis=2) == 0).all()  # grey


def test_lines_go_around_the_tokens_of_the_plane() -> None:
    (outline,) = panel("Targets:").outlines(PLANE)
    assert outline.flags_hw.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_features_are_colours_darkened_by_the_scan() -> None:
    colours = np.random.default_rng(0).random((3, 3, 3, 3))
    pixels = panel("Features", colours_dhw3=colours).pixels(PLANE)
    expected = np.kron(colours[PLANE // 2], np.ones((8, 8, 1)))[:20] * (
        SHADE_FLOOR + (1 - SHADE_FLOOR) * grey(made_up().target_DHW[PLANE])[..., None]
    )
    np.testing.assert_allclose(pixels[:20], expected, atol=1e-12)


def test_each_mask_set_has_its_panels_and_validation_one_volume() -> None:
    view = made_up()
    crop = view.crop_DHW
    two = made_up(mask_sets=view.mask_sets * 2, target_DHW=crop, context_DHW=crop, crop_DHW=crop)
    assert [kind.short_title for kind in panels.panels(two)] == [
        "Volume",
        "Context (1): what is seen",
        "Targets (1): to be predicted",
        "Context (2): what is seen",
        "Targets (2): to be predicted",
    ]


def test_a_blank_volume_is_drawn() -> None:
    blank = np.zeros((6, 20, 24))
    kinds = panels.panels(made_up(crop_DHW=blank, target_DHW=blank, context_DHW=blank))
    assert all(np.isfinite(kind.pixels(0)).all() for kind in kinds)

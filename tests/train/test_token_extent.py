"""What tokens cover in mm, by hand."""

from octshard.config.model import ModelConfig
from octshard.config.objective import ObjectiveConfig
from octshard.config.train import TrainConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import Spacing
from octshard.train import token_extent


def row(spacing_mm: Spacing | None, assumed: int = 0) -> SampleRow:
    return SampleRow(
        "k", "p", "d", "", "", "proto", "Macula", "L", "train", "made up",
        assumed_spacing=assumed, spacing_out=spacing_mm,
    )  # fmt: skip


def config(*scale: int) -> TrainConfig:
    model = ModelConfig(image_size=[64, 384, 384], patch=[4, 16, 8])
    return TrainConfig(model=model, objective=ObjectiveConfig(context_scale=list(scale)))


def test_a_token_covers_its_patch() -> None:
    line = token_extent.start_line(config(1, 1, 1), [row((0.05, 0.004, 0.02))] * 3)
    assert line == "tokens: one covers 0.2 x 0.064 x 0.16 mm (D x H x W)"


def test_a_coarse_one_covers_as_many_patches_and_volumes_may_differ() -> None:
    rows = [row((0.05, 0.004, 0.02)), row((0.05, 0.0041, 0.01)), row((1.0, 1.0, 1.0), 1), row(None)]
    assert token_extent.start_line(config(1, 2, 3), rows) == (
        "tokens: one of the targets covers 0.2 x 0.064 to 0.0656 x 0.08 to 0.16 mm (D x H x W), one of the "
        "context 0.2 x 0.128 to 0.131 x 0.24 to 0.48 mm (D x H x W); of 2 of 4 volumes no spacing is known"
    )


def test_an_assumed_spacing_is_no_length() -> None:
    line = token_extent.start_line(config(1, 1, 1), [row((1.0, 1.0, 1.0), 1)])
    assert line == "tokens: what one covers in mm is not known, as no spacing is"

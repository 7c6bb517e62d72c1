"""Spacings that converters invent are left out, and nothing else is."""

import pytest

from octshard.prep.convert.placeholders import is_one_mm, without_placeholders
from octshard.prep.scan_facts import PixelMeasures


@pytest.mark.parametrize(
    ("pixel_mm", "thickness_mm", "maker", "kept_mm"),
    [
        ((0.002, 0.002), 0.004, "Zeiss", None),
        ((0.002, 0.002), None, "", None),
        ((0.002, 0.002), 0.05, "Zeiss", 0.05),
        ((0.02, 0.02), 0.2, "Bioptigen", None),
        ((1.0, 1.0), 1.0, "Heidelberg", 1.0),  # steps of 1 mm are judged beside the other sources of the step
        ((0.0039, 1.0), 0.06, "", 0.06),
    ],
)
def test_what_is_left_out(
    pixel_mm: tuple[float, float], thickness_mm: float | None, maker: str, kept_mm: float | None
) -> None:
    measures = PixelMeasures("shared", pixel_mm, thickness_mm, 0.07)
    assert without_placeholders([measures], maker) == (
        PixelMeasures("shared", None, kept_mm, 0.07, invented_mm=pixel_mm),
    )


@pytest.mark.parametrize(
    "pixel_mm", [(0.002, 0.006), (0.02, 0.02), (0.0020001, 0.002), None, (0.0039, 0.0117)]
)
def test_what_may_be_true_stays(pixel_mm: tuple[float, float] | None) -> None:
    measures = PixelMeasures("shared", pixel_mm, 0.004)
    assert without_placeholders([measures], "Topcon") == (measures,)


def test_one_millimetre_is_one_exactly() -> None:
    assert [is_one_mm(mm) for mm in (1.0, 1.0000001, 0.999, 1.01, None)] == [True, True, False, False, False]

"""The order of frames by all that tells it: sorted where all agree, refused where they contradict."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from octshard.prep.convert import frame_order
from octshard.prep.convert.positions import positions_of
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom import writer
from octshard.prep.dicom.header import Concatenation, Header
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Placement
from tests.support.made_release import RASTER, scan

NAN = float("nan")
FRAMES = 6
INTERLEAVED = (0, 2, 4, 1, 3, 5)  # which frame of the volume is filed at each place
SORTED = (0, 3, 1, 4, 2, 5)  # the places of frames 0 to 5


def header(
    numbers: Sequence[float] = (),
    indices: Sequence[Sequence[float]] = (),
    places_mm: Sequence[float] = (),
    lines: Sequence[int] = (),
    **values: Any,
) -> Header:
    """Of 6 frames. lines: which line of RASTER each frame is."""
    told = {
        "numbers_F": np.array(numbers or [NAN] * FRAMES, np.float64),
        "indices_FK": np.array(indices or np.empty((FRAMES, 0)), np.float64),
        "positions_F3": np.array([[0, 0, mm] for mm in places_mm] or np.full((FRAMES, 3), NAN)),
        "normal_3": None, "stacks": (), "times": (), "eyes": (), "locations": (),
    }  # fmt: skip
    placement = Placement(**{**told, **values})
    sound = dicom.read_header(writer.write(scan()), 10**9)
    return dataclasses.replace(sound, placement=placement, locations=tuple(RASTER[i] for i in lines))


def order(**told: Any) -> tuple[int, ...]:
    scan_header = header(**told)
    return frame_order.order_of(scan_header, positions_of(scan_header.placement, FRAMES))


def numbers(filed: Sequence[int]) -> list[float]:
    return [n + 1 for n in filed]


def indices(filed: Sequence[int]) -> list[list[float]]:
    return [[1, n + 1] for n in filed]


def places_mm(filed: Sequence[int]) -> list[float]:
    return [0.04 * n for n in filed]


@pytest.mark.parametrize("filed", [range(6), range(5, -1, -1)])
def test_frames_in_order_stay_as_they_are_filed_in_either_direction(filed: Sequence[int]) -> None:
    up = range(6)
    assert order(numbers=numbers(filed)) == ()
    assert order(places_mm=places_mm(filed)) == ()
    assert order(lines=filed) == ()
    assert order(numbers=numbers(up), indices=indices(up), places_mm=places_mm(filed), lines=filed) == ()
    assert order() == ()


def test_whatever_tells_another_order_sorts() -> None:
    filed = INTERLEAVED
    for told in (
        {"numbers": numbers(filed)},
        {"indices": indices(filed)},
        {"places_mm": places_mm(filed)},
        {"lines": filed},
        {"numbers": numbers(filed), "indices": indices(filed), "lines": filed, "places_mm": places_mm(filed)},
        {"numbers": numbers(filed), "places_mm": places_mm([5 - n for n in filed])},  # numbered against z
        {"numbers": numbers(filed), "indices": [[1, 1]] * 6, "places_mm": [7.5] * 6},  # dummies
    ):
        assert order(**told) == SORTED, told  # type: ignore[arg-type]


def test_any_permutation_is_undone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        filed = rng.permutation(6).tolist()
        found = order(numbers=numbers(filed), places_mm=places_mm(filed), lines=filed)
        placed = [filed[i] for i in found] or filed
        assert placed in (list(range(6)), list(range(5, -1, -1)))


@pytest.mark.parametrize(
    "told",
    [
        {"numbers": numbers(INTERLEAVED), "places_mm": places_mm(range(6))},
        {"numbers": numbers(range(6)), "places_mm": places_mm(INTERLEAVED)},
        {"numbers": numbers(INTERLEAVED), "lines": range(6)},
        {"numbers": numbers(INTERLEAVED), "indices": indices(range(6))},
        {"places_mm": places_mm(INTERLEAVED), "indices": indices(range(6))},
        {"numbers": numbers(INTERLEAVED), "places_mm": places_mm((0, 3, 1, 4, 2, 5))},
        {"numbers": [1, 3, 5, NAN, 4, 6]},  # one is missing, and the others are out of order
        {"numbers": [1, 2, 3, 1, 2, 3]},
    ],
)
def test_sources_that_contradict_each_other_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        order(**told)
    assert caught.value.reason == "frame_order"
    assert "InStackPositionNumber" in caught.value.detail or "ImagePositionPatient" in caught.value.detail


def test_locations_against_frames_in_order_are_left_to_geometry() -> None:
    """They may be uneven, by eye motion for example; what sorting makes no raster is not sorted either."""
    assert order(numbers=numbers(range(6)), lines=INTERLEAVED) == ()
    assert order(lines=(0, 2, 1, 5, 5, 3)) == ()


def test_positions_rounded_to_the_same_place_are_no_disorder() -> None:
    """Steps of 0.004 mm in two decimals."""
    assert order(places_mm=[0, 0, 0.01, 0.01, 0.02, 0.02], numbers=numbers(range(6))) == ()


@pytest.mark.parametrize(
    ("concatenation", "text"),
    [
        (Concatenation("1.2", 2, 3, 100), "part 2 of 3"),
        (Concatenation("1.2"), r"part \? of \?"),
        (Concatenation("", 1, 2), "part 1 of 2"),
        (Concatenation("", None, None, 64), r"part \? of \?"),
    ],
)
def test_a_part_of_a_concatenation_is_no_scan(concatenation: Concatenation, text: str) -> None:
    with pytest.raises(Refused, match=f"part_of_scan: {text}"):
        frame_order.check_is_whole(dataclasses.replace(header(), concatenation=concatenation))


@pytest.mark.parametrize("whole", [Concatenation(), Concatenation("1.2", 1, 1, 0), Concatenation("", 1)])
def test_a_concatenation_of_one_is_a_scan(whole: Concatenation) -> None:
    frame_order.check_is_whole(dataclasses.replace(header(), concatenation=whole))


@pytest.mark.parametrize(
    ("told", "gap"),
    [
        ([1, 2, 3, 4, 5, 6], ""),
        ([1, 3, 5, 7, 9, 11], ""),
        ([6, 5, 4, 3, 2, 1], ""),
        ([0, 0, 0, 0, 0, 0], ""),
        ([1, 2, 3, 5, 6, 7], "InStackPositionNumber goes from 3 to 5"),
        ([1, 1, 2, 2, 3, 3], "InStackPositionNumber goes from 1 to 1"),
        ([1, 2, NAN, 4, 5, 6], ""),
    ],
)
def test_gaps_and_repeats_among_the_numbers(told: list[float], gap: str) -> None:
    assert frame_order.gap_in(header(numbers=told), ()) == gap

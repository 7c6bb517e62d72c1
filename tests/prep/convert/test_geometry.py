"""Frame locations -> what kind of scan it is."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from octshard.prep.convert.geometry import UPRIGHT_DEG, Geometry, classify


def lines(centres: np.ndarray, angles_deg: np.ndarray, length: float) -> list[np.ndarray]:
    """Paths (2, 2) of straight lines: (row, col) = centre -+ length / 2 * (sin, cos)."""
    paths = []
    for centre, angle in zip(centres, np.deg2rad(angles_deg), strict=True):
        half = length / 2 * np.array([np.sin(angle), np.cos(angle)])
        paths.append(np.stack([centre - half, centre + half]))
    return paths


def raster(n: int, step: float, angle: float, length: float = 500.0) -> list[np.ndarray]:
    across = np.array([np.cos(np.deg2rad(angle)), -np.sin(np.deg2rad(angle))])
    return lines(np.array([400.0, 400.0]) + np.arange(n)[:, None] * step * across, np.full(n, angle), length)


def circle(radius: float, points: int = 768) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return 500 + radius * np.stack([np.sin(turn), np.cos(turn)], axis=1)


def radial(n: int) -> list[np.ndarray]:
    return lines(np.full((n, 2), 500.0), np.arange(n) * 180.0 / n, 600.0)


@given(
    n=st.integers(2, 120),
    step=st.floats(0.6, 40).map(lambda v: round(v, 3)),
    angle=st.floats(-180, 180),
    down=st.booleans(),
)
def test_a_raster_is_one_at_any_angle_step_and_order(n: int, step: float, angle: float, down: bool) -> None:
    geometry = classify(raster(n, -step if down else step, angle), n)
    assert geometry.kind == "raster"
    assert geometry.step_px == pytest.approx(step, rel=1e-3)
    assert geometry.step_mm(5.0) == pytest.approx(step / 500 * 5.0, rel=1e-3)


@given(n=st.integers(3, 60), step=st.floats(1.2, 30))
@example(n=30, step=2.017578125)  # one rounding step at its end: a least-squares line misses it by 0.8 px
def test_coordinates_rounded_to_whole_pixels_are_still_even(n: int, step: float) -> None:
    assert classify([np.rint(path) for path in raster(n, step, 0.0)], n).kind == "raster"


@pytest.mark.parametrize("n", [2, 6, 24, 48])
def test_radial(n: int) -> None:
    assert classify(radial(n), n).kind == "radial"


def test_circles_alone_are_circle_and_with_radial_lines_mixed() -> None:
    circles = [circle(200), circle(240), circle(280)]
    assert classify(circles, 3).kind == "circle"
    assert classify(radial(24) + circles, 27).kind == "mixed"  # the Spectralis ONH scan


def test_a_cross_of_two_line_groups_is_mixed() -> None:
    assert classify(raster(5, 30, 0.0) + raster(5, 30, 90.0), 10).kind == "mixed"


def test_repeats_of_one_line_are_a_line_and_so_is_one_frame() -> None:
    assert classify(raster(1, 1, 0.0) * 8, 8).kind == "line"
    assert classify(raster(1, 1, 0.0), 1).kind == "line"
    assert classify([], 1) == Geometry("line")  # none is missing beside others, so no flag speaks of these


def test_a_missing_slice_and_shuffled_frames_are_uneven() -> None:
    even = raster(31, 5.0, 0.0)
    assert classify(even[:12] + even[13:], 30).kind == "uneven"
    assert classify(even[::2] + even[1::2], 31).kind == "uneven"


@pytest.mark.parametrize(
    "points", [np.empty((0, 2)), np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 2), np.nan)]
)
def test_no_or_dummy_coordinates_are_unknown(points: np.ndarray) -> None:
    assert classify([points] * 10, 10).kind == "unknown"
    assert classify([], 10).kind == "unknown"


def test_frames_without_coordinates_are_counted_and_do_not_break_the_step() -> None:
    paths = raster(20, 7.0, 0.0)
    paths[3] = paths[11] = np.empty((0, 2))
    geometry = classify(paths, 20)
    assert (geometry.kind, geometry.missing) == ("raster", 2)
    assert geometry.step_px == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("with_place", "kind"), [(2, "unknown"), (9, "unknown"), (10, "raster"), (19, "raster")]
)
def test_a_few_located_frames_do_not_speak_for_all(with_place: int, kind: str) -> None:
    paths = [path if i < with_place else np.empty((0, 2)) for i, path in enumerate(raster(20, 7.0, 0.0))]
    geometry = classify(paths, 20)
    assert (geometry.kind, geometry.missing) == (kind, 20 - with_place)
    assert geometry.step_px == (pytest.approx(7.0) if kind == "raster" else None)
    assert (
        classify(radial(24)[:6] + [np.empty((0, 2))] * 18, 24).kind == "radial"
    )  # no volume, whatever the rest


# which way the axes run


@pytest.mark.parametrize(
    ("angle", "step", "flipped", "reverse"),
    [
        (0, 5, False, False),
        (0, -5, True, False),
        (7, -8, True, False),  # Spectralis ppol, bottom up
        (-45, 5, False, False),
        (45, 5, False, False),
        (45, -5, True, False),
        (180, 5, True, True),  # the frame runs to the left, and rows fall
        (180, -5, False, True),
        (90, -5, False, False),  # vertical frames, downwards, from small to large columns
        (90, 5, True, False),
        (-90, 5, False, True),
        (60, 5, True, False),
    ],
)
def test_directions_of_a_raster(angle: float, step: float, flipped: bool, reverse: bool) -> None:
    geometry = classify(raster(9, step, angle), 9)
    assert (geometry.kind, geometry.flipped, geometry.fast_axis_reversed) == ("raster", flipped, reverse)
    assert geometry.mirrored == ()


def test_a_serpentine_raster_names_the_frames_that_run_back() -> None:
    paths = raster(7, 5.0, 0.0)
    back = [path[::-1] if i % 2 else path for i, path in enumerate(paths)]
    geometry = classify(back, 7)
    assert (geometry.kind, geometry.mirrored, geometry.fast_axis_reversed) == ("raster", (1, 3, 5), False)
    other = classify([path[::-1] for path in back], 7)
    assert (other.mirrored, other.fast_axis_reversed) == ((1, 3, 5), True)
    assert classify(back[:6], 6).mirrored == (1, 3, 5)  # as many one way as the other: left to right wins
    assert classify([p[::-1] for p in back[:6]], 6).mirrored == (0, 2, 4)


@pytest.mark.parametrize("paths", [radial(6), raster(1, 1, 0.0) * 4, [circle(200), circle(240)]])
def test_only_rasters_have_directions(paths: list[np.ndarray]) -> None:
    geometry = classify([path[::-1] for path in paths], len(paths))
    assert (geometry.flipped, geometry.fast_axis_reversed, geometry.mirrored) == (False, False, ())


# the same pattern elsewhere is the same pattern


@dataclass(frozen=True)
class Moved:
    """How a pattern of about 1000 px is turned, scaled, shifted, jittered, thinned and reversed."""

    turn_deg: float
    scale: float
    shift: tuple[float, float]
    noise_px: float
    missing: float
    reverse: bool
    seed: int

    def of(self, paths: list[np.ndarray]) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        a = np.deg2rad(self.turn_deg)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        moved_paths = []
        gone = rng.permutation(len(paths))[: int(self.missing * len(paths))]
        for i, path in enumerate(paths):
            noise = self.noise_px * rng.uniform(-1, 1, path.shape)
            # float32 is what the file holds
            moved = (self.scale * (path + noise) @ turn.T + self.shift).astype(np.float32)
            moved_paths.append(np.empty((0, 2)) if i in gone else moved)
        return moved_paths[::-1] if self.reverse else moved_paths


moves = st.builds(
    Moved,
    turn_deg=st.floats(-180, 180),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)),
    noise_px=st.floats(0, 0.3),
    missing=st.floats(0, 0.4),
    reverse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)


def is_flipped(paths: list[np.ndarray]) -> bool:
    """From the first and the last located frame alone."""
    placed = [path for path in paths if len(path)]
    (row, col), (down, right) = (
        np.abs(placed[0][1] - placed[0][0]),
        placed[-1].mean(0) - placed[0].mean(0),
    )
    steep = np.rad2deg(np.arctan2(row, col))
    assume(abs(steep - UPRIGHT_DEG) > 1)
    return bool((right if steep > UPRIGHT_DEG else down) < 0)


@given(move=moves, n=st.integers(8, 80), step=st.floats(3, 12))
def test_a_raster_moved_is_the_same_raster(move: Moved, n: int, step: float) -> None:
    paths = move.of(raster(n, step, 0.0))
    geometry = classify(paths, n)
    assert (geometry.kind, geometry.missing) == ("raster", int(move.missing * n))
    assert geometry.step_mm(5.0) == pytest.approx(step / 500 * 5.0, rel=0.1)
    assert geometry.flipped == is_flipped(paths)
    assert classify(paths[::-1], n).flipped != geometry.flipped


@given(move=moves, n=st.integers(6, 48))
def test_radial_lines_moved_are_radial(move: Moved, n: int) -> None:
    assert classify(move.of(radial(n)), n).kind == "radial"


@given(move=moves, n=st.integers(4, 20))
def test_circles_moved_are_circles_and_with_lines_mixed(move: Moved, n: int) -> None:
    circles = [circle(100 + 20 * i) for i in range(n)]
    assert classify(move.of(circles), n).kind == "circle"
    assert classify(move.of(circles) + move.of(radial(6)), n + 6).kind == "mixed"


@given(move=moves, n=st.integers(12, 40), at=st.integers(4, 8))
def test_a_gap_a_repeat_and_a_swap_moved_are_uneven(move: Moved, n: int, at: int) -> None:
    even = raster(n + 1, 6.0, 0.0)
    whole = Moved(move.turn_deg, move.scale, move.shift, move.noise_px, 0.0, move.reverse, move.seed)
    for order in (
        [*range(at), *range(at + 1, n + 1)],  # one place is skipped, and nobody says so
        [i // 2 for i in range(n)],  # every place twice, as for averaging
        [*range(0, n, 2), *range(1, n, 2)],  # two passes that interleave
    ):
        assert classify(whole.of([even[i] for i in order]), n).kind == "uneven"


@given(move=moves, n=st.integers(2, 12))
def test_repeats_moved_are_a_line(move: Moved, n: int) -> None:
    still = Moved(move.turn_deg, move.scale, move.shift, 0.0, 0.0, move.reverse, move.seed)
    assert classify(still.of(raster(1, 1.0, 0.0) * n), n).kind == "line"


@pytest.mark.parametrize("step", [2, 3, 4])
def test_every_place_twice_is_uneven_in_whole_pixels_too(step: int) -> None:
    twice = [raster(40, step, 0.0)[i // 2] for i in range(40)]
    assert all((path == np.rint(path)).all() for path in twice)
    assert classify(twice, 40).kind == "uneven"


@given(
    n=st.integers(20, 120), step=st.floats(0.2, 3), first=st.floats(0, 1), angle=st.sampled_from([0, 17, 45])
)
def test_steps_of_less_than_a_pixel_stand_still_now_and_then(
    n: int, step: float, first: float, angle: float
) -> None:
    """Rounding down, and not to even halves, as exporters do."""
    paths = [np.floor(path + first) for path in raster(n, step, angle)]
    assume((n - 1) * step > 2)
    assert classify(paths, n).kind == "raster"


def test_frames_that_slide_along_or_differ_in_length_are_no_volume() -> None:
    even = raster(12, 6.0, 0.0)
    slid = [path + np.array([0.0, 80.0 * (i % 2)]) for i, path in enumerate(even)]
    assert classify(slid, 12).kind == "uneven"
    assert classify([*even[:5], even[5] * [1, 0.5], *even[6:]], 12).kind == "uneven"


def fan(n: int, sweep_deg: float, centre: float) -> list[np.ndarray]:
    """Lines of 500 px through one point, which lies at this share of each of them."""
    angles = np.deg2rad(np.linspace(-sweep_deg / 2, sweep_deg / 2, n))
    along = 500 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return [np.stack([400 - centre * line, 400 + (1 - centre) * line]) for line in along]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(
    ("centre", "kind"), [(0.0, "radial"), (1.0, "radial"), (0.2, "radial"), (-0.5, "uneven"), (-20, "raster")]
)
def test_a_narrow_fan_is_no_raster(centre: float, kind: str, back: bool) -> None:
    """No two frames differ by PARALLEL_DEG; but one end of them moves on, and the other stands still."""
    paths = fan(61, 2.5, centre)
    if back:
        paths = [path[::-1] if i % 2 else path for i, path in enumerate(paths)]
    assert classify(paths, 61).kind == kind


def test_two_lines_are_radial_only_where_they_cross() -> None:
    low, high = lines(np.array([[400.0, 300.0], [300.0, 900.0]]), np.array([0.0, 10.0]), 200.0)
    assert classify([low, high], 2).kind == "mixed"


def test_dense_paths_are_what_their_ends_are() -> None:
    """Some exporters write a point for every A-scan, of lines too."""
    dense = [np.linspace(path[0], path[1], 512) for path in raster(20, 4.0, 30.0)]
    geometry = classify(dense, 20)
    assert (geometry.kind, geometry.step_px, geometry.length_px) == (
        "raster",
        pytest.approx(4.0),
        pytest.approx(500),
    )
    bent = [path + 60 * np.sin(np.linspace(0, np.pi, 512))[:, None] * [1, 0] for path in dense]
    assert classify(bent, 20).kind == "mixed"


def test_whole_pixels_that_never_move_on_are_a_line() -> None:
    """Places 0, 1, 0, 1 are one line seen through rounding, not a raster of step 0.2."""
    jitter = [path + np.array([i % 2, 0.0]) for i, path in enumerate(raster(1, 1.0, 0.0) * 6)]
    assert classify(jitter, 6).kind == "line"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e7, 1e300, -1e308])
def test_a_frame_of_impossible_numbers_is_a_missing_one(bad: float) -> None:
    paths = raster(20, 7.0, 0.0)
    paths[4] = np.array([[bad, 1.0], [2.0, bad]])
    geometry = classify(paths, 20)
    assert (geometry.kind, geometry.missing, geometry.step_px) == ("raster", 1, pytest.approx(7.0))


def test_more_locations_than_frames_are_not_counted() -> None:
    geometry = classify(raster(6, 5.0, 0.0), 4)
    assert (geometry.kind, geometry.missing) == ("raster", 0)
    assert classify(raster(1, 5.0, 0.0) * 3, 1) == Geometry("line")


@given(
    st.lists(
        st.integers(0, 5).flatmap(lambda points: hnp.arrays(np.float64, (points, 2))), min_size=0, max_size=6
    )
)
def test_any_numbers_at_all_end_in_a_kind(paths: list[np.ndarray]) -> None:
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        geometry = classify(paths, max(1, len(paths)))
    assert geometry.missing <= max(1, len(paths))
    if geometry.kind == "raster":
        assert geometry.step_px is not None
        assert np.isfinite(geometry.step_px)

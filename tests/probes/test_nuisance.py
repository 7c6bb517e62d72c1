"""Of which nuisance there is an index, on which volumes, and why of none."""

from collections.abc import Sequence

import numpy as np
import pytest

from octshard.probes import neighbours
from octshard.probes.nuisance import LEAST, LabelledVolumes, Nuisance, choose
from octshard.rng import rng_for

CLASSES = ("ill", "well")


def volumes_of(y_N: Sequence[int]) -> LabelledVolumes:
    """A volume of each person."""
    names = tuple(f"p{n:03}" for n in range(len(y_N)))
    return LabelledVolumes(names, np.array(y_N), names, CLASSES)


def in_turn(people: int) -> list[int]:
    return [n % 2 for n in range(people)]


def text(*counts: tuple[str, int]) -> list[str]:
    return [name for name, count in counts for _ in range(count)]


def test_the_device_comes_before_the_site_and_the_site_where_there_is_one_device() -> None:
    volumes = volumes_of(in_turn(20))
    sites = text(("north", 10), ("south", 10))
    two = choose(volumes, {"device": text(("a", 10), ("b", 10)), "site": sites})
    one = choose(volumes, {"device": text(("a", 20)), "site": sites})
    assert isinstance(two, Nuisance)
    assert isinstance(one, Nuisance)
    assert (two.name, two.scans.groups) == ("device", ("a", "b"))
    assert (one.name, one.scans.groups) == ("site", ("north", "south"))


@pytest.mark.parametrize(
    ("y_N", "device", "reason"),
    [
        (in_turn(20), text(("a", 20)), "all val volumes are of one device, a"),
        (in_turn(20), text(("", 20)), "no val volume has a device"),
        (in_turn(14), text(("a", 10), ("b", 4)), "no two classes and no two values of device with 5 people"),
        ([0] * 10 + [1] * 10, text(("a", 10), ("b", 10)), "class and device are one in val"),
    ],
)
def test_no_index_and_why(y_N: list[int], device: list[str], reason: str) -> None:
    said = choose(volumes_of(y_N), {"device": device})
    assert isinstance(said, str)
    assert reason in said


def test_volumes_of_few_people_or_of_no_group_stand_aside() -> None:
    """c has too few people; d has enough, but not once the one class that only it has is gone."""
    y_N = [*in_turn(24), 0, 0, 0]
    device = text(("a", 10), ("b", 12), ("", 2), ("c", 3))
    chosen = choose(volumes_of(y_N), {"device": device})
    assert isinstance(chosen, Nuisance)
    assert chosen.places_N.tolist() == list(range(22))
    rare = LabelledVolumes(*vars(volumes_of([*in_turn(20), *[2] * (LEAST - 1), 0])).values())
    crossed = choose(rare, {"device": text(("a", 10), ("b", 10), ("d", LEAST))})
    assert isinstance(crossed, Nuisance)
    assert crossed.scans.groups == ("a", "b")  # d had 5 people, of whom one is left


def test_the_index_is_that_of_eval_robustness() -> None:
    volumes, device = volumes_of(in_turn(40)), text(("a", 15), ("b", 19), ("", 6))
    chosen = choose(volumes, {"device": device})
    assert isinstance(chosen, Nuisance)
    x_NF = rng_for("features").normal(size=(40, 6))
    x_NF[:, 0] += volumes.y_N
    scans = chosen.scans.part(np.arange(34))
    whole = type(scans)(x_NF[:34], *list(vars(scans).values())[1:])
    other = neighbours.robustness_index(whole, 10, np.ones((1, 34), int), rng_for("probe", "ties"))
    assert chosen.index(x_NF) == other.index.value
    assert 0 < chosen.index(x_NF) < 1
    assert chosen.index(x_NF) == chosen.index(x_NF)


def test_the_digest_is_of_volumes_classes_and_groups() -> None:
    volumes, device = volumes_of(in_turn(20)), text(("a", 10), ("b", 10))

    def digest(y_N: Sequence[int], texts: list[str]) -> str:
        chosen = choose(volumes_of(y_N), {"device": texts})
        assert isinstance(chosen, Nuisance)
        return chosen.digest

    same = digest(volumes.y_N.tolist(), device)
    assert same == digest(volumes.y_N.tolist(), device)
    assert same != digest([1, 1, *volumes.y_N.tolist()[2:]], device)
    assert same != digest(volumes.y_N.tolist(), text(("a", 9), ("b", 11)))

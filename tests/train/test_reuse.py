"""How often volumes are seen, by hand; and when it is a warning."""

import logging

import pytest

from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.stream.batch import RankSlice
from octshard.stream.sampler import Domain
from octshard.train import reuse
from octshard.train.optim import Length
from octshard.train.plan import Plan

LARGE, SMALL = Domain("triton", ((0, 60), (60, 20)), 1.0), Domain("cirrus", ((80, 20),), 1.0)


def plan_of(samples: int) -> Plan:
    return Plan(1, 100, Length(0, samples), RankSlice(1, 0, 1), 1, 1)


def test_balanced_devices_see_small_ones_more_often() -> None:
    assert reuse.times_seen(400, [LARGE, SMALL]) == {"triton": 2.5, "cirrus": 10.0}
    assert list(reuse.lines(TrainConfig(run=RunConfig(probe_every=9)), plan_of(400), [LARGE, SMALL])) == [
        (logging.INFO, "reuse: each volume is seen 4.0 times on average (triton 2.5, cirrus 10.0)")
    ]


@pytest.mark.parametrize(
    ("samples", "probe_every", "warned"), [(400, 0, False), (401, 0, True), (401, 9, False)]
)
def test_many_passes_without_probes_are_a_warning(samples: int, probe_every: int, warned: bool) -> None:
    cfg = TrainConfig(run=RunConfig(probe_every=probe_every))
    lines = list(reuse.lines(cfg, plan_of(samples), [LARGE]))
    assert lines[0] == (logging.INFO, "reuse: each volume is seen 5.0 times on average")
    assert [level for level, _ in lines[1:]] == [logging.WARNING] * warned
    assert all("run.probe_every" in line for _, line in lines[1:])

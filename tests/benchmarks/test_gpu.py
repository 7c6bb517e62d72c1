"""What `benchmarks/gpu.py` asks of `octshard train` can be trained: a GPU is lent for minutes."""

import sys
from pathlib import Path

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.train.objectives import build

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(("cuda", "quick"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("config", ["smoke_test", "pretrain_vjepa_single_domain"])
def test_the_sizes_of_the_model_go_with_the_configs(
    config: str, cuda: bool, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import gpu

    machine = gpu.Machine(cuda, quick, Path("work"))
    build.check(load(TrainConfig, [config], [*machine.model_size(), "data.shards=shards"]))

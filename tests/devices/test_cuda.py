"""What CUDA is asked for, as far as a CPU shows it: a step compiles without a break and computes the same."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from octshard.devices import cuda, select
from octshard.devices.backend import Sequences
from octshard.devices.cpu import Cpu
from octshard.devices.processes import Processes
from octshard.models import checkpoint
from octshard.train import loop, metrics_log
from octshard.train.inputs import load_inputs
from octshard.train.objectives.build import CLASSES
from octshard.train.sequence_lengths import DrawLengths
from octshard.train.sequences import plan_sequences
from tests.support.tiny_run import COARSE_CONTEXT, WIDE_HEADS, config_for, objective_words, write_dataset

CUDNN, FLASH = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
EFFICIENT, MATH = SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH


@dataclasses.dataclass(frozen=True)
class CompilingCpu(Cpu):
    """The CPU with torch.compile as on a GPU, but for the last stage, which writes kernels. A graph break
    raises.
    """

    @property
    def sequences(self) -> Sequences:
        return "few lengths"

    def compile(self, function: Callable[..., Any]) -> Any:
        return torch.compile(function, backend="aot_eager", dynamic=False, fullgraph=True)

    def wrap(self, model: nn.Module) -> nn.Module:
        return self.compile(model)

    def autocast(self) -> AbstractContextManager[Any]:
        return sdpa_kernel(cuda.attention_order((9, 0), deterministic=False), set_priority=True)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Volumes of 18 and of 24 valid tokens, so that the lists of some are filled and attention is masked."""
    folder = tmp_path_factory.mktemp("data")
    return ",".join(
        write_dataset(folder / name, {"train": 12, "val": 1}, shape, device=name)
        for name, shape in (("flat", (6, 20, 24)), ("tall", (6, 32, 24)))
    )


NAMES = {
    "coarse": COARSE_CONTEXT,
    "coarse vjepa2_1": (*COARSE_CONTEXT, "objective.name=vjepa2_1", "model.depth=4"),
}


@pytest.fixture
def counters() -> Iterator[Any]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("objective", "position", "packing"),
    [
        ("vjepa2", "rope", "off"),
        ("coarse", "rope", "off"),
        ("coarse vjepa2_1", "sincos", "off"),
        pytest.param("vjepa2", "sincos", "off", marks=pytest.mark.slow),
        ("vjepa2_1", "rope", "off"),
        ("vjepa2_1", "sincos", "off"),
        ("vjepa2_1", "rope", "on"),
        ("byol", "rope", "off"),
        pytest.param("byol", "sincos", "off", marks=pytest.mark.slow),
        ("mae", "rope", "off"),
        pytest.param("mae", "sincos", "off", marks=pytest.mark.slow),
        ("vjepa2", "rope", "on"),
    ],
)
def test_a_compiled_run_has_no_graph_break_and_the_losses_of_an_eager_one(
    shards: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    counters: Any,
    objective: str,
    position: str,
    packing: str,
) -> None:
    """Views, forward and backward: two graphs, made once, in three steps of two micro-batches each. Packed,
    two volumes always take two blocks, and FlexAttention computes what one call a volume does.
    """
    words = [*NAMES.get(objective, objective_words(objective)), f"model.position={position}",
             "run.samples_budget=12",
             "run.per_device_batch=2", "run.log_every_steps=1", "run.val_samples=2",
             f"run.packing={packing}", *WIDE_HEADS]  # fmt: skip
    eager, compiled = (config_for(shards, tmp_path / name, *words) for name in ("eager", "compiled"))
    loop.train(eager)
    monkeypatch.setattr(select, "open_backend", lambda run: CompilingCpu(None))
    loop.train(compiled)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    one, other = (metrics_log.read(cfg.run.out) for cfg in (eager, compiled))
    for name in ("loss", "grad_norm", "val_loss", "rank"):
        expected = [line[name] for line in one if name in line]
        assert [line[name] for line in other if name in line] == pytest.approx(expected, rel=1e-5), name
    one_model, other_model = (checkpoint.load_newest(cfg.run.out)[1]["model"] for cfg in (eager, compiled))
    for name, weight in one_model.items():
        torch.testing.assert_close(other_model[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "objective",
    ["vjepa2", *(pytest.param(name, marks=pytest.mark.slow) for name in CLASSES if name != "vjepa2")],
)
def test_packed_lists_of_context_and_targets_are_no_more_graphs_than_sequences_have_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counters: Any, objective: str
) -> None:
    """Volumes of one block and of two, two of them a micro-batch; what is context and target differs too."""
    shards = ",".join(
        write_dataset(tmp_path / name, {"train": 10, "val": 1}, shape, device=name)
        for name, shape in (("small", (6, 32, 32)), ("large", (8, 64, 56)))
    )
    words = ["model.depth=1", *objective_words(objective), "model.image_size=[8,64,64]",
             "run.samples_budget=20",
             "objective.masks=[{kind: cubes, context: 0.4, target: 0.3}]", "run.per_device_batch=2",
             "run.log_every_steps=1", "run.val_samples=0", "run.packing=on", "data.lanes=1",
             "data.shuffle_block_size=20", *WIDE_HEADS]  # fmt: skip
    eager, compiled = (config_for(shards, tmp_path / name, *words) for name in ("eager", "compiled"))
    loop.train(eager)
    backend = CompilingCpu(None)
    monkeypatch.setattr(select, "open_backend", lambda run: backend)
    inputs = load_inputs(compiled, backend)
    plan = plan_sequences(compiled, inputs.index, inputs.shape, backend, inputs.plan)
    assert plan.lengths == (256, 384, 512)
    assert plan.draws == ((DrawLengths((256, 256, 256), (256, 384, 512)),),)
    loop.train(compiled)
    assert counters["stats"]["unique_graphs"] == 1 + len(plan.lengths)  # and the views
    assert not counters["graph_break"]
    one, other = (metrics_log.read(cfg.run.out) for cfg in (eager, compiled))
    for name in ("loss", "grad_norm"):
        expected = [line[name] for line in one if name in line]
        assert [line[name] for line in other if name in line] == pytest.approx(expected, rel=1e-4), name


@pytest.mark.slow
def test_each_stage_of_a_mask_ratio_is_compiled_however_many_there_are(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counters: Any
) -> None:
    """Twelve of them, each of a shape of its own; torch by itself compiles eight."""
    words = [
        "objective.masks=[{kind: cubes, cube: [1,1,1], ratio: 0.1, ratio_end: 0.9, context: 0.9, "
        "target: 0.1}]",
        "objective.mask_stages=12", "run.samples_budget=48", "run.per_device_batch=4", "run.val_samples=0",
        "run.log_every_steps=9", "run.packing=off", "model.depth=1",
    ]  # fmt: skip
    monkeypatch.setattr(select, "open_backend", lambda run: CompilingCpu(None))
    # torch's own way: a setting that pytest's monkeypatch restores is gone for good
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=8):
        cuda.allow_recompiles()
        assert loop.train(config_for(shards, tmp_path, *words)).step == 12
    assert counters["stats"]["unique_graphs"] == 13  # and the views
    assert not counters["graph_break"]


def test_attention_is_chosen_in_that_order_within_autocast_alone() -> None:
    order, before = [EFFICIENT, CUDNN, MATH], torch._C._get_sdp_priority_order()
    backend = cuda.Cuda(None, False, order, torch.device("cuda"), Processes(), None)  # type: ignore[arg-type]
    with backend.autocast():
        chosen = torch._C._get_sdp_priority_order()
        assert chosen[:3] == [int(kernel) for kernel in order]
        assert not torch.backends.cuda.flash_sdp_enabled()  # it is not in the list
    assert torch._C._get_sdp_priority_order() == before
    assert torch.backends.cuda.flash_sdp_enabled()


def test_a_function_is_compiled_only_where_the_config_says_so(counters: Any) -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    plain, compiling = (
        cuda.Cuda(None, compiles, [], torch.device("cuda"), Processes(), None)  # type: ignore[arg-type]
        for compiles in (False, True)
    )
    assert plain.compile(double) is double
    assert compiling.compile(double) is not double
    model = nn.Linear(2, 2)
    assert plain.wrap(model) is model
    assert compiling.wrap(model)._orig_mod is model


def test_a_deterministic_run_asks_torch_for_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    try:
        cuda.be_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()  # it raises where there is no kernel
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        cuda.be_deterministic()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's own choice stays
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def test_cudnn_leads_where_it_is_faster_and_repeats_are_not_asked_for() -> None:
    assert cuda.attention_order((9, 0), deterministic=False) == [CUDNN, FLASH, EFFICIENT, MATH]
    assert cuda.attention_order((10, 0), deterministic=False)[0] == CUDNN
    assert cuda.attention_order((8, 9), deterministic=False) == [FLASH, EFFICIENT, MATH, CUDNN]
    for capability in ((8, 0), (9, 0)):
        assert cuda.attention_order(capability, deterministic=True) == [FLASH, EFFICIENT, MATH]

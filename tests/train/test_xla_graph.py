"""What a step leaves to the host on XLA, by the graphs of real steps: few nodes, no large constant."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.tiny_run import write_dataset

pytestmark = [
    pytest.mark.xla,
    pytest.mark.skipif(find_spec("torch_xla") is None, reason="torch_xla is not installed"),
]
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
SHAPE = (16, 100, 150)
SETTINGS = (
    "run.device=xla",
    "run.samples_budget=4",  # one step of two micro-steps
    "run.per_device_batch=2",
    "run.val_samples=0",
    "run.memory_probe=off",  # it makes steps of its own
    "run.checkpoint_every_epochs=9",
    "model.image_size=[16,128,192]",  # one number for each voxel would take 1.6 MB
    "model.patch=[8,32,32]",
    "objective.masks=[{kind: cubes, cube: [1,1,1], context: 6, target: 5}]",
)
DEPTHS = (1, 3)
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.support.tiny_run import config_for
from octshard.train import loop

settings = [*{settings!r}, "model.depth=" + sys.argv[2]]
loop.train(config_for(sys.argv[1], {out!r} + "/" + sys.argv[2], *settings))
"""


class Graph(NamedTuple):
    """One graph that the loop handed to XLA. nodes: what the host adds to it in a step, leaves left out;
    instructions: what XLA compiles, those of recorded computations too.
    """

    nodes: int
    instructions: int
    parameters: int
    largest_constant: int  # bytes


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Graph]]:
    """Depth of the encoder -> the graphs of the micro-steps of its first step, the update in the last."""
    return graphs_of(tmp_path_factory.mktemp("graphs"), DEPTHS)


def graphs_of(folder: Path, depths: Sequence[int], *more: str) -> dict[int, list[Graph]]:
    """Those of `graphs`, with further settings."""
    shards = write_dataset(folder / "data", {"train": 21}, SHAPE)
    script = SCRIPT.format(root=str(Path(__file__).parents[2]), settings=(*SETTINGS, *more), out=str(folder))
    processes = {}
    for depth in depths:
        environment = {
            **os.environ,
            "PJRT_DEVICE": "CPU",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "XLA_SAVE_TENSORS_FILE": str(folder / f"depth{depth}"),
            "XLA_SAVE_TENSORS_FMT": "hlo",
        }
        processes[depth] = subprocess.Popen(
            [sys.executable, "-c", script, shards, str(depth)],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    graphs = {}
    for depth, process in processes.items():
        _, stderr = process.communicate(timeout=400)
        assert process.returncode == 0, stderr[-3000:]
        graphs[depth] = step_graphs((folder / f"depth{depth}.0").read_text())
    return graphs


def step_graphs(text: str) -> list[Graph]:
    """Those of `text` that the loop's step ended: XLA writes the Python frames above each graph."""
    sections = text.split("TensorsGraphInfo:")[1:]
    return [graph(section) for section in sections if re.search(r"^  make_step \(", section, re.MULTILINE)]


def graph(text: str) -> Graph:
    """Nodes are the instructions of the entry: a computation that it calls was recorded before."""
    every, kinds = (_kinds(part) for part in (text, text.split("\nENTRY ")[1]))
    assert kinds[-1] == "tuple", kinds[-5:]
    leaves = sum(kind in ("parameter", "constant") for kind in kinds)
    constants = re.findall(r" = (\w+)\[([\d,]*)\]\S* constant\(", text)
    sizes = [BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in constants]
    return Graph(len(kinds) - leaves, len(every), kinds.count("parameter"), max(sizes))


def _kinds(text: str) -> list[str]:
    return re.findall(r"^  (?:ROOT )?\S+ = .*? ([\w-]+)\(", text, re.MULTILINE)


def test_a_constant_is_found_by_its_shape() -> None:
    text = """
%apply.1 (p0.2: s64[2]) -> s32[16,128,192] {
  %constant.3 = s32[393216]{0} constant({...})
}

ENTRY %main.4 (p0.5: s64[2]) -> (s32[16,128,192]) {
  %p0.5 = s64[2]{0} parameter(0)
  %constant.6 = f32[] constant(1)
  %call.7 = s32[16,128,192]{2,1,0} call(s64[2]{0} %p0.5), to_apply=%apply.1
  ROOT %tuple.8 = (s32[16,128,192]{2,1,0}) tuple(s32[16,128,192]{2,1,0} %call.7)
}
"""
    assert graph(text) == Graph(2, 5, 1, 4 * 393216)


def test_no_large_constant_enters_the_graph_of_a_step(graphs: dict[int, list[Graph]]) -> None:
    for steps in graphs.values():
        assert len(steps) == 2
        for step in steps:
            assert step.largest_constant < 1e6, step


def test_the_host_adds_nothing_for_a_deeper_model_but_what_its_parameters_need(
    graphs: dict[int, list[Graph]],
) -> None:
    """Two more blocks are 24 more gradients: each is scaled in every micro-step, and in the last one also
    measured, clipped and, with its weight, moments and target, updated. Traced anew, they are thousands.
    """
    shallow, deep = (graphs[depth] for depth in DEPTHS)
    assert deep[0].nodes - shallow[0].nodes <= 24 * 4, (shallow, deep)
    assert deep[1].nodes - shallow[1].nodes <= 24 * 30, (shallow, deep)
    assert shallow[0].nodes < 200, shallow
    assert shallow[1].nodes < 1000, shallow


def test_xla_compiles_no_more_for_a_deeper_model_but_what_its_parameters_need(
    graphs: dict[int, list[Graph]],
) -> None:
    """Of forward and backward pass: blocks are a loop over stacked weights, so that two more add what stacks
    those of both encoders, 48 tensors, and takes 24 gradients apart. One after the other they are 1,500.
    """
    shallow, deep = (graphs[depth][0].instructions for depth in DEPTHS)
    assert deep - shallow <= 48 * 3 + 24 * 8, (shallow, deep)


@pytest.mark.slow
def test_levels_of_the_encoder_are_loops_too(tmp_path: Path) -> None:
    """With `vjepa2_1` each quarter of the blocks is one: four more blocks add what their parameters need."""
    shallow, deep = graphs_of(tmp_path, (4, 8), "objective.name=vjepa2_1").values()
    assert len(shallow) == len(deep) == 2
    for step in (*shallow, *deep):
        assert step.largest_constant < 1e6, step
    assert deep[0].nodes - shallow[0].nodes <= 48 * 4, (shallow, deep)
    assert deep[1].nodes - shallow[1].nodes <= 48 * 30, (shallow, deep)
    assert deep[0].instructions - shallow[0].instructions <= 2 * (48 * 3 + 24 * 8), (shallow, deep)

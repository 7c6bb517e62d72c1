"""One step of the real loop from a state in which every number matters, and the same step in float64.

    python -m tests.support.one_step JSON    {FILE.npz: config in YAML}; what each step made goes to its file

The weights are drawn at random (at the start norms are 1 and biases 0), and so are the moments of AdamW.
"""

import itertools
import json
import sys
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from octshard.config.load import load_saved
from octshard.config.train import TrainConfig
from octshard.devices import prefetch, select
from octshard.rng import rng_for
from octshard.train import setup, step_stats
from octshard.train.checkpointer import TrainState
from octshard.train.inputs import TrainInputs, load_inputs, train_batches
from octshard.train.step import make_step
from tests.support.numpy_step.objective import Sample
from tests.support.numpy_step.step import Moments, Schedule, StepResult, step
from tests.support.numpy_step.views import Scan, View

STEPS_BEFORE = 3


class Step(NamedTuple):
    """What the step took from the host, and what it made, by the names of weights."""

    micro_batches: list[list[Sample]]
    schedule: Schedule
    made: dict[str, np.ndarray]  # loss, norm, losses_B, and gradient/, weight/, mean/, square/ of each name


def run_step(cfg: TrainConfig) -> Step:
    """One step on the device of the config."""
    backend = select.open_backend(cfg.run)
    run, state = setup.start(cfg, backend, load_inputs(cfg, backend), None)
    state.step, state.samples_seen = STEPS_BEFORE, STEPS_BEFORE * cfg.run.global_batch
    _draw_state(state)
    gradients: dict[str, torch.Tensor] = {}
    for name, weight in trained(state).items():
        weight.register_post_accumulate_grad_hook(lambda w, n=name: gradients.update({n: w.grad}))
    batches = train_batches(run.inputs, backend, state.position)
    with prefetch.prefetch_to_device(batches, backend) as on_device:
        micro_batches = list(itertools.islice(on_device, run.plan.accumulation))
        outputs = make_step(run, state, micro_batches, step_stats.zero_sums(backend, cfg.model.width))
    tensors = {
        "loss": outputs.sums.steps_2[0],
        "norm": outputs.norm,
        "losses_B": outputs.losses_B,
        **{f"gradient/{name}": gradient for name, gradient in gradients.items()},
        **{f"weight/{name}": weight for name, weight in state.model.named_parameters()},
    }
    for name, weight in trained(state).items():
        tensors[f"mean/{name}"] = state.optimizer.state[weight]["exp_avg"]
        tensors[f"square/{name}"] = state.optimizer.state[weight]["exp_avg_sq"]
    made = {name: tensor.float().numpy() for name, tensor in backend.to_host(tensors).items()}
    backend.close()
    seen = state.samples_seen + cfg.run.global_batch
    schedule = Schedule(seen, run.plan.length.warmup, run.plan.length.total)
    return Step([samples_of(micro.host, cfg) for micro in micro_batches], schedule, made)


def in_float64(cfg: TrainConfig, taken: Step) -> StepResult:
    """The same step from the same state, from the formulas."""
    names = {name: array.shape for name, array in group(taken.made, "weight").items()}
    mean, square = ({n: drawn(kind, n, names[n]) for n in group(taken.made, kind)} for kind in MOMENTS)
    values = {name: drawn("weight", name, shape) for name, shape in names.items()}
    return step(taken.micro_batches, cfg, values, Moments(mean, square, STEPS_BEFORE), taken.schedule)


MOMENTS = ("mean", "square")


def drawn(kind: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32: a weight of a size at which no layer is saturated, or a moment of about a gradient's size."""
    normal = rng_for(kind, name).standard_normal(shape)
    if kind in MOMENTS:
        return (0.01 * normal if kind == "mean" else 1e-4 * (0.5 + normal**2)).astype(np.float32)
    scale = 0.7 * shape[1] ** -0.5 if len(shape) > 1 else 0.2
    is_gain = "norm" in name and name.endswith("weight")
    return (is_gain + scale * normal).astype(np.float32)


def trained(state: TrainState) -> dict[str, torch.nn.Parameter]:
    """The weights that get a gradient."""
    return {name: weight for name, weight in state.model.named_parameters() if weight.requires_grad}


def samples_of(inputs: TrainInputs, cfg: TrainConfig) -> list[Sample]:
    """What the stream and the masks made, volume by volume; which tokens hold a voxel is found here anew."""
    batch, params = inputs.batch, inputs.params
    samples = []
    for i, valid in enumerate(batch.valid_B3.tolist()):
        voxels_DHW = batch.voxels_BDHW[i].numpy()[tuple(map(slice, valid))].copy()
        view = View(*(getattr(params, f"{name}_B")[i].item() for name in View._fields))
        scan = Scan(voxels_DHW, batch.mean_B[i].item(), batch.std_B[i].item(), view)
        index_V, valid_V = inputs.tokens.index_BV[i].numpy(), valid_ids(valid, cfg)
        masks = []
        for places in inputs.places:
            context_K = _without_repeats(places.context_BK, places.context_padding_BK, i)
            target_T = _without_repeats(places.target_BT, places.target_padding_BT, i)
            masks.append((context_K if places.coarse else index_V[context_K], index_V[target_T]))
        read_V = valid_V if len(valid_V) <= len(index_V) else index_V  # a seeded choice
        assert np.isin(read_V, valid_V).all()
        samples.append(Sample(scan, read_V, tuple(masks)))
    return samples


def _without_repeats(place_BX: torch.Tensor, padding_BX: torch.Tensor | None, i: int) -> np.ndarray:
    """Of volume i, which may have fewer than its list is long."""
    places = place_BX[i] if padding_BX is None else place_BX[i][~padding_BX[i]]
    return places.numpy()  # type: ignore[no-any-return]


def valid_ids(valid: list[int], cfg: TrainConfig) -> np.ndarray:
    """Numbers in the grid of the tokens that hold a voxel of the volume."""
    patch, grid = (
        cfg.model.patch,
        [s // p for s, p in zip(cfg.model.image_size, cfg.model.patch, strict=True)],
    )
    counts = [-(-size // side) for size, side in zip(valid, patch, strict=True)]
    return np.arange(np.prod(grid)).reshape(grid)[tuple(map(slice, counts))].ravel()


def _draw_state(state: TrainState) -> None:
    with torch.no_grad():
        for name, weight in state.model.named_parameters():
            weight.copy_(torch.from_numpy(drawn("weight", name, tuple(weight.shape))))
        for name, weight in trained(state).items():
            mean, square = (torch.from_numpy(drawn(kind, name, tuple(weight.shape))) for kind in MOMENTS)
            state.optimizer.state[weight] = {
                "step": torch.tensor(float(STEPS_BEFORE)),
                "exp_avg": mean.to(weight.device),
                "exp_avg_sq": square.to(weight.device),
            }


def group(arrays: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(f"{group}/"): a for n, a in arrays.items() if n.startswith(f"{group}/")}


def main() -> None:
    """For devices that need a process of their own."""
    for file, config in json.loads(sys.argv[1]).items():
        np.savez(file, **run_step(load_saved(TrainConfig, config, file)).made)


if __name__ == "__main__":
    main()

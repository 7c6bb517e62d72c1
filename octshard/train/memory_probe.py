"""Does a step fit into the device's memory? Tried before the first one, on made-up data; what fits is kept.

The steps are those of a run of their own, thrown away before the real one is there. Each process tries alone,
without exchanging anything, so that none waits for one whose memory is full; all take what fits everywhere.
"""

import copy
import dataclasses
import gc
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from octshard.config.train import TrainConfig
from octshard.devices import collectives, prefetch
from octshard.devices.backend import Backend
from octshard.devices.prefetch import DeviceBatch
from octshard.errors import UsageError
from octshard.imaging.volume import product
from octshard.storage import json_object, store
from octshard.storage.json_object import DamagedJson
from octshard.train import memory, step_stats
from octshard.train.blank_batches import largest_batches
from octshard.train.inputs import RunInputs, load_inputs
from octshard.train.objectives.build import objective_class
from octshard.train.plan import make_plan
from octshard.train.setup import make_run
from octshard.train.step import count_step, make_step

logger = logging.getLogger(__name__)

FILE = "memory.json"
SHRUNK = [64, 320, 320]  # image_size of run.oom_shrink
KEYS = {"per_device_batch", "image_size"}
STEPS = 2  # the moments of AdamW are there from the second on


def is_on(cfg: TrainConfig, backend: Backend) -> bool:
    """auto: not on the CPU, where a full memory raises nothing: the system ends a process."""
    return cfg.run.memory_probe == "on" or (cfg.run.memory_probe == "auto" and backend.device.type != "cpu")


def remembered(cfg: TrainConfig, backend: Backend) -> TrainConfig:
    """`cfg` as an earlier start of the run in run.out made it fit into the memory of such devices.

    The image_size that it chose stays on any device: the weights were trained with it.
    """
    try:
        record = json_object.read(store.join(cfg.run.out, FILE))
    except FileNotFoundError:
        return cfg
    except DamagedJson as error:
        logger.warning("%s; memory is tried anew", error)
        return cfg
    command, choice = record.get("asked"), record.get("chosen")  # values of KEYS
    if (
        not isinstance(command, dict)
        or not isinstance(choice, dict)
        or not command.keys() & choice.keys() >= KEYS
    ):
        logger.warning("%s/%s: not as this version writes it; memory is tried anew", cfg.run.out, FILE)
        return cfg
    cfg = copy.deepcopy(cfg)
    if cfg.run.oom_shrink and cfg.model.image_size == command["image_size"]:
        cfg.model.image_size = choice["image_size"]
    same = (
        record.get("device") == _device(backend) and command["per_device_batch"] == cfg.run.per_device_batch
    )
    if same and is_on(cfg, backend):
        cfg.run.per_device_batch = choice["per_device_batch"]
    return cfg


def fit(command: TrainConfig, inputs: RunInputs, backend: Backend, *, is_new: bool) -> RunInputs:
    """`inputs`, or those of a config that fits into memory; UsageError if none does. Waits for the device.

    command: its config; that of `inputs` is tried first. is_new: nothing is trained yet.
    """
    if not is_on(command, backend):
        return inputs
    problem = ""
    for candidate in _candidates(inputs.cfg, backend, is_new=is_new):
        inputs = _with_config(inputs, candidate, backend)
        problem = _problem(inputs, backend)
        if not problem:
            _keep(command, candidate, backend)
            return inputs
    byol = objective_class(command).batch_statistics
    raise UsageError(
        f"{problem}; "
        + ("with BatchNorm a smaller one is another result: set it yourself, " if byol else "want ")
        + "a smaller model or model.image_size"
        + ("" if command.run.oom_shrink or not is_new else f", or run.oom_shrink=true for {SHRUNK}")
    )


def _candidates(cfg: TrainConfig, backend: Backend, *, is_new: bool) -> Iterator[TrainConfig]:
    """`cfg`, the same with ever smaller micro-batches, and all of them with the smaller image if it may be.

    A micro-batch is part of the result where the loss of a volume depends on the others of it.
    """
    share, batches = cfg.run.global_batch // backend.device_count, [cfg.run.per_device_batch]
    while batches[-1] > 1 and not objective_class(cfg).batch_statistics:
        batches.append(max(size for size in range(1, batches[-1] // 2 + 1) if share % size == 0))
    sizes = [cfg.model.image_size]
    if is_new and cfg.run.oom_shrink and product(SHRUNK) < product(cfg.model.image_size):
        sizes.append(SHRUNK)
    for size in sizes:
        for batch in batches:
            candidate = copy.deepcopy(cfg)
            candidate.model.image_size, candidate.run.per_device_batch = list(size), batch
            yield candidate


def _with_config(inputs: RunInputs, cfg: TrainConfig, backend: Backend) -> RunInputs:
    if cfg == inputs.cfg:
        return inputs
    if cfg.model.image_size != inputs.cfg.model.image_size:
        return load_inputs(cfg, backend)
    return dataclasses.replace(inputs, cfg=cfg, plan=make_plan(cfg, inputs.index, backend))


def _problem(inputs: RunInputs, backend: Backend) -> str:
    """Why a step does not fit, on the device of any process; empty if it does."""
    cfg, problem = inputs.cfg, ""
    try:
        memory.check(cfg, backend, inputs.shape)
        if not _fits(inputs, backend):
            problem = (
                f"run.per_device_batch={cfg.run.per_device_batch}: memory of {backend.device.type} is full"
            )
    except UsageError as error:
        problem = str(error)
    if collectives.all_reduce_sum(backend, float(bool(problem))) and not problem:  # waits
        problem = f"run.per_device_batch={cfg.run.per_device_batch}: memory of another process is full"
    return problem


def _fits(inputs: RunInputs, backend: Backend) -> bool:
    devices = [backend.device] if backend.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            _make_steps(inputs, backend)
    except (MemoryError, RuntimeError) as error:
        if not memory.is_full(error):
            raise
        return False
    finally:
        gc.collect()  # modules hold each other
        backend.release_memory()
    return True


def _make_steps(inputs: RunInputs, backend: Backend) -> None:
    """Steps of a new run on the largest batches, with as many on the device as in training. Waits for it."""
    alone = backend.alone()
    run, state = make_run(inputs.cfg, alone, inputs)
    # the gradients that processes exchange have memory of their own
    exchanged = [
        torch.empty_like(p) for p in run.model.parameters() if p.requires_grad and alone is not backend
    ]
    count = run.plan.accumulation + prefetch.AHEAD
    for host in largest_batches(inputs, alone):
        batches = [DeviceBatch(host, alone.ready(alone.to_device(host))) for _ in range(count)]
        for _ in range(STEPS):
            micro_batches = batches[: run.plan.accumulation]
            sums = step_stats.zero_sums(alone, inputs.cfg.model.width)  # as after every line of the log
            outputs = make_step(run, state, micro_batches, sums)
            count_step(run, state, micro_batches, outputs)
    alone.to_host(outputs.norm)  # waits: what is full is known now
    del exchanged


def _keep(command: TrainConfig, choice: TrainConfig, backend: Backend) -> None:
    """Says which config is taken in place of the command's, and keeps it in run.out. First process only."""
    if backend.process_index != 0 or choice == command:
        return
    values: list[Mapping[str, Any]] = [
        {"per_device_batch": cfg.run.per_device_batch, "image_size": cfg.model.image_size}
        for cfg in (command, choice)
    ]
    if choice.run.per_device_batch != command.run.per_device_batch:
        logger.warning(
            "run.per_device_batch=%d does not fit into memory: %d instead, with more accumulation; the "
            "result stays", command.run.per_device_batch, choice.run.per_device_batch,
        )  # fmt: skip
    if choice.model.image_size != command.model.image_size:
        logger.warning(
            "model.image_size=%s does not fit into memory: %s instead (run.oom_shrink); another result",
            command.model.image_size, choice.model.image_size,
        )  # fmt: skip
    record = {"device": _device(backend), "asked": values[0], "chosen": values[1]}
    store.write(store.join(choice.run.out, FILE), json.dumps(record, indent=1).encode() + b"\n")


def _device(backend: Backend) -> list[Any]:
    """What memory there is: kind, number and, of a GPU, size."""
    size = backend.free_memory() if backend.device.type == "cuda" else None
    return [backend.device.type, backend.device_count, size]

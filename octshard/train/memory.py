"""Does a step fit into memory? Estimated before anything is allocated; what is too much later is one line."""

import contextlib
from collections.abc import Iterator

from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig
from octshard.devices import host_memory
from octshard.devices.backend import Backend
from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import product
from octshard.models.flops import attentions, block_weights
from octshard.stream.batch_shape import BatchShape
from octshard.train.objectives import curriculum
from octshard.train.objectives.build import objective_class
from octshard.train.objectives.token_counts import counts_of

FLOAT32 = 4  # bytes of a weight, and of each of its gradient and two moments
HOST_BATCHES = 3  # at least: one in use, one on its way, one being filled
FULL = ("out of memory", "can't allocate memory", "cannot allocate memory", "RESOURCE_EXHAUSTED")


def check(cfg: TrainConfig, backend: Backend, shape: BatchShape) -> None:
    """UsageError if even the least that a step can take is more than there is.

    It leaves out what it does not know (workspaces, fragments), so that nothing is refused that fits.
    """
    weights, batch = weight_bytes(cfg), cfg.run.per_device_batch * volume_bytes(cfg, shape)
    free = backend.free_memory()
    if free is not None and weights + batch > free:
        cause = f"run.per_device_batch={cfg.run.per_device_batch}" if weights <= free else "model, predictor"
        advice = "a smaller one gives the same result" if weights <= free else "want a smaller model"
        raise UsageError(
            f"{cause}: a step takes at least {_gigabytes(weights + batch)} ({_gigabytes(weights)} of weights "
            f"and moments), and {backend.device.type} has {_gigabytes(free)}; {advice}"
        )
    voxels = HOST_BATCHES * cfg.run.per_device_batch * product(shape.box)
    on_host = voxels * (backend.device_count // backend.process_count)
    if (host := host_memory.free_memory()) is not None and on_host > host:
        raise UsageError(
            f"run.per_device_batch={cfg.run.per_device_batch}: {HOST_BATCHES} batches of voxels take "
            f"{_gigabytes(on_host)}, and this machine has {_gigabytes(host)} of memory; want a smaller one"
        )


def weight_bytes(cfg: TrainConfig) -> int:
    """At least: weights, gradients and moments of what is trained, and the weights of the target encoder."""
    encoder = block_weights(cfg.model, cfg.model.width) * cfg.model.depth
    encoder += product(cfg.model.patch) * cfg.model.width
    objective = objective_class(cfg)
    copies = 5 if objective.has_target_encoder else 4
    return FLOAT32 * (copies * encoder + 4 * objective.predictor_weights(cfg))


def volume_bytes(cfg: TrainConfig, shape: BatchShape) -> int:
    """At least: what a volume of a batch takes on the device, as voxels, as views, and kept for backward."""
    voxels = product(shape.box)
    number = FLOAT32 if cfg.run.precision == "fp32" else FLOAT32 // 2
    kept = max(_kept_of_volume(stage, shape) for stage in curriculum.stages(cfg))
    return voxels * (1 + 2 * FLOAT32) + int(number * kept)


def _kept_of_volume(cfg: TrainConfig, shape: BatchShape) -> float:
    """Numbers that all blocks keep for backward."""
    tokens = objective_class(cfg).kept_tokens(cfg, shape.tokens, counts_of(cfg, shape.most_valid))
    kept = tokens.encoder * _kept(cfg.model, cfg.model.width) * cfg.model.depth
    return kept + tokens.predictor * _kept(cfg.model, cfg.predictor.width) * cfg.predictor.depth


@contextlib.contextmanager
def one_line_errors(cfg: TrainConfig) -> Iterator[None]:
    """OctshardError in place of what torch, NumPy and XLA raise when memory is full."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_full(error):
            raise
        text = " ".join(str(error).split())
        raise OctshardError(
            f"memory is full at run.per_device_batch={cfg.run.per_device_batch} ({text[:120]}); halve it "
            f"(with vjepa2 the result stays the same) or free some, and run it again: it goes on from there"
        ) from error


def is_full(error: MemoryError | RuntimeError) -> bool:
    """True for what torch (a RuntimeError too), NumPy and XLA raise when memory is full."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(part.lower() in text for part in FULL)


def _kept(model: ModelConfig, width: int) -> float:
    """Numbers of a token that a block keeps for backward: query, key, value, their mix, the MLP's inside;
    with model.checkpointing what enters it.
    """
    return width if model.checkpointing else (4 * attentions(model) + model.mlp_ratio) * width


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"

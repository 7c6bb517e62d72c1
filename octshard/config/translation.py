"""Settings under names of other projects: what each is called here, and a whole file in our words.

The names are those of this project's first documents and of usual V-JEPA and timm scripts. Groups do not
matter: `train.lr`, `optimizer.lr` and `lr` are the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from octshard.config.fields import known_keys
from octshard.config.train import TrainConfig

# other name -> key here; the value is taken over as it is
NAMES = {
    "experiment_name": "run.name",
    "exp_name": "run.name",
    "run_name": "run.name",
    "output_dir": "run.out",
    "ckpt_dir": "run.out",
    "checkpoint_dir": "run.out",
    "seed": "run.seed",
    "epochs": "run.epochs",
    "num_epochs": "run.epochs",
    "global_batch_size": "run.global_batch",
    "per_core_batch_size": "run.per_device_batch",
    "per_device_batch_size": "run.per_device_batch",
    "workers": "data.threads",
    "num_workers": "data.threads",
    "cache_dir": "data.cache_dir",
    "image_size": "model.image_size",
    "img_size": "model.image_size",
    "crop_size": "model.image_size",
    "patch_size": "model.patch",
    "embed_dim": "model.width",
    "hidden_size": "model.width",
    "depth": "model.depth",
    "num_layers": "model.depth",
    "num_heads": "model.heads",
    "mlp_ratio": "model.mlp_ratio",
    "pred_embed_dim": "predictor.width",
    "predictor_embed_dim": "predictor.width",
    "pred_depth": "predictor.depth",
    "predictor_depth": "predictor.depth",
    "pred_num_heads": "predictor.heads",
    "predictor_num_heads": "predictor.heads",
    "ema_base": "objective.ema_start",
    "ema_start": "objective.ema_start",
    "ema_end": "objective.ema_end",
    "lr": "optim.base_lr",
    "base_lr": "optim.base_lr",
    "learning_rate": "optim.base_lr",
    "min_lr": "optim.final_lr",
    "final_lr": "optim.final_lr",
    "weight_decay": "optim.weight_decay",
    "warmup_epochs": "optim.warmup_epochs",
    "warmup": "optim.warmup_epochs",
    "grad_clip": "optim.clip_grad",
    "clip_grad": "optim.clip_grad",
    "clip_grad_norm": "optim.clip_grad",
    "eps": "optim.eps",
    "precision": "run.precision",
    "dtype": "run.precision",
    "log_every": "run.log_every_steps",
    "log_every_steps": "run.log_every_steps",
    "log_freq": "run.log_every_steps",
    "ckpt_every_epochs": "run.checkpoint_every_epochs",
    "save_every": "run.checkpoint_every_epochs",
    "save_freq": "run.checkpoint_every_epochs",
    "checkpoint_freq": "run.checkpoint_every_epochs",
    "wandb_project": "run.wandb_project",
}
# other name -> where it went, if no setting of training holds it
ELSEWHERE = {
    "gcs_root": "src of `octshard prep shard`; what that writes is data.shards",
    "data_root": "src of `octshard prep shard`; what that writes is data.shards",
    "bucket": "the beginning of src and dst of `octshard prep shard`, and of run.out",
    "manifest_path": "no setting: `octshard prep shard` finds the manifest below src",
    "list_strategy": "no setting: data.shards names one device's folder, or the folder of all",
    "target_spacing": "a setting of `octshard prep shard`, where spacing is fixed once",
    "grad_accum_steps": "no setting: it follows from run.global_batch, run.per_device_batch and the devices",
    "accum_iter": "no setting: it follows from run.global_batch, run.per_device_batch and the devices",
    "resume": "no setting: a run goes on by itself from run.out",
    "prefetch_factor": "data.prefetch_bytes, in bytes",
    "shuffle_buffer": "data.shuffle_block_size, samples permuted together within a lane",
    "num_cores": "no setting: all devices of the machine are used",
}
PRECISIONS = {"bfloat16": "bf16", "bf16": "bf16", "float32": "fp32", "fp32": "fp32", "32": "fp32"}


class Translation(NamedTuple):
    """values: key here -> value; lines: what became of each key that was not ours, one each."""

    values: Mapping[str, Any]
    lines: tuple[str, ...]


def called_here(name: str) -> str | None:
    """What the last part of another project's key is here; None if it is not known."""
    if name == "mask_ratio":
        return "ratio of objective.masks, of kind cubes"
    if name in ("betas", "adam_betas"):
        return "optim.beta1 and optim.beta2"
    return NAMES.get(name) or ELSEWHERE.get(name)


def foreign(layer: DictConfig) -> list[str]:
    """`KEY is WHAT` for each key that other projects use and we do not have; none if all are ours."""
    ours = set(known_keys(TrainConfig))
    return [
        f"{key} is {here}"
        for key, _ in _leaves(OmegaConf.to_container(layer), ())
        if key not in ours and (here := called_here(key.rsplit(".", 1)[-1]))
    ]


def translate(layer: DictConfig) -> Translation:
    """Every key of a file in our words. What is not known is left out, and said."""
    ours, values, lines = set(known_keys(TrainConfig)), dict[str, Any](), list[str]()
    for key, value in _leaves(OmegaConf.to_container(layer), ()):
        name = key.rsplit(".", 1)[-1]
        if key in ours:
            values[key] = value
        elif name == "mask_ratio":
            values["objective.masks"] = [{"kind": "cubes", "ratio": value}]
            lines.append(f"{key}: {called_here(name)}; context and target there say how many tokens are used")
        elif name in ("betas", "adam_betas") and isinstance(value, list) and len(value) == 2:
            values |= dict(zip(("optim.beta1", "optim.beta2"), value, strict=True))
            lines.append(f"{key}: {called_here(name)}")
        elif name in NAMES:
            values[NAMES[name]] = _in_our_form(name, value)
            lines.append(f"{key}: {NAMES[name]}")
        else:
            lines.append(f"{key}: {ELSEWHERE.get(name, 'not known here')}; left out ({value})")
    return Translation(values, tuple(lines))


def written(translation: Translation) -> str:
    """The YAML text of a translation, its lines as comments before it."""
    layer = OmegaConf.create()
    for key, value in translation.values.items():
        OmegaConf.update(layer, key, value)
    return "".join(f"# {line}\n" for line in translation.lines) + OmegaConf.to_yaml(layer)


def _in_our_form(name: str, value: Any) -> Any:
    if name in ("precision", "dtype"):
        return PRECISIONS.get(str(value).lower(), value)
    return value


def _leaves(values: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is no group."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, str(name)))
        else:
            yield ".".join((*path, str(name))), value

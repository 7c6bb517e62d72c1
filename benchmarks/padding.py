"""The share of FLOPs that padding takes, by formula: volumes in lists, and packed into sequences."""

from collections.abc import Mapping

from step_variants import PRESETS
from table import SectionResult, Table, at_most

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.devices.backend import Sequences
from octshard.imaging.volume import product, valid_tokens
from octshard.models import position
from octshard.train import flops, sequences
from octshard.train.objectives.build import CLASSES
from octshard.train.sequence_lengths import Step

# What the four devices of AI-READI store at (0.05, 0.02, 0.02) mm; each equally often.
MULTI_DOMAIN = ((64, 96, 297), (64, 100, 300), (64, 96, 463), (64, 115, 300), (64, 129, 300), (64, 115, 600),
                (64, 129, 600))  # fmt: skip
MIXES = {  # and the most that padding may take
    "pretrain_vjepa_single_domain": (PRESETS["seed"].shapes, 0.03),
    "pretrain_vjepa_multi_domain": (MULTI_DOMAIN, 0.10),
}
# What runs a step, and of how many devices. On XLA one program has them all; elsewhere each is a process.
WAYS: dict[str, tuple[Sequences, int]] = {
    "cpu": ("any length", 1),
    "cuda compiled": ("few lengths", 1),
    "8 cuda compiled": ("few lengths", 8),
    "xla": ("none", 1),
    "4 xla": ("none", 4),
    "8 xla": ("none", 8),
    "32 xla": ("none", 32),
}
TARGETS = ("cpu", "cuda compiled", "8 cuda compiled", "xla", "4 xla", "8 xla")


def padding() -> SectionResult:
    """A row for each config and objective, as `octshard train` says it at its start."""
    rows, targets = [], []
    for name, (shapes, limit) in MIXES.items():
        for objective in CLASSES:
            cfg = load(TrainConfig, [name], [f"objective.name={objective}"])
            image_size, patch = position.shape_of(cfg.model)
            counts: dict[int, float] = {}
            for shape in shapes:
                count = product(valid_tokens(shape, image_size, patch))
                counts[count] = counts.get(count, 0.0) + 1 / len(shapes)
            plans = {way: _plan(cfg, counts, *WAYS[way]) for way in WAYS}
            one_length = flops.padding_share(cfg, max(counts), counts)
            shares = (one_length, *(plan.padding for plan in plans.values()), _evaluation(cfg, counts))
            rows.append((name, objective, max(counts), *(f"{100 * share:.1f} %" for share in shares)))
            if objective == "vjepa2":
                targets += [
                    at_most(f"padding, {name}, {way}", 100 * limit, 100 * plans[way].padding, "%")
                    for way in TARGETS
                ]
    head = ("config", "objective", "tokens", "lists of one length", *WAYS, "evaluation, in lists")
    return [Table("FLOPs on padding, by formula", head, tuple(rows))], targets


def _plan(
    cfg: TrainConfig, counts: Mapping[int, float], kind: Sequences, devices: int
) -> sequences.SequencePlan:
    """What a run of so many devices takes."""
    accumulation = cfg.run.global_batch // (cfg.run.per_device_batch * devices)
    volumes = cfg.run.global_batch // (1 if kind == "none" else devices)
    return sequences.plan_of_counts(cfg, max(counts), counts, kind, Step(volumes, accumulation))


def _evaluation(cfg: TrainConfig, counts: Mapping[int, float]) -> float:
    """Of an encoder alone in lists."""
    useful = sum(often * flops.encoder_flops(cfg.model, count) for count, often in counts.items())
    return 1 - useful / flops.encoder_flops(cfg.model, max(counts))

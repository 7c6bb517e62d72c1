"""The share of FLOPs that padding takes, by formula: volumes in lists, and packed into sequences."""

from collections.abc import Mapping

from step_variants import PRESETS
from table import SectionResult, Table, at_most

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.imaging.volume import product, valid_tokens
from octshard.models import position
from octshard.train import flops, sequence_lengths, sequences
from octshard.train.objectives.build import CLASSES

VOLUMES = 2  # of a micro-batch, as the configs have it
# What the four devices of AI-READI store at (0.05, 0.02, 0.02) mm; each equally often.
MULTI_DOMAIN = ((64, 96, 297), (64, 100, 300), (64, 96, 463), (64, 115, 300), (64, 129, 300), (64, 115, 600),
                (64, 129, 600))  # fmt: skip
MIXES = {  # at most in sequences of any length, and compiled
    "pretrain_vjepa_single_domain": (PRESETS["seed"].shapes, (0.03, 0.08)),  # compiled it stays in lists
    "pretrain_vjepa_multi_domain": (MULTI_DOMAIN, (0.10, 0.10)),
}


def padding() -> SectionResult:
    """A row for each config and objective, as `octshard train` says it at its start."""
    rows, targets = [], []
    for name, (shapes, limits) in MIXES.items():
        for objective in CLASSES:
            cfg = load(TrainConfig, [name], [f"objective.name={objective}"])
            image_size, patch = position.shape_of(cfg.model)
            counts: dict[int, float] = {}
            for shape in shapes:
                count = product(valid_tokens(shape, image_size, patch))
                counts[count] = counts.get(count, 0.0) + 1 / len(shapes)
            shares = _shares(cfg, counts)
            rows.append((name, objective, max(counts), *(f"{100 * share:.1f} %" for share in shares)))
            if objective == "vjepa2":
                packs = shares[0] - shares[2] > sequences.LEAST_SAVING
                spent = {"any length": shares[1], "compiled": shares[2] if packs else shares[0]}
                for (way, share), limit in zip(spent.items(), limits, strict=True):
                    targets.append(at_most(f"padding, {name}, {way}", 100 * limit, 100 * share, "%"))
    head = ("config", "objective", "tokens", "in lists", "packed, any length", "packed, few lengths",
            "evaluation, in lists")  # fmt: skip
    return [Table(f"FLOPs on padding, by formula, {VOLUMES} volumes a device", head, tuple(rows))], targets


def _shares(cfg: TrainConfig, counts: Mapping[int, float]) -> tuple[float, ...]:
    """Of a step in lists, packed on the CPU, and compiled for CUDA; and of an encoder alone in lists."""
    most = max(counts)
    few = sequence_lengths.few_sequences(cfg, most, counts, VOLUMES).readings
    exact = sequence_lengths.exact_readings(cfg, most, counts)
    steps = (flops.padding_share(cfg, most, counts, readings) for readings in (None, exact, few))
    useful = sum(often * flops.encoder_flops(cfg.model, count) for count, often in counts.items())
    return *steps, 1 - useful / flops.encoder_flops(cfg.model, most)

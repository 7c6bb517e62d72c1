"""Settings of `octshard eval finetune`."""

from dataclasses import dataclass

from octshard.config.eval import DeviceConfig, EncoderConfig, IntervalConfig, ShardsConfig
from octshard.config.fields import MANY, SEEDS, field
from octshard.config.label import LabelConfig


@dataclass
class FinetuneConfig(IntervalConfig, DeviceConfig, LabelConfig, ShardsConfig, EncoderConfig):
    """`octshard eval finetune`."""

    out: str = field(
        "runs/finetune", "folder of finetune.json, finetune.html, figures and weights", place=True
    )
    epochs: int = field(30, "passes over the labelled train scans, at most", least=1, limit=MANY)
    patience: int = field(8, "epochs without a better score on val that end it", least=1, limit=MANY)
    batch: int = field(8, "volumes per step", unit="samples", least=1, limit=MANY)
    lr: float = field(1e-3, "of the head, after warmup_epochs; it ends at 0", above=0, limit=1e3)
    layer_decay: float = field(0.65, "lr of a block by that of the next one; 1: all alike", above=0, limit=1)
    weight_decay: float = field(0.05, "of AdamW, on weights of more than one axis", least=0, limit=1e6)
    warmup_epochs: float = field(2.0, "epochs in which lr rises", least=0, limit=MANY)
    unfreeze_epoch: int = field(1, "epochs in which the head alone is trained", least=0, limit=MANY)
    clip_grad: float = field(1.0, "largest norm of the gradient; 0: any", least=0, limit=1e9)
    class_weights: str = field(
        "balanced",
        "balanced: each class weighs the same, and each participant within it; none: each scan",
        choices=("balanced", "none"),
    )
    views: str = field(
        "light", "light: flips, brightness and contrast; plain: as stored", choices=("light", "plain")
    )
    random_draws: int = field(
        1, "random encoders trained alike, as the control; 0: none", least=0, limit=1000
    )
    seed: int = field(0, "of the head, the order, the views, resamples and random encoders", limit=SEEDS)

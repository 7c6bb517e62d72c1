"""Every kind of config, by the name that `octshard config` gives it."""

from octshard.config.dense import SegmentConfig, TranslateConfig
from octshard.config.eval import CompareConfig, EmbedConfig, ProbeConfig, ReportConfig, RobustnessConfig
from octshard.config.finetune import FinetuneConfig
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig

CLASSES: dict[str, type] = {
    "train": TrainConfig,
    "prep": PrepConfig,
    "probe": ProbeConfig,
    "report": ReportConfig,
    "robustness": RobustnessConfig,
    "compare": CompareConfig,
    "segment": SegmentConfig,
    "translate": TranslateConfig,
    "embed": EmbedConfig,
    "finetune": FinetuneConfig,
}

"""Settings of `octshard eval`."""

from dataclasses import dataclass

from octshard.config.fields import several, speed


@dataclass
class ProbeConfig:
    """`octshard eval linear-probe`."""

    checkpoint: str = ""  # a checkpoint file, or a run folder (its last checkpoint)
    shards: list[str] = several()  # dataset folders with train, val and test samples
    participants: str = ""  # participants.tsv: where labels come from
    label: str = "study_group"  # a column of it
    out: str = "runs/probe"  # probe.json, probe.html, cached features
    regularisation: list[float] = several(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # C; chosen on val
    bootstrap: int = 1000  # resamples of participants behind each interval
    shuffles: int = 20  # random deals of the labels behind the shuffled-label control
    seed: int = 0
    batch: int = speed(8)
    device: str = speed("auto")

"""The log of a run: what is written goes to metrics.jsonl, RUN/pictures, W&B and TensorBoard.

All hold the same names and numbers, against samples_seen. After a resume nothing is there twice; late lines,
of an earlier step, are lines like the others. Only the first process has a log that writes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from octshard.config.train import TrainConfig
from octshard.errors import exit_code
from octshard.models.checkpoint_info import CheckpointInfo
from octshard.storage import store
from octshard.train import run_identity
from octshard.train.run_identity import RunIdentity
from octshard.train.sinks import metrics_file, tensorboard_file, wandb_run
from octshard.train.sinks.background import BackgroundSink, Patience
from octshard.train.sinks.checkpoint_pictures import CheckpointPictures
from octshard.train.sinks.metrics_file import MetricsFile
from octshard.train.sinks.picture_folder import PictureFolder
from octshard.train.sinks.sink import Picture, Sink, Values
from octshard.train.sinks.tensorboard_file import TensorboardFile

METRICS = "metrics.jsonl"
WRITING = Patience(flush_s=5.0, end_s=60.0, stop_s=60.0)
SENDING = Patience(flush_s=5.0, end_s=600.0, stop_s=60.0)  # where checkpoints are sent
DRAWING = Patience(flush_s=0.0, end_s=120.0, stop_s=0.0)


class MetricsLog:
    """Hands everything to its sinks, in their order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self.exit_code = 0  # of the command, for W&B

    def write(self, values: Values) -> None:
        """One line; `values` holds `step` and `samples_seen`, both those of what is measured."""
        for sink in self._sinks:
            sink.write(values)

    def write_picture(self, picture: Picture) -> None:
        """One picture."""
        for sink in self._sinks:
            sink.write_picture(picture)

    def write_checkpoint(self, info: CheckpointInfo) -> None:
        """The files of a checkpoint that is finished."""
        for sink in self._sinks:
            sink.write_checkpoint(info)

    def flush(self) -> None:
        """What was written stays, whatever becomes of the process; called at every checkpoint."""
        for sink in self._sinks:
            sink.flush()


def null_log() -> MetricsLog:
    """A log that writes nothing: for every process but the first."""
    return MetricsLog([])


def check(cfg: TrainConfig) -> None:
    """UsageError if what cfg asks for is not installed, or names and tags could not be logged."""
    run_identity.check(cfg)
    wandb_run.check(cfg)
    tensorboard_file.check(cfg)


@contextmanager
def open_log(cfg: TrainConfig, identity: RunIdentity, step: int, samples_seen: int) -> Iterator[MetricsLog]:
    """The log of run.out, cut back to `step` and `samples_seen`; the W&B run of the same id is continued."""
    check(cfg)
    url = store.join(cfg.run.out, METRICS)
    file = MetricsFile(url, metrics_file.truncate_after(url, step))  # first: it may fail, and ends the run
    others = _others(cfg, identity, samples_seen)
    log = MetricsLog([file, *others])
    try:
        try:
            yield log
        finally:
            file.close(log.exit_code)
    except BaseException as error:
        log.exit_code = exit_code(error)
        raise
    finally:
        for sink in others:
            sink.close(log.exit_code)


def read(out: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics file; DamagedJson names the first that is none."""
    return metrics_file.read(store.join(out, METRICS))


def _others(cfg: TrainConfig, identity: RunIdentity, samples_seen: int) -> list[Sink]:
    """The sinks whose failure does no harm to the run. First the one that feeds the others."""
    sinks: list[Sink] = []
    if cfg.run.wandb != "off" and (run := wandb_run.open_run(cfg, identity)) is not None:
        patience = SENDING if cfg.run.wandb_artifacts else WRITING
        sinks.append(BackgroundSink(run, f"run.wandb={cfg.run.wandb}", patience))
    if cfg.run.tensorboard:
        writer = TensorboardFile(cfg.run.out, identity, samples_seen)
        sinks.append(BackgroundSink(writer, "run.tensorboard", WRITING))
    if cfg.run.pictures:
        folder = PictureFolder(cfg.run.out, cfg.run.pictures, samples_seen)
        sinks.append(BackgroundSink(folder, "pictures", WRITING))
        drawing = CheckpointPictures(cfg, MetricsLog(sinks).write_picture)
        return [BackgroundSink(drawing, f"run.pictures={cfg.run.pictures}", DRAWING), *sinks]
    return sinks

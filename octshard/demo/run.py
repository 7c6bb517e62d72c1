"""`octshard demo`: phantom -> unzip -> shard -> train -> probe -> report.html, by the commands' own calls.

Every stage resumes, so a demo that was stopped goes on when it is run again.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from octshard.config.eval import ProbeConfig
from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.demo import report
from octshard.errors import StoppedError, UsageError
from octshard.eval.linear_probe import linear_probe
from octshard.phantom.release import ReleaseSpec, write_release
from octshard.pool import worker_count
from octshard.prep.build import run as prep_run
from octshard.prep.release import unzip
from octshard.progress import OnProgress, progress
from octshard.storage import json_object, store
from octshard.train import metrics_log
from octshard.train.loop import train
from octshard.train.preview import PreviewRequest, previews

SCALE = 0.2  # voxels per axis, as a share of what the real devices write
CONFIG = "demo"  # the shipped config of prep and of train
VIEWS = 2  # volumes on the page as the model sees them
PROBE_EVERY = 2240  # samples: what two cores judge as fast as they train; checkpoints are judged too


@dataclass
class Demo:
    """Where the demo's folders are, and how long each stage took (seconds)."""

    out: str
    seconds: dict[str, float] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """The folder of one stage."""
        return store.join(self.out, name)

    @contextmanager
    def stage(self, title: str) -> Iterator[OnProgress]:
        """Shows the progress of a stage and takes its time."""
        started = time.monotonic()
        with progress(title) as on_progress:
            yield on_progress
        self.seconds[title] = time.monotonic() - started


class LogLines(logging.Handler):
    """Keeps what is logged while training, for the page."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def run(out: str, spec: ReleaseSpec, prep_config: str = CONFIG, train_config: str = CONFIG) -> str:
    """Makes everything below `out`; returns the report's path. Configs: files, or shipped ones by name."""
    demo = Demo(out)
    _check_settings(demo, spec)
    store.remove_partials(out)
    with demo.stage("1/5 made-up eyes") as on_progress:
        if not store.exists(store.join(demo.at("release"), "participants.tsv")):
            write_release(demo.at("release"), spec, worker_count(0), on_progress)
    with demo.stage("2/5 unzip") as on_progress:
        limits = unzip.Limits(worker_count(0), PrepConfig().unzip_memory)
        unzipped = unzip.unzip(demo.at("release"), demo.at("dicom"), limits, on_progress)
    with demo.stage("3/5 shard") as on_progress:
        words = [f"src={demo.at('dicom')}", f"dst={demo.at('shards')}"]
        summaries = prep_run.shard(load(PrepConfig, [prep_config], words), ["all"], on_progress)
    folders = [summary.folder for summary in summaries]
    people = store.join(demo.at("release"), "participants.tsv")
    with demo.stage("4/5 train") as on_progress, _train_log() as log:
        words = [
            f"data.shards={json.dumps(folders)}", f"run.out={demo.at('run')}",
            f"run.probe_every={PROBE_EVERY}", f"run.probe_participants={people}", "run.probe_samples=256",
        ]  # fmt: skip
        training = load(TrainConfig, [train_config], words)
        outcome = train(training, on_progress)
        if outcome.stopped:  # half-trained weights are not what the page is about
            text = f"{out}: stopped at step {outcome.step} of training; run it again to go on"
            raise StoppedError(text, outcome.stop_signal)
    with demo.stage("5/5 linear probe") as on_progress:
        words = [
            f"checkpoint={demo.at('run')}", f"shards={json.dumps(folders)}", f"out={demo.at('probe')}",
            f"participants={people}", "batch=16",
        ]  # fmt: skip
        probe = linear_probe(load(ProbeConfig, (), words), on_progress)
    metrics = metrics_log.read(demo.at("run"))
    datasets = [tables.open_dataset(folder) for folder in folders]
    views = [seen.view for seen in previews(training, PreviewRequest((), VIEWS, demo.at("run")))]
    results = report.DemoResults(
        out, datasets, demo.at("dicom"), unzipped, metrics, probe, demo.seconds, tuple(log.lines), views
    )
    page = demo.at("report.html")
    store.write(page, report.render(results).encode())
    return page


@contextmanager
def _train_log() -> Iterator[LogLines]:
    log, handler = logging.getLogger("octshard"), LogLines()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _check_settings(demo: Demo, spec: ReleaseSpec) -> None:
    """The demo in a folder keeps the settings that it began with."""
    url = demo.at("demo.json")
    settings = {"participants": spec.participants, "seed": spec.seed, "scale": spec.scale}
    if store.exists(url):
        try:
            before = json_object.read(url)
        except json_object.DamagedJson as error:
            raise UsageError(f"{error}; choose another --out or remove {demo.out}") from error
        if before != settings:
            raise UsageError(
                f"{demo.out}: holds a demo of {before}, want {settings}; choose another --out or remove it"
            )
    elif names := store.list_names(demo.out):
        raise UsageError(f"{demo.out}: holds {names[0]} and no demo, want an empty or a new folder")
    store.write(url, json.dumps(settings).encode())

"""`octshard demo`: phantom -> unzip -> shard -> train -> probe -> report.html, by the commands' own calls.

Every station resumes, so a demo that was stopped goes on when it is run again.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from octshard.config.eval import ProbeConfig
from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.demo import report
from octshard.errors import OctshardError, UsageError
from octshard.eval.linear_probe import linear_probe
from octshard.phantom.release import ReleaseSpec, write_release
from octshard.pool import worker_count
from octshard.prep.build import run as prep_run
from octshard.prep.release import unzip
from octshard.progress import Advance, progress, shown
from octshard.storage import store
from octshard.train import metrics_log
from octshard.train.loop import train

SCALE = 0.2  # voxels per axis, as a share of what the real devices write


@dataclass
class Demo:
    """Where the demo's folders are, and how long each station took (seconds)."""

    out: str
    seconds: dict[str, float] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """The folder of one station."""
        return store.join(self.out, name)

    @contextmanager
    def stage(self, title: str) -> Iterator[Advance]:
        """Shows the progress of a station and takes its time."""
        started = time.monotonic()
        with progress(title) as advance:
            yield advance
        self.seconds[title] = time.monotonic() - started


def run(out: str, wanted: ReleaseSpec, configs: Callable[[str], str]) -> str:
    """Walks the road below `out`; returns the report's path. `configs(name)` finds a shipped YAML file."""
    road = Demo(out)
    _settle(road, wanted)
    with road.stage("1/5 made-up eyes") as advance:
        if not store.exists(store.join(road.at("release"), "participants.tsv")):
            write_release(road.at("release"), wanted, worker_count(0), lambda i, n: advance(i, n, ""))
    with road.stage("2/5 unzip") as advance:
        effort = unzip.Limits(worker_count(0), PrepConfig().unzip_memory)
        told: Callable[[unzip.Progress], None] = lambda p: advance(p.done, p.total, "")  # noqa: E731
        unzipped = unzip.unzip(road.at("release"), road.at("dicom"), effort, told)
    with road.stage("3/5 shard") as advance:
        prep = load(
            PrepConfig, [configs("prep/demo.yaml")], [f"src={road.at('dicom')}", f"dst={road.at('shards')}"]
        )
        made = prep_run.shard(
            prep,
            ["all"],
            lambda p: advance(p.stored + p.refused, p.total, f"{p.device}, {p.refused} refused"),
            lambda line: None,
        )
    folders = [summary.folder for summary in made]
    with road.stage("4/5 train") as advance:
        words = [f"data.shards={json.dumps(folders)}", f"run.out={road.at('run')}"]
        training = load(TrainConfig, [configs("demo.yaml")], words)
        said: list[str] = []
        outcome = train(training, said.append, lambda i, n, m: advance(i, n, shown(m)))
        if outcome.stopped:  # SIGTERM: half-trained weights are not what the page is about
            raise OctshardError(f"{out}: stopped at step {outcome.step} of training; run it again to go on")
    with road.stage("5/5 linear probe") as advance:
        words = [
            f"checkpoint={road.at('run')}", f"shards={json.dumps(folders)}", f"out={road.at('probe')}",
            f"participants={store.join(road.at('release'), 'participants.tsv')}", "batch=16",
        ]  # fmt: skip
        probed = linear_probe(load(ProbeConfig, (), words), lambda stage, i, n: advance(i, n, stage))
    metrics = metrics_log.read(road.at("run"))
    datasets = [tables.open_dataset(folder) for folder in folders]
    seen = report.DemoResults(
        datasets, road.at("dicom"), unzipped, metrics, probed, road.seconds, tuple(said)
    )
    target = road.at("report.html")
    store.write(target, report.render(seen).encode())
    return target


def _settle(road: Demo, wanted: ReleaseSpec) -> None:
    """The demo in a folder keeps the settings it was begun with."""
    url = road.at("demo.json")
    now = {"participants": wanted.participants, "seed": wanted.seed, "scale": wanted.scale}
    if store.exists(url):
        begun = json.loads(store.read(url))
        if begun != now:
            raise UsageError(
                f"{road.out}: holds a demo of {begun}, want {now}; choose another --out or remove it"
            )
    elif names := store.list_names(road.out):
        raise UsageError(f"{road.out}: holds {names[0]} and no demo, want an empty or a new folder")
    store.write(url, json.dumps(now).encode())

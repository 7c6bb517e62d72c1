"""The made-up eyes of recipes.py: written, unzipped and sharded once, and what is known of each person."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from octshard.config.label import LabelConfig
from octshard.config.load import load
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.phantom.release import ReleaseSpec, write_release
from octshard.pool import worker_count
from octshard.prep.build import run as prep_run
from octshard.prep.release import unzip
from octshard.probes import labels
from octshard.stream.index import SampleIndex, SampleRef, build_index, open_datasets

DEVICE = "topcon_triton"
SCORED, SCORED_ROWS = "macula_6x6", "triton_macula_6x6"  # of the truth, of the table: one scan a person
CONFIG = "demo"  # of prep and of train
SPLITS = ("test", "val", "train", "train", "test", "train", "train", "train")  # in turn, of each study_group


@dataclass(frozen=True)
class Eyes:
    """How many people, and voxels per axis as a share of the real shapes."""

    people: int
    scale: float


@dataclass(frozen=True)
class EyeFiles:
    """Where the eyes lie; name: of their folder, which says what they are."""

    name: str
    shards: str
    participants: str
    truth: str


@dataclass(frozen=True, eq=False)
class ScoredSplit:
    """One scan a person. class_N: of study_group; thickness_N: of the nerve fibres, in um."""

    index: SampleIndex
    participants: tuple[str, ...]
    class_N: np.ndarray
    thickness_N: np.ndarray


def make_eyes(work: Path, eyes: Eyes) -> EyeFiles:
    """Those below `work`; what is there already stays."""
    root = work / f"eyes-{eyes.people}-{eyes.scale:g}"
    release, dicom, shards = (root / name for name in ("release", "dicom", "shards"))
    files = EyeFiles(
        root.name, str(shards / DEVICE), str(release / "participants.tsv"), str(release / "truth.parquet")
    )
    if (shards / DEVICE / "dataset.json").exists():
        return files
    click.echo(f"{root}: eyes of {eyes.people} people", err=True)
    if not Path(files.participants).exists():
        spec = ReleaseSpec(eyes.people, 0, eyes.scale, defects=False, devices=(DEVICE,))
        write_release(str(release), spec, worker_count(0))
    split_anew(Path(files.participants))
    unzip.unzip(str(release), str(dicom), unzip.Limits(worker_count(0), PrepConfig().unzip_memory))
    prep_run.shard(load(PrepConfig, [CONFIG], [f"src={dicom}", f"dst={shards}"]), [DEVICE])
    return files


def split_anew(participants: Path) -> None:
    """A quarter of each study_group to test, an eighth to val: the phantom's own test is smaller."""
    head, *lines = participants.read_text(encoding="utf-8").splitlines()
    columns = head.lstrip("\ufeff").split("\t")
    group, split = columns.index("study_group"), columns.index("recommended_split")
    rows, seen = [line.split("\t") for line in lines], dict[str, int]()
    for row in sorted(rows):
        rank = seen.setdefault(row[group], 0)
        row[split] = SPLITS[rank % len(SPLITS)]
        seen[row[group]] = rank + 1
    text = "\n".join([head, *("\t".join(row) for row in rows)])
    participants.write_text(text + "\n", encoding="utf-8")


def scored_splits(files: EyeFiles, cfg: TrainConfig) -> dict[str, ScoredSplit]:
    """The scans that features are judged by, in the order of the shards."""
    groups = labels.read(LabelConfig(participants=files.participants))
    columns = tables.read_table(files.truth)
    truth = zip(columns["participant"], columns["protocol"], columns["nerve_fibres_um"], strict=True)
    thickness = {person: um for person, protocol, um in truth if protocol == SCORED}
    datasets, splits = open_datasets(cfg), {}
    for split in labels.SPLITS:
        index = build_index(datasets, cfg, split, 0)
        samples = tuple(sample for sample in index.samples if sample.row.protocol == SCORED_ROWS)
        people = _people(samples)
        splits[split] = ScoredSplit(
            SampleIndex(index.split, samples, (), 0, index.folders),
            people,
            labels.values(groups, people),
            np.array([thickness[person] for person in people], np.float64),
        )
    return splits


def _people(samples: Sequence[SampleRef]) -> tuple[str, ...]:
    people = tuple(sample.row.participant for sample in samples)
    assert len(set(people)) == len(people), "want one scan a person"
    return people

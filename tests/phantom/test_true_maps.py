"""Maps of the truth: what lies at the centre of each voxel; on stored grids they lie where tissue does."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.config.dense import MapConfig
from octshard.dataset import sample, tables
from octshard.eval.dense import stored_map
from octshard.phantom import cohort, true_maps, truth
from octshard.phantom.eye import BM, CSI, EZ, GCL, ILM, INL, ONL, OPL
from octshard.phantom.release import ReleaseSpec, jobs, make

SPEC = ReleaseSpec(4, 0, 0.06, defects=False, devices=("topcon_triton",))


def rows() -> list[dict]:
    people = [participant.person for participant in cohort.sample_cohort(4, 0)]
    chosen = [job for job in jobs(people, SPEC) if job.protocol.name == "macula_6x6"]
    return [make(job)[1] for job in chosen]


def test_labels_are_what_lies_at_the_centre_of_a_voxel():
    rng, seen = np.random.default_rng(0), set()
    for row in rows():
        labels, shape = true_maps.labels_of(row), row["shape"]
        assert labels.shape == tuple(shape)
        edges_KDW = truth.boundaries_of(row["boundaries"], shape)[[ILM, GCL, INL, OPL, ONL, EZ, BM, CSI]]
        drusen, fluid = (truth.mask_of(row[name], shape) for name in ("drusen", "fluid"))
        for d, h, w in zip(*(rng.integers(0, n, 500) for n in shape), strict=True):
            expected = int(np.searchsorted(edges_KDW[:, d, w], h + 0.5, side="right"))
            expected = 10 if fluid[d, h, w] else 9 if drusen[d, h, w] else expected
            assert labels[d, h, w] == expected
        seen |= set(np.unique(labels).tolist())
    assert seen == set(range(len(true_maps.CLASSES)))


def test_vessels_go_round_and_lie_under_brighter_inner_retina():
    row = rows()[0]
    depth, _, width = row["shape"]
    flow_DW = truth.vessels_of(row["vessels"], row["shape"])
    assert flow_DW.shape == (depth, width)
    assert 0.01 < (flow_DW > 0).mean() < 0.5


@pytest.mark.slow
def test_on_the_stored_grid_labels_lie_where_the_tissue_does(tmp_path: Path):
    """Spectralis frames come bottom up and are turned round: turned otherwise, labels fit worse."""
    release, dicom, shards = (str(tmp_path / name) for name in ("release", "dicom", "shards"))
    words = ["prep", "shard", dicom, shards, "--device", "heidelberg_spectralis", "--config", "demo"]
    for command in (
        ["phantom", release, "--participants", "4", "--scale", "0.1", "--no-defects", "--maps"],
        ["prep", "unzip", release, dicom],
        words,
    ):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
    folder = f"{shards}/heidelberg_spectralis"
    cfg, gains = MapConfig(), []
    for row in tables.open_dataset(folder).rows:
        if row.status != "ok" or "slow_axis_flipped" not in row.flags:
            continue
        voxels = sample.read(folder, row).voxels_DHW.astype(float)
        url = f"{release}/{true_maps.LABELS}/{row.sop_instance_uid}.npy"
        turned = dataclasses.replace(row, flags=())
        fits = [explained(voxels, stored_map.labels_of(url, each, cfg)) for each in (row, turned)]
        gains.append(fits[0] - fits[1])
        assert fits[0] > 0.5
    assert len(gains) >= 4
    assert min(gains) > 0


def explained(voxels: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance of grey levels that labels explain."""
    means = np.array([voxels[labels == c].mean() if (labels == c).any() else 0 for c in range(11)])
    return 1 - ((voxels - means[labels]) ** 2).mean() / voxels.var()

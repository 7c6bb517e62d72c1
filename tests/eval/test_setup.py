"""What stops a probe before anything is encoded."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from octshard.config.eval import ProbeConfig
from octshard.errors import OctshardError, UsageError
from octshard.eval import setup
from octshard.probes.labels import LabelledScans, Subset

VOXELS = 8 * 32 * 32
FILES = ("probe.json", "probe.html")
CFG = ProbeConfig(checkpoint="run", shards=["shards"])


def backend(devices: int) -> Any:
    return SimpleNamespace(device_count=devices)


def scans(people: int) -> LabelledScans:
    names = tuple(map(str, range(people)))
    subset = Subset(np.arange(people), np.arange(people) % 2, names)
    return LabelledScans(("a", "b"), {"test": subset}, (), {})


def test_a_batch_is_never_larger_than_all_scans() -> None:
    sizes = [(8, 100, 1), (8, 5, 1), (8, 5, 4), (10**9, 5, 4), (8, 3, 8)]
    batches = [setup.batch_size(batch, VOXELS, scans, backend(devices)) for batch, scans, devices in sizes]
    assert batches == [8, 5, 8, 8, 8]
    with pytest.raises(UsageError, match="batch 8: want a multiple of the 3 devices"):
        setup.batch_size(8, VOXELS, 10, backend(3))


def test_what_cannot_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.host_memory, "free_memory", lambda: 8 * 8 * 32 * 32 * 5)
    assert setup.batch_size(8, VOXELS, 100, backend(1)) == 8
    with pytest.raises(UsageError, match=r"batch=9: takes at least 0.0 GB.*want a smaller one"):
        setup.batch_size(9, VOXELS, 100, backend(1))
    setup.check_resamples(CFG, scans(10))
    with pytest.raises(UsageError, match=r"bootstrap=1000000: takes at least 0.0 GB"):
        setup.check_resamples(dataclasses.replace(CFG, bootstrap=1_000_000), scans(10))
    monkeypatch.setattr(setup.host_memory, "free_memory", lambda: None)
    setup.check_resamples(dataclasses.replace(CFG, bootstrap=1_000_000), scans(10))


def test_a_folder_that_takes_no_files_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "new" / "features").mkdir(parents=True)
    for folder in ("new", "new/features"):  # a probe was killed there
        (tmp_path / folder / ".random.npz.12.ab.partial").touch()
    setup.check_out(str(tmp_path / "new"), FILES)
    assert os.listdir(tmp_path / "new") == ["features"]
    assert not list((tmp_path / "new" / "features").iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(OctshardError, match="file/features") as error:
        setup.check_out(str(tmp_path / "file"), FILES)
    assert "\n" not in str(error.value)
    (tmp_path / "new" / "probe.html").mkdir()
    with pytest.raises(OctshardError, match=r"probe\.html: Is a directory"):
        setup.check_out(str(tmp_path / "new"), FILES)


@pytest.mark.parametrize("key", ["checkpoint", "shards", "out"])
def test_what_is_needed_is_named(key: str) -> None:
    empty: Any = [] if key == "shards" else ""
    with pytest.raises(UsageError, match=f"^{key}: not set, want"):
        setup.check(dataclasses.replace(CFG, **{key: empty}), "probe.json goes")

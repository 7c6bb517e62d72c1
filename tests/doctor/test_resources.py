"""Memory, cores, disk and limits, against hand-written /proc and cgroup files."""

import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from octshard.doctor import resources
from octshard.doctor.checks import Check

GB = 10**9


def write(folder: Path, **files: str) -> None:
    """Files of a cgroup; `_` in a name stands for its dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n")


def test_memory_is_held_against_prep() -> None:
    assert resources.check_memory(8 * GB, 4) == Check(
        "memory", "pass", "8.0 GB free, prep with 4 workers takes 4.4 GB"
    )
    assert resources.check_memory(4 * GB, 4) == Check(
        "memory", "warn", "4.0 GB free, prep with 4 workers takes 4.4 GB", "octshard prep shard --workers 3"
    )
    assert resources.check_memory(GB, 4).advice.endswith("--workers 1")


@pytest.mark.parametrize(("text", "limit"), [("150000 100000", 1.5), ("max 100000", None)])
def test_cores_of_a_v2_container(text: str, limit: float | None, tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, cpu_max=text)
    (tmp_path / "self").write_text("0::/\n")
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "self")
    assert resources.core_limit() == limit


def test_cores_of_a_v1_container(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "cpu", cpu_cfs_quota_us="50000", cpu_cfs_period_us="100000")
    (tmp_path / "self").write_text("3:cpu,cpuacct:/\n")
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "self")
    assert resources.core_limit() == 0.5


def test_fewer_cores_than_are_seen_are_a_warning() -> None:
    assert resources.check_cores(None, 8).status == "pass"
    assert resources.check_cores(8.0, 8).status == "pass"
    check = resources.check_cores(2.5, 8)
    assert (check.status, check.found) == ("warn", "2.5 cores of the 8 that processes see")
    assert "--workers 2" in check.advice


def test_folders_are_written_to_and_left_as_they_were(tmp_path: Path) -> None:
    assert resources.check_folder("disk", str(tmp_path / "not" / "yet"), 1).status == "pass"
    assert list(tmp_path.iterdir()) == []
    check = resources.check_folder("disk", str(tmp_path), 10**18)
    assert check.status == "warn"
    assert check.advice == "free some space, 1,000,000,000.0 GB are wanted"


def test_a_folder_that_cannot_be_written_fails() -> None:
    check = resources.check_folder("disk", "/proc", 1)  # not even for root
    assert check.status == "fail"
    assert check.found.startswith("/proc: cannot be written (")
    assert check.advice


def test_a_cache_folder_is_held_against_what_the_cache_takes(tmp_path: Path, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=7 * GB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert resources.check_cache(str(tmp_path)) == Check(
        "cache folder", "warn", f"{tmp_path}: 7.0 GB free", "set data.cache_bytes below 7000000000"
    )
    checks = {check.name: check for check in resources.checks("s3://bucket/cache")}
    assert checks["cache folder"].status == "fail"
    assert "want a local folder" in checks["cache folder"].found


@pytest.mark.parametrize(
    ("soft", "hard", "status", "advice"),
    [
        (1024, 4096, "pass", ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "pass", ""),
        (256, resource.RLIM_INFINITY, "warn", "ulimit -n 1024"),
        (256, 512, "warn", "ulimit -n 512"),
    ],
)
def test_few_open_files_are_a_warning(soft: int, hard: int, status: str, advice: str) -> None:
    check = resources.check_open_files(soft, hard)
    assert (check.status, check.advice) == (status, advice)


def test_this_machine_has_all_checks() -> None:
    names = [check.name for check in resources.checks("")]
    assert names == ["memory", "CPU limit", "current folder", "TMPDIR", "open files"]

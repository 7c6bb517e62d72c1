"""Free memory, against hand-written /proc and cgroup files."""

from pathlib import Path

import pytest

from octshard.devices import host_memory


def write(folder: Path, **files: str) -> None:
    """Files of a cgroup; `_` in a name stands for its dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n")


def test_meminfo_is_in_kib() -> None:
    assert host_memory.meminfo("MemTotal:  10 kB\nMemAvailable:       3 kB\nHugePages_Total:  7\n") == {
        "MemTotal": 10240,
        "MemAvailable": 3072,
    }


def test_cgroup_v2_limits_count_for_the_group_and_those_above(tmp_path: Path) -> None:
    write(tmp_path / "user" / "job", memory_max="max", memory_current="100", memory_stat="inactive_file 1")
    write(
        tmp_path / "user", memory_max="5000", memory_current="1200", memory_stat="anon 9\ninactive_file 200"
    )
    assert host_memory.cgroup_memory("0::/user/job\n", tmp_path) == [(5000, 1000)]


def test_a_container_s_own_group_is_that_of_the_mount(tmp_path: Path) -> None:
    write(tmp_path, memory_max="900", memory_current="100")
    assert host_memory.cgroup_memory("0::/somewhere/outside\n", tmp_path) == [(900, 100)]


def test_cgroup_v1_limits_count_and_its_huge_number_is_none(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "box"
    write(
        group, memory_limit_in_bytes="700", memory_usage_in_bytes="60", memory_stat="total_inactive_file 10"
    )
    write(tmp_path / "memory", memory_limit_in_bytes="9223372036854771712", memory_usage_in_bytes="1")
    memberships = "5:cpu,cpuacct:/box\n4:memory:/box\n0::/box\n"
    assert host_memory.cgroup_memory(memberships, tmp_path) == [(700, 50)]


def test_the_tightest_limit_counts_and_no_proc_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, memory_max="900", memory_current="100")
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    (tmp_path / "self").write_text("0::/\n")
    for name, file in (("MEMINFO", "meminfo"), ("CGROUPS", "self"), ("CGROUP", ".")):
        monkeypatch.setattr(host_memory, name, tmp_path / file)
    assert host_memory.free_memory() == 800
    (tmp_path / "meminfo").unlink()
    assert host_memory.free_memory() is None

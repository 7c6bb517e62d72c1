"""Memory of this machine that may still be taken, containers' limits included. Loads no torch."""

from pathlib import Path

MEMINFO, CGROUPS, CGROUP = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
UNLIMITED = 2**60  # cgroup v1 writes a number of this size for "no limit"


def free_memory() -> int | None:
    """Bytes that may still be taken: what the machine has, or what the container's limit leaves.

    None: this system does not say.
    """
    if not MEMINFO.exists():
        return None
    machine = meminfo(MEMINFO.read_text())["MemAvailable"]
    return min([machine, *(limit - used for limit, used in cgroup_memory(CGROUPS.read_text(), CGROUP))])


def meminfo(text: str) -> dict[str, int]:
    """Bytes of each line of /proc/meminfo that is in kB."""
    words = (line.split() for line in text.splitlines())
    return {word[0].rstrip(":"): int(word[1]) * 1024 for word in words if word[2:] == ["kB"]}


def cgroup_memory(memberships: str, root: Path) -> list[tuple[int, int]]:
    """(limit, bytes in use but for file pages that can go) of each group that has a limit; v2 and v1."""
    groups = []
    for folder in cgroup_folders(memberships, root, "memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None and limit < UNLIMITED:
            groups.append((limit, used - _inactive_file(folder / "memory.stat")))
    return groups


def cgroup_folders(memberships: str, root: Path, controller: str) -> list[Path]:
    """The folders of this process's group and of those above it. memberships: /proc/self/cgroup.

    A line is `0::/path` in v2 and `4:memory:/path` in v1. Inside a container the path may not exist; the
    folder of the mount is then its own.
    """
    folders = []
    for line in memberships.splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        mount = root if number == "0" else root / controller
        group = mount / path.lstrip("/")
        folders += [at for at in (group, *group.parents) if at.is_dir() and at.is_relative_to(mount)]
    return list(dict.fromkeys(folders))


def _number(*files: Path) -> int | None:
    """The number in the first file that exists; None if none does, or if it says `max`."""
    text = next((file.read_text().strip() for file in files if file.exists()), "max")
    return None if text == "max" else int(text)


def _inactive_file(file: Path) -> int:
    lines = file.read_text().splitlines() if file.exists() else []
    values = dict(line.split()[:2] for line in lines)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))

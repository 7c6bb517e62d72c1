"""Processes of one run on the CPU, as torchrun would start them."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environments(count: int) -> list[dict[str, str]]:
    """What torchrun sets for each of `count` processes on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    alike = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
    }
    return [{**alike, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def start_together(
    scripts: Sequence[str], more: Sequence[Mapping[str, str]] = ()
) -> list["subprocess.Popen[str]"]:
    """Each script in a process of its own. more: further variables, of each."""
    processes = []
    for number, (script, environment) in enumerate(zip(scripts, environments(len(scripts)), strict=True)):
        variables = {**os.environ, **environment, **(more[number] if more else {})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", script]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=variables, text=True, **pipes))
    return processes

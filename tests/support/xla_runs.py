"""Scripts on torch_xla's CPU device, which every process opens once, with its number of virtual devices."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

QUICK_COMPILES = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # the same graphs, in half the time


def results_of(script_for: Callable[[int], str], devices: Sequence[int] = (1, 4)) -> dict[int, Any]:
    """The last line that the script of each number of devices prints, as JSON; all at the same time."""
    processes = {}
    for count in devices:
        flags = {"PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": str(count), **QUICK_COMPILES}
        processes[count] = subprocess.Popen(
            [sys.executable, "-c", script_for(count)], env=os.environ | flags, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    results = {}
    for count, process in processes.items():
        stdout, stderr = process.communicate(timeout=550)
        assert process.returncode == 0, stderr[-3000:]
        results[count] = json.loads(stdout.splitlines()[-1])
    return results

"""`python -m octshard` is the command."""

import subprocess
import sys

import octshard


def test_python_m_runs_the_command_with_its_exit_codes() -> None:
    command = [sys.executable, "-m", "octshard"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert (version.returncode, version.stdout) == (0, f"octshard, version {octshard.__version__}\n")
    assert subprocess.run([*command, "nonsense"], capture_output=True).returncode == 2

"""Streams that are closed, full or read by nobody: the work is done, and the exit code says how."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_run import write_dataset

OCTSHARD = f'PYTHONPATH={Path(__file__).parents[2]} "{sys.executable}" -m octshard'


def shell(line: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a line of bash."""
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    return run.returncode, run.stdout, run.stderr


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("streams") / "device"
    return f"{OCTSHARD} prep verify {write_dataset(folder, {'train': 3})}"


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_streams_change_nothing(dataset: str, closed: str) -> None:
    expected = shell(dataset)[1] if ">&- " not in f" {closed} ".replace("2>&-", "") else ""
    code, out, _ = shell(f"{dataset} {closed}")
    assert (code, out) == (shell(dataset)[0], expected)


def test_a_full_stdout_is_one_line() -> None:
    code, _, err = shell(f"{OCTSHARD} config train > /dev/full")
    assert (code, err) == (1, "octshard: standard output: No space left on device\n")


def test_an_error_needs_no_stderr(tmp_path: Path) -> None:
    for closed in ("2>&-", "2>/dev/full"):
        assert shell(f"{OCTSHARD} prep verify {tmp_path}/absent {closed}")[0] == 2


def test_lines_that_nobody_reads_end_no_command(tmp_path: Path) -> None:
    made = f"{OCTSHARD} phantom {tmp_path}/made --participants 1 --scale 0.02 --workers 1"
    shell(f"({made} 2>&1 >/dev/null; echo $? > {tmp_path}/code) | true")
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "made" / "participants.tsv").exists()


def test_a_closed_stream_does_not_become_a_file_of_ours(tmp_path: Path) -> None:
    text = (
        "import os; from octshard.cli import streams; streams.open_closed(); "
        "print(open('/dev/null').fileno() > 2, os.path.samefile('/dev/null', '/proc/self/fd/2'))"
    )
    _, out, _ = shell(f'PYTHONPATH={Path(__file__).parents[2]} {sys.executable} -c "{text}" 2>&- <&-')
    assert out == "True True\n"
    assert os.path.exists("/dev/null")

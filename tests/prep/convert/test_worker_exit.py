"""Exit codes of children: which are the file's doing, and which come from outside."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octshard import pool
from octshard.errors import OctshardError
from octshard.prep.convert import worker_exit
from octshard.prep.convert.worker_exit import FileInHand, WorkerDied, WorkerKilled

OURS = os.getpid()  # stands for a fork server that is ready; it is no child of ours, so it counts as gone


def file(server: int = OURS, oom_kills: int = 0) -> FileInHand:
    return FileInHand("a.dcm", server, oom_kills)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"])
def test_a_signal_that_a_process_gets_for_what_it_does_is_a_crash(name: str) -> None:
    cause = worker_exit.cause(-getattr(signal, name), file())
    assert isinstance(cause, WorkerDied)
    assert (cause.reason, cause.detail, cause.path) == (
        "decoder_crash",
        f"its process ended by {name}",
        "a.dcm",
    )


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGXCPU", "SIGUSR1"])
def test_any_other_signal_comes_from_outside(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_exit, "oom_kills", lambda: 4)
    cause = worker_exit.cause(-getattr(signal, name), file(oom_kills=4))
    assert isinstance(cause, WorkerKilled)
    assert str(cause).endswith(f"from outside by {name}")


def test_a_kill_beside_a_kill_of_the_kernel_for_memory_is_the_files_doing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_exit, "oom_kills", lambda: 5)
    assert isinstance(worker_exit.cause(-signal.SIGKILL, file(oom_kills=4)), WorkerDied)
    assert isinstance(worker_exit.cause(-signal.SIGTERM, file(oom_kills=4)), WorkerKilled)


def test_exit_codes_are_crashes_unless_no_file_was_in_hand() -> None:
    assert isinstance(worker_exit.cause(7, file()), WorkerDied)
    with pytest.raises(OctshardError) as caught:
        worker_exit.cause(1, file(server=0))
    assert str(caught.value) == pool.NOT_STARTED


def test_the_code_of_a_server_that_is_gone_is_told_from_an_exit_of_the_child() -> None:
    server = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert isinstance(worker_exit.cause(255, file(server.pid)), WorkerDied)  # a codec called exit(255)
    server.kill()
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    assert isinstance(worker_exit.cause(255, file(server.pid)), WorkerKilled)
    server.communicate()
    for gone in (server.pid, 0):
        assert isinstance(worker_exit.cause(255, file(gone)), WorkerKilled)


def test_the_kernels_count_is_read_and_0_where_there_is_none(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    assert worker_exit.oom_kills(vmstat) == 0
    vmstat.write_text("pgfault 9\noom_kill 3\noom_kill_other 8\n")
    assert worker_exit.oom_kills(vmstat) == 3
    vmstat.write_text("pgfault 9\n")
    assert worker_exit.oom_kills(vmstat) == 0

"""Foreign code that crashes, hangs, raises or prints becomes a line."""

import os
import signal
import sys
import time

import pytest

from octshard.doctor.checks import UNEXPECTED, Check
from octshard.doctor.child_process import CRASHED, checks_in_child


def sound(words: str) -> list[Check]:
    os.write(1, b"noise of a library\n")
    return [Check("a", "pass", words), Check("b", "warn", str(os.getpid()), "advice")]


def killed() -> list[Check]:
    os.write(2, b"an illegal instruction\n\n")
    os.kill(os.getpid(), signal.SIGILL)
    return []


def left() -> list[Check]:
    sys.stdout.flush()
    os._exit(3)


def raised() -> list[Check]:
    raise ValueError("driver\ntoo old")


def hung() -> list[Check]:
    time.sleep(600)
    return []


def test_checks_come_back_and_noise_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    checks = checks_in_child("group", 60, "advice", sound, "words")
    assert checks[0] == Check("a", "pass", "words")
    assert int(checks[1].found) != os.getpid()
    assert capfd.readouterr().out == ""


def test_a_crash_is_a_line_with_the_last_words() -> None:
    found = "the process was killed by SIGILL (an illegal instruction)"
    assert checks_in_child("group", 60, "", killed) == [Check("group", "fail", found, CRASHED)]
    found = "the process ended with exit code 3"
    assert checks_in_child("group", 60, "", left) == [Check("group", "fail", found, CRASHED)]


def test_an_exception_is_a_line() -> None:
    found = "ValueError: driver too old"
    assert checks_in_child("group", 60, "", raised) == [Check("group", "fail", found, UNEXPECTED)]


def test_a_hang_ends_at_the_limit() -> None:
    began = time.monotonic()
    checks = checks_in_child("group", 0.2, "restart the machine", hung)
    assert checks == [Check("group", "fail", "no answer within 0.2 s", "restart the machine")]
    assert time.monotonic() - began < 30

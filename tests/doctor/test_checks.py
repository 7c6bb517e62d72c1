"""A check that raises is a line."""

from octshard.doctor.checks import UNEXPECTED, Check, attempt


def test_what_a_check_raises_becomes_its_failure() -> None:
    def broken() -> Check:
        raise RuntimeError("wires\ncrossed")

    assert attempt("wires", broken) == Check("wires", "fail", "RuntimeError: wires crossed", UNEXPECTED)
    assert attempt("wires", broken, "uncross").advice == "uncross"


def test_a_sound_check_is_passed_on() -> None:
    assert attempt("wires", lambda: Check("wires", "pass", "two")) == Check("wires", "pass", "two")

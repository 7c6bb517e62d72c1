"""Plain lines elsewhere than on a terminal: few, and the last state always."""

import logging
import re
import sys
from typing import Any

import pytest

from octshard import progress


def test_plain_lines_show_the_first_and_the_last_state(capsys: Any) -> None:
    with progress.progress("shard") as advance:
        for i in range(1, 101):
            advance(i, 100, f"{i // 10} refused")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("shard: 1/100 0 refused (")
    assert lines[-1].startswith("shard: 100/100 10 refused (")
    assert len(lines) == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_foreign_names_neither_steer_the_terminal_nor_break_the_bar(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    name = "a[/b]\x1b]0;t\x07\udcff"
    with progress.progress("shard") as on_progress:
        on_progress(1, 1, name)
        progress.StderrHandler().emit(logging.makeLogRecord({"msg": name, "levelno": logging.INFO}))
    shown = capsys.readouterr().err
    assert "a[/b]\\x1b]0;t" in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown


def test_plain_lines_tell_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Ten files were there from an earlier run; ten more took 40 s, so the 80 that are left take 320 s."""
    clock = iter([0.0, 0.0, 0.0, 0.0, 40.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress("shard") as advance:
        advance(10, 100, "a")
        advance(20, 100, "b")
    assert capsys.readouterr().err.splitlines() == [
        "shard: 10/100 a (0 s)",
        "shard: 20/100 b (40 s, about 5 min left)",
    ]


def test_durations_take_the_unit_that_fits() -> None:
    assert [progress.duration(s) for s in (40, 89, 600, 9000)] == ["40 s", "89 s", "10 min", "2.5 h"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.progress("train") as advance:
        advance(3, 7, "loss 0.5")
    shown = capsys.readouterr().err
    assert "train" in shown
    assert "3/7" in shown


def test_no_bar_stands_before_the_first_call(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What a run says at its start stands on lines of its own, also where cursor moves mean nothing."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.progress("train") as on_progress:
        progress.StderrHandler().emit(
            logging.makeLogRecord({"msg": "begins at step 0", "levelno": logging.INFO})
        )
        assert capsys.readouterr().err == "begins at step 0\n"
        on_progress(1, 7, "")
    assert "1/7" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_log_lines_stand_above_the_bar_or_between_plain_lines(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    log, handler = logging.getLogger("octshard.somewhere"), progress.StderrHandler()
    log.addHandler(handler)
    monkeypatch.setattr(log, "level", logging.INFO)
    try:
        with progress.progress("train") as on_progress:
            on_progress(3, 7, "loss 0.5")
            log.info("[plain] %d volumes", 12)
            log.warning("step 3: a sample is damaged")
    finally:
        log.removeHandler(handler)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)  # without colours and cursor moves
    lines = [line.rstrip() for line in text.splitlines()]
    assert "[plain] 12 volumes" in lines  # a line of its own, its brackets no markup
    assert "WARNING step 3: a sample is damaged" in lines

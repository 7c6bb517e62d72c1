"""Plain lines elsewhere than on a terminal: few, and the last state always."""

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


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.progress("train") as advance:
        advance(3, 7, "loss 0.5")
    shown = capsys.readouterr().err
    assert "train" in shown
    assert "3/7" in shown

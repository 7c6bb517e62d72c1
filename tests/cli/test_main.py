"""The edge: help, exit codes, and errors that are one line."""

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import pytest

from octshard.cli import main
from octshard.errors import OctshardError, StoppedError, UsageError
from octshard.stop_signals import Interrupted


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from walk(child, (*path, name))
    else:
        yield path


def run(monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> int:
    """Exit code of `octshard WORDS`."""
    monkeypatch.setattr(sys, "argv", ["octshard", *words])
    try:
        main.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


@pytest.mark.parametrize("path", sorted(walk(main.cli)), ids=" ".join)
def test_every_command_helps_with_an_example(path: tuple[str, ...], monkeypatch: Any, capsys: Any) -> None:
    assert run(monkeypatch, [*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"octshard {' '.join(path)}" in shown


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "--config", "absent.yaml"], 2, "octshard: config absent.yaml: no such file"),
        (
            ["train", "--config", "{smoke}", "model.depht=3"],
            2,
            "unknown key model.depht; did you mean model.depth?",
        ),
        (
            ["train", "--config", "{smoke}", "data.shards=[{tmp}]"],
            2,
            "want a folder made by octshard prep shard",
        ),
        (["prep", "verify", "{tmp}/absent"], 2, "found nothing, want a folder made by octshard prep shard"),
        (["prep", "unzip"], 2, "want both, the release root and where DICOMs go"),
        (["prep", "shard", "{tmp}", "{tmp}/out", "--device", "all"], 2, "manifest.tsv"),
        (["prep", "shard", "{tmp}", "{tmp}/out"], 2, "no scan that could be listed; no file at all"),
        (["eval", "linear-probe"], 2, "checkpoint"),
        (["eval", "knn"], 2, "checkpoint"),
        (["eval", "knn", "head=mlp"], 2, "want octshard eval linear-probe head=mlp"),
        (["eval", "linear-probe", "head=forest"], 2, "want linear, mlp, knn or attentive"),
        (["eval", "linear-probe", "mlp.lr=[]"], 2, "want at least 1, each more than 0"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_line_and_exit_2(
    words: list[str], code: int, message: str, tmp_path: Any, monkeypatch: Any, capsys: Any
) -> None:
    places = {"smoke": "smoke_test", "tmp": str(tmp_path)}
    assert run(monkeypatch, [word.format(**places) for word in words]) == code
    shown = capsys.readouterr().err.strip().splitlines()
    assert message in shown[-1]
    assert not [line for line in shown if "Traceback" in line]


def test_source_and_target_may_come_from_the_environment(
    monkeypatch: Any, capsys: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("OCTSHARD_SRC", str(tmp_path / "nothing-here"))
    monkeypatch.setenv("OCTSHARD_DST", str(tmp_path / "out"))
    assert run(monkeypatch, ["prep", "shard", "--device", "all"]) == 2
    assert "nothing-here" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [UsageError, OctshardError, RuntimeError])
def test_names_in_errors_cannot_steer_the_terminal(
    kind: type[Exception], monkeypatch: Any, capsys: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise kind("\x1b[2Jgone\u202e")

    monkeypatch.setattr(main.cli, "main", fail)
    run(monkeypatch, ["demo"])
    assert "\\x1b[2Jgone\\u202e" in (shown := capsys.readouterr().err)
    assert "\x1b" not in shown


def test_what_nobody_expected_is_one_line_too(monkeypatch: Any, capsys: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("wires\ncrossed")

    monkeypatch.setattr(main.cli, "main", fail)
    assert run(monkeypatch, ["demo"]) == 1
    assert (
        capsys.readouterr().err == "octshard: unexpected RuntimeError: wires crossed (--debug shows where)\n"
    )
    with pytest.raises(RuntimeError):
        run(monkeypatch, ["demo", "--debug"])


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "octshard: interrupted"),
        (Interrupted(signal.SIGINT), 130, "octshard: interrupted by SIGINT"),
        (Interrupted(signal.SIGTERM), 143, "octshard: interrupted by SIGTERM"),
        (StoppedError("demo: stopped at step 3", signal.SIGTERM), 143, "octshard: demo: stopped at step 3"),
        (EOFError("half a file"), 1, "octshard: unexpected EOFError: half a file (--debug shows where)"),
    ],
)
def test_a_stop_by_a_signal_is_in_the_exit_code(
    error: BaseException, code: int, text: str, monkeypatch: Any, capsys: Any
) -> None:
    """Through click, which makes something of its own of an interruption and of the end of a file."""

    def fail() -> None:
        raise error

    monkeypatch.setitem(main.cli.commands, "demo", click.Command("demo", callback=fail))
    assert run(monkeypatch, ["demo"]) == code
    assert capsys.readouterr().err.strip() == text


def test_failures_exit_1(monkeypatch: Any, capsys: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OctshardError("shard 3: found a, want b")

    monkeypatch.setattr(main.cli, "main", fail)
    assert run(monkeypatch, ["demo"]) == 1
    assert capsys.readouterr().err == "octshard: shard 3: found a, want b\n"

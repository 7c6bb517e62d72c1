"""A sink that fails or hangs: said once, tried again, left behind; the run never waits for it for long."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octshard.train.sinks import background
from octshard.train.sinks.background import BackgroundSink, Patience
from octshard.train.sinks.sink import Picture, Sink, Values
from tests.support.log_lines import log_lines

LONG = Patience(9.0, 9.0, 9.0)
SHORT = Patience(0.01, 0.01, 0.01)


class Recorder(Sink):
    """Notes its calls; lines whose loss is in `bad` fail; hangs at a line whose loss is -1 until `freed`."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.calls: list[Any] = []
        self.bad, self.hangs, self.freed = bad, threading.Event(), threading.Event()

    def write(self, values: Values) -> None:
        if values["loss"] == -1:
            self.hangs.set()
            self.freed.wait()
        if values["loss"] in self.bad:
            raise ConnectionResetError(f"Connection lost\nat {values['loss']}")
        self.calls.append(values["loss"])

    def write_picture(self, picture: Picture) -> None:
        self.calls.append(picture.name)

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self, exit_code: int) -> None:
        self.calls.append(("close", exit_code))

    def abandon(self) -> None:
        self.calls.append("abandon")


@pytest.fixture
def hanging() -> Iterator[Recorder]:
    """A sink that takes no line after the first, until the test is over."""
    recorder = Recorder()
    yield recorder
    recorder.freed.set()


def test_calls_come_in_order_and_a_flush_waits_for_them() -> None:
    recorder = Recorder()
    sink = BackgroundSink(recorder, "x", LONG)
    values = {"loss": 1}
    sink.write(values)
    values["loss"] = 7  # the caller may use its line again
    sink.write_picture(Picture("views", 1, 4, b""))
    sink.flush()
    assert recorder.calls == [1, "views", "flush"]
    sink.close(143)
    assert recorder.calls[3:] == [("close", 143)]


def test_an_error_is_said_once_and_the_next_line_is_tried() -> None:
    recorder = Recorder(bad=(2, 3, 5))
    with log_lines() as lines:
        sink = BackgroundSink(recorder, "run.wandb=online", LONG)
        for loss in (1, 2, 3, 4, 5, 6):
            sink.write({"loss": loss})
        sink.close(0)
    assert recorder.calls == [1, 4, 6, ("close", 0)]
    assert lines == [
        "WARNING run.wandb=online: ConnectionResetError: Connection lost\\nat 2; the run goes on, and "
        "metrics.jsonl has every line",
        "WARNING run.wandb=online: 3 calls failed",
    ]


def test_the_end_of_a_run_does_not_wait_for_ever(hanging: Recorder) -> None:
    with log_lines() as lines:
        sink = BackgroundSink(hanging, "run.wandb=online", SHORT)
        sink.write({"loss": -1})
        sink.close(0)
    assert hanging.calls == ["abandon"]
    assert lines == ["WARNING run.wandb=online: not done after 0.01 s; the run ends without it"]


def test_lines_for_a_sink_that_hangs_are_bounded_and_never_waited_for(
    hanging: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_PENDING", 3)
    with log_lines() as lines:
        sink = BackgroundSink(hanging, "x", SHORT)
        sink.write({"loss": -1})
        hanging.hangs.wait()
        for loss in range(100):
            sink.write({"loss": loss})
        sink.close(0)
    assert lines[0] == "WARNING x: 3 calls wait for it; the run goes on, and metrics.jsonl has every line"


def test_checkpoints_wait_once_for_a_sink_that_hangs(hanging: Recorder) -> None:
    """The second flush would wait for ever if it did."""
    sink = BackgroundSink(hanging, "x", SHORT)
    sink.write({"loss": -1})
    sink.flush()
    sink._patience = Patience(threading.TIMEOUT_MAX, 0.0, 0.0)
    sink.flush()


def test_a_run_that_is_stopped_waits_less_and_says_nothing_of_what_it_never_waits_for(
    hanging: Recorder,
) -> None:
    """With exit code 0 this would wait for ever."""
    with log_lines() as lines:
        sink = BackgroundSink(hanging, "run.pictures=3", Patience(0.0, threading.TIMEOUT_MAX, 0.0))
        sink.write({"loss": -1})
        sink.close(143)
    assert (hanging.calls, lines) == (["abandon"], [])


def test_a_failed_flush_is_waited_for_again_the_next_time(tmp_path: Path) -> None:
    class Flaky(Recorder):
        def flush(self) -> None:
            super().flush()
            raise OSError("disk")

    recorder = Flaky()
    sink = BackgroundSink(recorder, "x", LONG)
    sink.flush()
    sink.flush()
    assert recorder.calls == ["flush", "flush"]

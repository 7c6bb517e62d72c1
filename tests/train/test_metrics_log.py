"""The metrics file: appended line by line, cut back on resume, also in a remote store; W&B when asked."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.stop_signals import Interrupted
from octshard.storage import store
from octshard.storage.errors import StoreError
from octshard.train import metrics_log
from tests.support.log_lines import log_lines


def config_for(out: str, *more: str) -> TrainConfig:
    return load(TrainConfig, [], [f"run.out={out}", *more])


@pytest.mark.parametrize("place", ["local", "memory://log"])
def test_a_resumed_run_has_no_step_twice(tmp_path: Path, place: str) -> None:
    out = str(tmp_path) if place == "local" else place
    with metrics_log.open_log(config_for(out), 0) as lines:
        for step in (1, 2, 3):
            lines.write({"step": step, "loss": step / 2})
        lines.flush()
    with metrics_log.open_log(config_for(out), 2) as lines:
        lines.write({"step": 3, "loss": 9.0})
    assert metrics_log.read(out) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 9.0},
    ]


def test_a_line_stands_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with metrics_log.open_log(config_for(str(tmp_path)), 0) as lines:
        lines.write({"step": 1, "loss": float("nan")})
        assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": None}


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    url = store.join(str(tmp_path), "metrics.jsonl")
    store.write(url, b'{"step": 1}\n{"step": 2}\n{"st')
    assert metrics_log.truncate_after(url, 7) == ['{"step": 1}', '{"step": 2}']
    assert store.read(url) == b'{"step": 1}\n{"step": 2}\n'


DAMAGE = (
    b"",
    bytes(40),
    b"{",
    b"[" * 100_000,
    b"null",
    b"[1]",
    b'{"loss": 1}',
    b'{"step": "2"}',
    b"\xff\xfe",
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda data: repr(data[:12]))
def test_a_damaged_line_is_named_and_left_out(tmp_path: Path, damage: bytes) -> None:
    url = store.join(str(tmp_path), "metrics.jsonl")
    store.write(url, b'{"step": 1}\n' + damage + b'\n{"step": 2}\n{"step": 3}\n' + bytes(512))
    with pytest.raises(OctshardError, match=f"^{url} line 2: ") as caught:
        metrics_log.read(str(tmp_path))
    assert "\n" not in str(caught.value)
    with log_lines() as lines:
        assert metrics_log.truncate_after(url, 2) == ['{"step": 1}', '{"step": 2}']
    (line,) = lines
    assert line.startswith(f"WARNING {url} line 2: ")
    assert line.endswith("; left out, as are 0 more")
    assert store.read(url) == b'{"step": 1}\n{"step": 2}\n'


def test_a_full_disk_is_one_clear_line_and_the_log_can_be_closed() -> None:
    lines = metrics_log.MetricsLog("/dev/full", [], None)
    with pytest.raises(StoreError, match=r"^/dev/full: the disk is full"):
        lines.write({"step": 1})
    lines.close()


def test_a_silent_log_writes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = metrics_log.null_log()
    lines.write({"step": 1})
    lines.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_unknown_wandb_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(UsageError, match=r"pip install .*\[wandb\]"),
        metrics_log.open_log(config_for(str(tmp_path), "run.wandb=offline"), 0),
    ):
        pass
    with pytest.raises(UsageError, match=r"run.wandb=cloud: want off, offline or online"):
        config_for(str(tmp_path), "run.wandb=cloud")


def test_wandb_gets_the_lines_and_a_resume_continues_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (1, 2):
        with metrics_log.open_log(config_for(str(tmp_path), "run.wandb=offline"), step - 1) as lines:
            lines.write({"step": step, "loss": 0.5})
    first, second = fake.started
    assert first["id"] == second["id"]
    assert (first["mode"], first["resume"]) == ("offline", "allow")
    assert first["config"]["model.depth"] == 12
    assert fake.lines == [({"step": 1, "loss": 0.5}, 1), ({"step": 2, "loss": 0.5}, 2)]
    assert fake.exit_codes == [0, 0]


@pytest.mark.parametrize(
    ("error", "code"), [(OctshardError("x"), 1), (UsageError("x"), 2), (Interrupted(signal.SIGTERM), 143)]
)
def test_wandb_is_told_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with (
        pytest.raises(type(error)),
        metrics_log.open_log(config_for(str(tmp_path), "run.wandb=offline"), 0),
    ):
        raise error
    with metrics_log.open_log(config_for(str(tmp_path), "run.wandb=offline"), 0) as log:
        log.exit_code = 130  # stopped by Ctrl-C, and saved
    assert fake.exit_codes == [code, 130]


class FakeWandb:
    """What log.py asks of wandb."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.lines: list[tuple[dict[str, Any], int]] = []
        self.exit_codes: list[int] = []

    def init(self, **options: Any) -> "FakeWandb":
        self.started.append(options)
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        self.lines.append((values, step))

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)

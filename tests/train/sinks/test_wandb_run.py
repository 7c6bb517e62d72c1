"""The W&B run: one id, samples_seen as axis, and nothing of its own that could end the training."""

import contextlib
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.models.checkpoint_info import CheckpointInfo
from octshard.stop_signals import Interrupted
from octshard.storage import store
from octshard.train import metrics_log
from octshard.train.run_identity import RunIdentity
from octshard.train.sinks import wandb_run
from octshard.train.sinks.sink import Picture
from tests.support.log_lines import log_lines
from tests.support.log_readers import read_wandb
from tests.support.small_png import small_png

IDENTITY = RunIdentity("run-20261106-0123abcd", ("triton", "vjepa2"), {"model.depth": 12, "data.digest": "f"})


def config_for(out: str, *more: str) -> TrainConfig:
    return load(TrainConfig, [], [f"run.out={out}", *more])


class FakeWandb(types.ModuleType):
    """What wandb_run asks of wandb. problem: what init raises."""

    class errors:  # noqa: N801 (a module)
        class UsageError(Exception):
            pass

        class AuthenticationError(Exception):
            pass

    class Settings:
        """Of a version without FILE_S."""

    def __init__(self, problem: Exception | None = None) -> None:
        super().__init__("wandb")
        self.problem = problem
        self.started: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.axes: list[tuple[str, str | None]] = []
        self.exit_codes: list[int] = []

    def init(self, **options: Any) -> "FakeWandb":
        if self.problem:
            raise self.problem
        self.started.append(options)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes.append((name, step_metric))

    def log(self, values: dict[str, Any]) -> None:
        self.lines.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


def install(monkeypatch: pytest.MonkeyPatch, problem: Exception | None = None) -> FakeWandb:
    fake = FakeWandb(problem)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_a_missing_or_unknown_wandb_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"pip install .*\[wandb\]"):
        wandb_run.check(config_for("x", "run.wandb=offline"))
    wandb_run.check(config_for("x"))
    with pytest.raises(UsageError, match=r"run.wandb=cloud: want off, offline or online"):
        config_for("x", "run.wandb=cloud")


def test_a_resume_continues_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, cfg = install(monkeypatch), config_for(str(tmp_path), "run.wandb=offline")
    for step in (1, 2):
        with metrics_log.open_log(cfg, IDENTITY, step - 1, 4 * step - 4) as log:
            log.write({"step": step, "samples_seen": 4 * step, "loss": 0.5})
    first, second = fake.started
    assert first["id"] == second["id"]
    assert (first["mode"], first["resume"], first["name"]) == ("offline", "allow", IDENTITY.name)
    assert (first["tags"], first["config"]) == (IDENTITY.tags, IDENTITY.config)
    assert fake.axes[:2] == [("samples_seen", None), ("*", "samples_seen")]
    assert [line["samples_seen"] for line in fake.lines] == [4, 8]
    assert fake.exit_codes == [0, 0]


@pytest.mark.parametrize(
    ("error", "code"), [(OctshardError("x"), 1), (UsageError("x"), 2), (Interrupted(signal.SIGTERM), 143)]
)
def test_it_is_told_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    fake, cfg = install(monkeypatch), config_for(str(tmp_path), "run.wandb=offline")
    with pytest.raises(type(error)), metrics_log.open_log(cfg, IDENTITY, 0, 0):
        raise error
    with metrics_log.open_log(cfg, IDENTITY, 0, 0) as log:
        log.exit_code = 130  # stopped by Ctrl-C, and saved
    assert fake.exit_codes == [code, 130]


def test_no_login_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (FakeWandb.errors.UsageError, FakeWandb.errors.AuthenticationError):
        install(monkeypatch, kind("No API key\nconfigured."))
        with pytest.raises(
            UsageError, match=r"run.wandb=online: No API key\\nconfigured; log in with"
        ) as caught:
            wandb_run.open_run(config_for(str(tmp_path), "run.wandb=online"), IDENTITY)
        assert "\n" not in str(caught.value)


def test_a_network_that_is_down_keeps_no_run_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, TimeoutError("initialization\nhas timed out"))
    cfg = config_for(str(tmp_path), "run.wandb=online")
    with log_lines() as lines, metrics_log.open_log(cfg, IDENTITY, 0, 0) as log:
        log.write({"step": 1, "samples_seen": 4, "loss": 0.5})
    assert lines == [
        "WARNING run.wandb=online: TimeoutError: initialization\\nhas timed out; the run goes on without it"
    ]
    assert len(metrics_log.read(str(tmp_path))) == 1


def test_a_damaged_id_gets_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, cfg = install(monkeypatch), config_for(str(tmp_path), "run.wandb=offline")
    wandb_run.open_run(cfg, IDENTITY)
    (tmp_path / "wandb-id.txt").write_bytes(b"\xff a/b")
    with log_lines() as lines:
        wandb_run.open_run(cfg, IDENTITY)
        wandb_run.open_run(cfg, IDENTITY)
    ids = [options["id"] for options in fake.started]
    assert ids[0] != ids[1] == ids[2]
    assert len(lines) == 1


class TestRealRun:
    """W&B's own files, offline."""

    @pytest.fixture(autouse=True)
    def _wandb(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        pytest.importorskip("wandb", reason="needs octshard[wandb]")
        monkeypatch.setenv("WANDB_SILENT", "true")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            monkeypatch.setenv(name, str(tmp_path / "home"))

    @pytest.mark.parametrize("place", ["local", "memory://artifacts"])
    def test_checkpoints_and_pictures_are_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        monkeypatch.chdir(tmp_path)  # where W&B keeps a run whose folder is remote
        out = str(tmp_path) if place == "local" else place
        info = CheckpointInfo("step-00000005", 5, 20, "f" * 64, 3, 0.5, False)
        for suffix in (".pt", ".json"):
            store.write(store.join(out, "checkpoints", info.name + suffix), b"abc")
        cfg = config_for(out, "run.wandb=offline", "run.wandb_artifacts=true")
        sink = wandb_run.open_run(cfg, IDENTITY)
        assert sink is not None
        sink.write_picture(Picture("views", 5, 20, small_png(7)))
        sink.write_checkpoint(info)
        sink.close(0)
        (run,) = read_wandb(tmp_path)
        assert run.artifacts == [(f"checkpoint-{run.run_id}", ["step-00000005.json", "step-00000005.pt"])]
        (row,) = run.rows
        assert (row["step"], row["samples_seen"]) == (5, 20)
        assert (row["views"]["_type"], row["views"]["width"], row["views"]["height"]) == ("image-file", 3, 2)

    @pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
    def test_its_own_process_may_die_or_hang(self, tmp_path: Path, how: str) -> None:
        """The training ends as ever, with one warning and no traceback; metrics.jsonl has every line."""
        script = SCRIPT.format(root=str(Path(__file__).parents[3]), out=str(tmp_path), how=how)
        try:
            with open(tmp_path / "log.txt", "w") as log:  # a pipe would be held by W&B's process too
                done = subprocess.run([sys.executable, "-c", script], stdout=log, stderr=log, timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int((tmp_path / "core.pid").read_text()), signal.SIGKILL)
        text = (tmp_path / "log.txt").read_text()
        assert done.returncode == 0, text
        assert "Traceback" not in text
        assert [line["step"] for line in metrics_log.read(str(tmp_path))] == [1, 2, 3]
        lines = [line for line in text.splitlines() if line.startswith("run.wandb=offline: ")]
        assert "the run goes on" in lines[0] if how == "SIGKILL" else "not done after" in lines[0]


SCRIPT = """
import logging, os, signal, sys
sys.path.insert(0, {root!r})
logging.basicConfig(format="%(message)s")
from octshard.train import metrics_log
from octshard.train.sinks.background import Patience
from tests.train.sinks.test_wandb_run import IDENTITY, config_for

metrics_log.WRITING = Patience(2.0, 2.0, 2.0)
with metrics_log.open_log(config_for({out!r}, "run.wandb=offline"), IDENTITY, 0, 0) as log:
    from wandb.sdk import wandb_setup
    core = wandb_setup.singleton()._connection._proc._process
    with open({out!r} + "/core.pid", "w") as file:
        file.write(str(core.pid))
    log.write({{"step": 1, "samples_seen": 4}})
    log.flush()
    os.kill(core.pid, signal.{how})
    if {how!r} == "SIGKILL":
        os.waitid(os.P_PID, core.pid, os.WEXITED | os.WNOWAIT)
    log.write({{"step": 2, "samples_seen": 8}})
    log.write({{"step": 3, "samples_seen": 12}})
"""

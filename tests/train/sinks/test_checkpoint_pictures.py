"""A picture of each checkpoint, drawn in a process of its own; what goes wrong there is one line."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from octshard.config.train import TrainConfig
from octshard.errors import OctshardError
from octshard.models import checkpoint
from octshard.models.checkpoint_info import CheckpointInfo
from octshard.storage import store
from octshard.train import loop
from octshard.train.sinks.checkpoint_pictures import CheckpointPictures
from octshard.train.sinks.sink import Picture
from tests.support.tiny_run import config_for, write_dataset

INFO = CheckpointInfo("step-00000005", 5, 20, "f" * 64, 3, 0.5, False)


@pytest.fixture
def cfg(tmp_path: Path) -> TrainConfig:
    """A run with something that is called a checkpoint."""
    store.write(str(tmp_path / "run" / "checkpoints" / "step-00000005.pt"), b"abc")
    return config_for("no-shards", tmp_path / "run", "run.epochs=1")


def replace_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """The process runs `text` in place of octshard."""
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.slow
def test_a_run_draws_what_preview_draws(tmp_path: Path) -> None:
    """Also under variables of torchrun, which the process must not take for its own."""
    shards = write_dataset(tmp_path / "data", {"train": 9, "val": 2})
    loop.train(config_for(shards, tmp_path / "run", "run.samples_budget=8", "run.pictures=2"))
    name = "preview-000000000008.png"
    assert store.list_names(str(tmp_path / "run" / "pictures")) == [name]
    image = Image.open(tmp_path / "run" / "pictures" / name)
    assert (image.format, min(image.size) > 500) == ("PNG", True)
    (info,) = checkpoint.list_checkpoints(str(tmp_path / "run"))
    assert (info.step, info.samples_seen) == (2, 8)


def test_the_picture_has_the_samples_of_its_checkpoint(
    cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is told the config, the checkpoint and a file, and is none of the run's own."""
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("PJRT_DEVICE", "TPU")):
        monkeypatch.setenv(name, value)
    replace_command(
        monkeypatch,
        tmp_path,
        "import os, sys\n"
        "options = dict(zip(sys.argv[5::2], sys.argv[6::2]))\n"
        "assert sys.argv[1:5] == ['-P', '-m', 'octshard', 'preview'], sys.argv\n"
        "assert 'epochs: 1' in open(options['--config']).read()\n"
        "assert open(options['--checkpoint']).read() == 'abc'\n"
        "assert not {'RANK', 'WORLD_SIZE', 'PJRT_DEVICE'} & {*os.environ}\n"
        "assert os.environ['CUDA_VISIBLE_DEVICES'] == ''\n"
        "open(options['--out'], 'w').write('png')",
    )
    pictures: list[Picture] = []
    CheckpointPictures(cfg, pictures.append).write_checkpoint(INFO)
    assert pictures == [Picture("preview", 5, 20, b"png")]


def test_a_process_that_fails_is_one_line(
    cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_command(monkeypatch, tmp_path, "import sys; sys.exit('first\\nno room\\x1b[31m\\n')")
    pictures: list[Picture] = []
    with pytest.raises(OctshardError, match=r"^octshard preview ended with 1 \(no room\\x1b\[31m\)$"):
        CheckpointPictures(cfg, pictures.append).write_checkpoint(INFO)
    assert not pictures


def test_a_checkpoint_that_is_gone_by_now_is_no_failure(cfg: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints" / "step-00000005.pt").unlink()
    CheckpointPictures(cfg, lambda picture: None).write_checkpoint(INFO)


def test_a_checkpoint_that_goes_before_it_is_read_is_no_failure(
    cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "checkpoints" / "step-00000005.pt"
    replace_command(monkeypatch, tmp_path, f"import os, sys\nos.remove({str(path)!r})\nsys.exit('no file')")
    pictures: list[Picture] = []
    CheckpointPictures(cfg, pictures.append).write_checkpoint(INFO)
    assert not pictures


def test_the_process_stays_in_the_session_of_the_run(
    cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its low priority counts for nothing; but the terminal's Ctrl-C is for the run alone."""
    text = (
        "import os, sys\n"
        "session, alone = os.getsid(0), os.getpgid(0) == os.getpid()\n"
        "open(sys.argv[sys.argv.index('--out') + 1], 'w').write(f'{session} {alone}')"
    )
    replace_command(monkeypatch, tmp_path, text)
    pictures: list[Picture] = []
    CheckpointPictures(cfg, pictures.append).write_checkpoint(INFO)
    assert pictures[0].png.decode() == f"{os.getsid(0)} True"


def test_a_run_that_ends_ends_the_drawing(
    cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silently, and the next checkpoint is not begun."""
    os.mkfifo(tmp_path / "started")
    text = f"import signal\nopen({str(tmp_path / 'started')!r}, 'w').write('x')\nsignal.pause()"
    replace_command(monkeypatch, tmp_path, text)
    pictures: list[Picture] = []
    sink = CheckpointPictures(cfg, pictures.append)
    thread = threading.Thread(target=sink.write_checkpoint, args=[INFO])
    thread.start()
    assert (tmp_path / "started").read_text() == "x"
    sink.abandon()
    thread.join()
    sink.write_checkpoint(INFO)
    assert not pictures
    assert sink._process is not None
    assert sink._process.returncode == -signal.SIGKILL

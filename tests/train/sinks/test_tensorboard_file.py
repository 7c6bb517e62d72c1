"""Event files as TensorBoard reads them: doubles at samples_seen, nothing twice after a resume."""

import json
import struct
import sys
from pathlib import Path

import pytest

from octshard.config.load import load
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.storage import store
from octshard.storage.errors import StoreError
from octshard.train.run_identity import RunIdentity
from octshard.train.sinks import tensorboard_file
from octshard.train.sinks.sink import Picture
from octshard.train.sinks.tensorboard_file import TensorboardFile
from tests.support.log_readers import TensorboardFolder, read_tensorboard
from tests.support.small_png import small_png

pytest.importorskip("tensorboard", reason="needs octshard[tensorboard]")

IDENTITY = RunIdentity("run-20261106-0123abcd", ("triton", "vjepa2"), {"model.depth": 12, "data.digest": "f"})
THIRD = struct.unpack("f", struct.pack("f", 1 / 3))[0]  # in single precision


def begin(out: str, samples_seen: int) -> TensorboardFile:
    return TensorboardFile(out, IDENTITY, samples_seen)


def read(out: str, tmp_path: Path) -> TensorboardFolder:
    """Also of a remote folder, copied first."""
    if not store.is_remote(out):
        return read_tensorboard(Path(out))
    folder = store.join(out, "tensorboard")
    for name in store.list_names(folder):
        store.copy(store.join(folder, name), str(tmp_path / "copy" / "tensorboard" / name))
    return read_tensorboard(tmp_path / "copy")


def test_it_is_missing_in_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"tensorboard is not here; .*pip install .*\[tensorboard\]"):
        tensorboard_file.check(load(TrainConfig, [], ["run.tensorboard=true"]))
    tensorboard_file.check(load(TrainConfig, [], []))


@pytest.mark.parametrize("place", ["local", "memory://board"])
def test_lines_pictures_and_what_the_run_is(tmp_path: Path, place: str) -> None:
    out = str(tmp_path) if place == "local" else place
    sink = begin(out, 0)
    sink.write({"step": 1, "samples_seen": 4, "loss": 1 / 3, "probe": "glaucoma", "bad": None, "on": True})
    sink.write_picture(Picture("views", 1, 4, small_png(7)))
    sink.close(0)
    content = read(out, tmp_path)
    assert content.lines == {4: {"step": 1.0, "loss": THIRD, "on": 1.0}}
    assert content.pictures == {("views", 4): small_png(7)}
    assert content.texts["probe"] == [(4, "glaucoma")]
    assert content.texts["name"] == [(1, IDENTITY.name)]
    assert content.texts["tags"] == [(1, "triton, vjepa2")]
    ((_, config),) = content.texts["config"]
    assert json.loads(config.removeprefix("```").removesuffix("```")) == IDENTITY.config


@pytest.mark.parametrize("place", ["local", "memory://resumed"])
def test_after_a_kill_and_a_resume_nothing_is_there_twice(tmp_path: Path, place: str) -> None:
    """Twice killed after step 3 and a picture there, each time resumed from step 2."""
    out = str(tmp_path) if place == "local" else place
    for start, losses in ((0, (0.125, 0.25, 0.375)), (2, (9.0,)), (2, (0.5, 0.625))):
        sink = begin(out, 4 * start)
        for step, loss in enumerate(losses, start=start + 1):
            sink.write({"step": step, "samples_seen": 4 * step, "loss": loss})
        sink.write_picture(Picture("views", 3, 12, small_png(start)))
        sink.flush()
    content = read(out, tmp_path)
    losses_by_samples = {samples_seen: line["loss"] for samples_seen, line in content.lines.items()}
    assert losses_by_samples == {4: 0.125, 8: 0.25, 12: 0.5, 16: 0.625}
    assert content.pictures == {("views", 12): small_png(2)}
    assert [samples_seen for samples_seen, _ in content.texts["name"]][:2] == [1, 9]


def test_a_late_line_stands_at_its_own_samples(tmp_path: Path) -> None:
    sink = begin(str(tmp_path), 0)
    for step, name in ((1, "loss"), (3, "loss"), (3, "val_loss"), (1, "knn"), (2, "knn")):
        sink.write({"step": step, "samples_seen": 4 * step, name: 0.5})
    sink.close(0)
    assert read_tensorboard(tmp_path).lines == {
        4: {"step": 1.0, "loss": 0.5, "knn": 0.5},
        8: {"knn": 0.5},
        12: {"step": 3.0, "loss": 0.5, "val_loss": 0.5},
    }


def test_what_did_not_fit_on_the_disk_leaves_the_other_lines_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record is written, as a disk does that fills up; the next line goes into a file of its own."""
    sink = begin(str(tmp_path), 0)
    sink.write({"step": 1, "samples_seen": 4, "loss": 0.125})
    file = sink._file
    assert file is not None

    class Full:
        def write(self, data: bytes) -> int:
            return file.write(data[: len(data) // 2])

        def close(self) -> None:
            file.close()

    monkeypatch.setattr(sink, "_file", Full())
    with pytest.raises(StoreError, match="the disk is full"):
        sink.write({"step": 2, "samples_seen": 8, "loss": 0.25})
    sink.write({"step": 3, "samples_seen": 12, "loss": 0.375})
    sink.close(0)
    lines = read_tensorboard(tmp_path).lines
    assert {samples_seen: line["loss"] for samples_seen, line in lines.items()} == {4: 0.125, 12: 0.375}


def test_a_remote_file_that_could_not_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = "memory://flaky"
    sink = begin(out, 0)
    sink.write({"step": 1, "samples_seen": 4, "loss": 0.125})
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", lambda url, data: (_ for _ in ()).throw(StoreError("no network")))
        with pytest.raises(StoreError):
            sink.flush()
    sink.write({"step": 2, "samples_seen": 8, "loss": 0.25})
    sink.close(0)
    assert len(store.list_names(store.join(out, "tensorboard"))) == 1
    lines = read(out, tmp_path).lines
    assert {samples_seen: line["loss"] for samples_seen, line in lines.items()} == {4: 0.125, 8: 0.25}

"""A picture of each checkpoint: a volume of the run, its views and masks, and the features of its tokens.

It is what `octshard preview` draws, in a process of its own at the lowest priority: the loop waits for
nothing, and no device gets a batch of another shape.
"""

import dataclasses
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError
from octshard.models.checkpoint import FOLDER
from octshard.models.checkpoint_info import CheckpointInfo
from octshard.printable import printable
from octshard.probes import worker_process
from octshard.storage import store
from octshard.train.sinks.sink import Picture, Sink

NAME = "preview"
DRAW_S = 900.0  # a process that takes longer hangs
COLUMNS = 3  # B-scans side by side
SHOWN_CHARACTERS = 300  # of the last line of a process that failed


class CheckpointPictures(Sink):
    """Calls `on_picture` with a picture of every checkpoint that is still there when its turn comes."""

    def __init__(self, cfg: TrainConfig, on_picture: Callable[[Picture], None]) -> None:
        self._cfg, self._on_picture = cfg, on_picture
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def write_checkpoint(self, info: CheckpointInfo) -> None:
        """Draws it; returns when it is drawn."""
        path = store.join(self._cfg.run.out, FOLDER, info.name + ".pt")
        if self._ended or not store.exists(path):
            return
        with tempfile.TemporaryDirectory() as folder:
            config, png = Path(folder, "config.yaml"), Path(folder, "preview.png")
            config.write_text(save(self._cfg))
            options = ["--config", config, "--checkpoint", path, "--out", png, "--columns", COLUMNS]
            try:
                self._run([str(option) for option in options], Path(folder, "errors.txt"))
            except OctshardError:
                if store.exists(path):
                    raise
                return  # removed before the process had read it
            if not self._ended:
                self._on_picture(Picture(NAME, info.step, info.samples_seen, png.read_bytes()))

    def abandon(self) -> None:
        """Ends the process that draws; draws no more."""
        self._ended = True
        if self._process is not None:
            self._process.kill()

    def _run(self, options: list[str], errors: Path) -> None:
        """OctshardError with the last line of what it wrote, if it failed."""
        run = dataclasses.replace(self._cfg.run, probe_device="cpu")
        with open(errors, "wb") as stderr:
            self._process = worker_process.start(["octshard", "preview", *options], run, stderr)
        if self._ended:
            self._process.kill()
        try:
            code = self._process.wait(DRAW_S)
        finally:
            self._process.kill()
            self._process.wait()
        if code and not self._ended:
            lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
            last = printable(lines[-1])[:SHOWN_CHARACTERS] if lines else "nothing said"
            raise OctshardError(f"octshard preview ended with {code} ({last})")

"""The peers' environments, made in --work from the versions pinned here, and the child processes that read.

A peer that cannot be installed becomes a row that says why; the rest goes on.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from loaders import ReaderSpec

TORCH = ("torch==2.9.0", "torchvision==0.24.0")
# torch and other fitting packages come from our environment; only missing or different ones are downloaded.
# numpy: streaming 0.13 needs less than 2.2.
PINS = {
    "mds": ("mosaicml-streaming==0.13.0", "numpy==2.1.3", *TORCH),
    "litdata": ("litdata==0.2.76", *TORCH),
}
NAMES = {
    "raw": "raw limit (read + unpack)",
    "ours": "octshard",
    "webdataset": "webdataset",
    "mds": "MosaicML Streaming",
    "litdata": "litData",
    "npz": "DataLoader over .npz",
    "dicom": "DICOM + MONAI (seed)",
}
SCRIPT = Path(__file__).with_name("subprocess_run.py")


class NotInstalled(Exception):
    """A peer has no environment; the message is one line."""


class ChildFailed(Exception):
    """A child process ended early; the message is one line."""


def python_for(reader: str, work: Path) -> str:
    """The interpreter for this reader: this one, or that of a virtual environment made below `work`."""
    python = _python(reader, work) if reader in PINS else sys.executable
    if isinstance(python, NotInstalled):
        raise python
    return python


@cache
def _python(reader: str, work: Path) -> str | NotInstalled:
    """Tried once per run: without a reachable index pip takes long to fail."""
    try:
        return _install(reader, work)
    except NotInstalled as error:
        return error


def _install(reader: str, work: Path) -> str:
    home = work / f"venv-{reader}"
    python, stamp = home / "bin" / "python", home / "pins.txt"
    pins = "\n".join(PINS[reader])
    if stamp.exists() and stamp.read_text() == pins:
        return str(python)
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    places = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    site_packages = sysconfig.get_paths()["purelib"]
    Path(places["purelib"], "octshard-benchmarks.pth").write_text(
        site_packages + "\n"
    )  # behind the venv's own
    _run([str(python), "-m", "pip", "install", "--quiet", "--retries", "1", *PINS[reader]])
    stamp.write_text(pins)
    return str(python)


@dataclass
class ReaderProcess:
    """A process of subprocess_run.py that answers in JSON lines. `stop` it, or use it in a `with`."""

    spec: ReaderSpec
    process: subprocess.Popen[str]
    errors: list[str]
    listener: threading.Thread

    @staticmethod
    def start(action: str, spec: ReaderSpec, work: Path) -> "ReaderProcess":
        """Starts the process, which answers when it is ready."""
        words = [python_for(spec.reader, work), str(SCRIPT), action, json.dumps(asdict(spec))]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        errors: list[str] = []
        listener = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
        listener.start()
        return ReaderProcess(spec, process, errors, listener)

    def ask(self, *question: Any) -> dict[str, Any]:
        """Sends a line and waits for the reply."""
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it has ended: `answer` raises
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line; ChildFailed with its last line on stderr if it ends instead."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.listener.join(5)  # workers that outlive it may hold its stderr open
            last_line = next((text for text in reversed(self.errors) if text.strip()), "no word")
            raise ChildFailed(f"ended with {code}: {last_line.strip()}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def stop(self) -> None:
        """Lets it end by itself, so that it stops its workers and frees its shared memory."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "ReaderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def copy(spec: ReaderSpec, work: Path) -> None:
    """The reader's own copy of the volumes, made in its environment if it is not there."""
    folder = Path(spec.folder)
    stamp = folder.with_name(folder.name + ".made")
    if stamp.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was stopped
    with ReaderProcess.start("make", spec, work) as process:
        process.answer()
    stamp.touch()


def _run(words: list[str]) -> None:
    try:
        process = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as error:
        raise NotInstalled(str(error)) from error
    if process.returncode:
        errors = [line for line in process.stderr.splitlines() if line.startswith("ERROR")] or [
            process.stderr[-200:]
        ]
        raise NotInstalled(errors[-1].removeprefix("ERROR: ").strip())

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

from loaders import Wish

TORCH = ("torch==2.9.0", "torchvision==0.24.0")
# torch and whatever else fits comes from our environment; only what is missing or differs is downloaded.
# numpy: streaming 0.13 wants less than 2.2.
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
SCRIPT = Path(__file__).with_name("child.py")


class NotInstalled(Exception):
    """Says in one line why a peer has no environment."""


class Failed(Exception):
    """Says in one line how a child ended."""


def python_for(reader: str, work: Path) -> str:
    """The interpreter that has this reader: ours, or that of a virtual environment made below `work`."""
    found = _python(reader, work) if reader in PINS else sys.executable
    if isinstance(found, NotInstalled):
        raise found
    return found


@cache
def _python(reader: str, work: Path) -> str | NotInstalled:
    """Tried once in a run: without an index to reach, pip takes its time to say so."""
    try:
        return _install(reader, work)
    except NotInstalled as why:
        return why


def _install(reader: str, work: Path) -> str:
    home = work / f"venv-{reader}"
    python, stamp = home / "bin" / "python", home / "pins.txt"
    wanted = "\n".join(PINS[reader])
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    places = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    ours = sysconfig.get_paths()["purelib"]
    Path(places["purelib"], "octshard-benchmarks.pth").write_text(ours + "\n")  # behind the venv's own
    _run([str(python), "-m", "pip", "install", "--quiet", "--retries", "1", *PINS[reader]])
    stamp.write_text(wanted)
    return str(python)


@dataclass
class Child:
    """A process of child.py that answers in JSON lines. `stop` it, or use it in a `with`."""

    wish: Wish
    process: subprocess.Popen[str]
    errors: list[str]
    listener: threading.Thread

    @staticmethod
    def start(action: str, wish: Wish, work: Path) -> "Child":
        """Starts it; it answers when it is ready."""
        words = [python_for(wish.reader, work), str(SCRIPT), action, json.dumps(asdict(wish))]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        errors: list[str] = []
        listener = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
        listener.start()
        return Child(wish, process, errors, listener)

    def ask(self, *question: Any) -> dict[str, Any]:
        """Sends a line, waits for the next."""
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it has ended: `answer` says how
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line; Failed with its last words if it ends instead."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.listener.join(5)  # workers that outlive it may hold its stderr open
            said = next((text for text in reversed(self.errors) if text.strip()), "no word")
            raise Failed(f"ended with {code}: {said.strip()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        """Lets it end by itself, so that it takes its workers and its shared memory along."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def copy(wish: Wish, work: Path) -> None:
    """The reader's own copy of the volumes, made in its environment if it is not there."""
    folder = Path(wish.folder)
    stamp = folder.with_name(folder.name + ".made")
    if stamp.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was stopped
    with Child.start("make", wish, work) as child:
        child.answer()
    stamp.touch()


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as error:
        raise NotInstalled(str(error)) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-200:]]
        raise NotInstalled(said[-1].removeprefix("ERROR: ").strip())

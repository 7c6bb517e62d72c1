"""Checks in a process of their own, so that a crash or a hang of foreign code is a line, not the end."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from octshard import pool
from octshard.doctor.checks import Check, failure

CRASHED = "a package that it loads is broken: reinstall it; if that does not help, report this line"


def checks_in_child(
    name: str, seconds: float, advice: str, function: Callable[..., list[Check]], *arguments: Any
) -> list[Check]:
    """`function(*arguments)` in a spawned process; one failure called `name` if it dies or takes too long.

    `function` is of the top of a module. What the child prints is dropped, but for the last line of one that
    dies. advice: what to do when it takes longer than `seconds`.
    """
    pool.check_script()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.NamedTemporaryFile(prefix="octshard-doctor-") as output:
        process = context.Process(
            target=_run, args=(sender, output.name, function, arguments), daemon=True, name=name
        )
        process.start()
        sender.close()  # ours: the child's end alone keeps the pipe open
        try:
            if not receiver.poll(seconds):
                return [Check(name, "fail", f"no answer within {seconds:g} s", advice)]
            result: list[Check] = receiver.recv()
            return result
        except EOFError:
            process.join()
            text = f"the process {_end(process.exitcode)}{_last_line(output.name)}"
            advice = pool.NOT_STARTED if process.exitcode == pool.IMPORTED_AGAIN else CRASHED
            return [Check(name, "fail", text, advice)]
        finally:
            process.kill()
            process.join()
            receiver.close()


def _run(
    sender: Connection, output: str, function: Callable[..., list[Check]], arguments: Sequence[Any]
) -> None:
    """The child. Sends the checks, or a failure of whatever was raised."""
    pool.init_worker()
    with open(output, "wb") as file:  # libraries write to the descriptors, not to sys.stdout
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        sender.send(function(*arguments))
    except Exception as error:  # foreign packages raise kinds of their own
        sender.send([failure(multiprocessing.current_process().name, error)])


def _end(code: int | None) -> str:
    """How a process ended, by its exit code; negative is a signal."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _last_line(output: str) -> str:
    lines = Path(output).read_text(errors="replace").split("\n")
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({text[:200]})" if text else ""

"""The standard streams of a command: a closed one is /dev/null, what cannot be said is dropped."""

import os
import sys

NAMES = ("stdin", "stdout", "stderr")


def open_closed() -> None:
    """Opens /dev/null in place of a stream that is closed.

    Else the next file that is opened would have its number, and would get what libraries print.
    """
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115 (until the end)


def stdout_problem() -> str:
    """Why stdout cannot be written, or nothing. Writes a line end to know."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def drop_unwritable() -> None:
    """A stream that cannot be written is dropped: Python would try again and change the exit code."""
    for name in NAMES[1:]:
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the end)

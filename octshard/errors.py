"""The ways in which a command stops: the work failed (exit 1), the command was wrong (exit 2), or a signal.

Bad input is none of them: it is `octshard.prep.refusals.Refused` and becomes a row.
"""

import signal

from octshard.stop_signals import SHELL_BASE


class OctshardError(Exception):
    """The work cannot go on. The message is one line: object, found, wanted, next step. Exit code 1."""


class UsageError(OctshardError):
    """The command or its config is wrong: unknown key, changed plan, missing argument. Exit code 2."""


class StoppedError(OctshardError):
    """A signal came before the end, and what was done is saved. Exit code 128 + signum."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


def exit_code(error: BaseException) -> int:
    """What a command that ends by `error` hands to the shell."""
    if isinstance(error, KeyboardInterrupt | StoppedError):
        return SHELL_BASE + int(getattr(error, "signum", signal.SIGINT))
    return 2 if isinstance(error, UsageError) else 1

"""One check of this machine: what was found, whether it will do, and what to do if it will not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from octshard.storage.errors import one_line

Status = Literal["pass", "warn", "fail"]
UNEXPECTED = "this is unexpected: please report it, with this line"


@dataclass(frozen=True)
class Check:
    """`found` and `advice` are one line each. A check that warns or fails has an advice."""

    name: str
    status: Status
    found: str
    advice: str = ""


def attempt(name: str, check: Callable[[], Check], advice: str = UNEXPECTED) -> Check:
    """`check()`; whatever it raises becomes its failure, so that the other checks go on."""
    try:
        return check()
    except Exception as error:  # foreign packages raise kinds of their own
        return failure(name, error, advice)


def failure(name: str, error: Exception, advice: str = UNEXPECTED) -> Check:
    """The check that failed by an exception."""
    return Check(name, "fail", f"{type(error).__name__}: {one_line(error)}", advice)

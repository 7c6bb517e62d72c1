"""That a library which one format needs is not there: a refusal in the same words on every machine."""

from octshard.prep.refusals import Refused


def missing_library(name: str, extra: str) -> Refused:
    """Refused `missing_library`, with what to install."""
    return Refused("missing_library", f"{name} is not installed, want the extra octshard[{extra}]")

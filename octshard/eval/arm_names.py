"""What a user may call an arm: nothing that another row of tables begins with."""

from collections.abc import Sequence

from octshard.errors import UsageError
from octshard.eval import controls
from octshard.eval.comparison import scoring
from octshard.eval.controls import slice_encoder
from octshard.eval.controls.shuffled import NAME as SHUFFLED

RESERVED = (*controls.MEANINGS, slice_encoder.PREFIX, SHUFFLED, scoring.ALL)  # how other rows begin


def check_count(names: Sequence[str], checkpoints: Sequence[str]) -> None:
    """UsageError if there are names, but not one for each checkpoint."""
    if names and len(names) != len(checkpoints):
        raise UsageError(
            f"names: {len(names)} for {len(checkpoints)} checkpoints, want one for each; checkpoints of one "
            "name are its seeds"
        )


def check(names: Sequence[str]) -> None:
    """UsageError for a name of a trained encoder that another row of tables has."""
    for name in names:
        if not name.strip() or name.startswith(RESERVED):
            raise UsageError(f"names: {name!r} is empty or called as a control is, want another name")

"""Which checkpoint a place in a run names: RUN its newest, RUN/best and RUN/best-robustness that with the
highest score.

No file is kept for a name: the .json beside each checkpoint holds its scores.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from octshard.errors import UsageError
from octshard.models import checkpoint, checkpoint_info
from octshard.models.checkpoint import DamagedCheckpoint
from octshard.models.checkpoint_info import CheckpointInfo
from octshard.storage import store

Choice = Callable[[Sequence[CheckpointInfo]], CheckpointInfo | None]
NAMES: Mapping[str, tuple[Choice, str]] = {  # how it is chosen, and by what
    "best": (checkpoint_info.best, "score"),
    "best-robustness": (checkpoint_info.best_robustness, "robustness index"),
}


def load(place: str) -> tuple[str, dict[str, Any]]:
    """The path of the checkpoint that `place` names, and its payload. Never another one in its place:

    DamagedCheckpoint if it is not whole, UsageError if there is none.
    """
    folder, _, name = place.rstrip("/").rpartition("/")
    if name not in NAMES or store.list_names(store.join(place, checkpoint.FOLDER)):  # a run of that name
        return checkpoint.load_newest(place)
    path = _path(folder or ".", name)
    while True:
        try:
            return path, checkpoint.load(path)
        except (DamagedCheckpoint, UsageError):
            if (later := _path(folder or ".", name)) == path:
                raise
            path = later  # a run wrote on, and removed this one


def _path(folder: str, name: str) -> str:
    choice, score = NAMES[name]
    infos = checkpoint.list_checkpoints(folder)
    info = choice(infos)
    if info is None:
        raise UsageError(
            f"{store.join(folder, name)}: none of the {len(infos)} checkpoints of {folder} has a {score}; "
            f"want {folder}, its newest one, or a .pt file"
        )
    return store.join(folder, checkpoint.FOLDER, info.name + ".pt")

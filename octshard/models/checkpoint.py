"""Checkpoint files: RUN/checkpoints/step-NNNNNNNN.pt, and beside it a .json with its sha256, written last."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, cast

import torch

from octshard.config.load import RENAMED_KEYS, RENAMED_VALUES, upgrade
from octshard.errors import OctshardError, UsageError
from octshard.storage import store

FORMAT = 2
# parameters that format 1 called otherwise
RENAMED_PARAMETERS = {"predictor.into.": "predictor.proj_in.", "predictor.back.": "predictor.proj_out."}
FOLDER = "checkpoints"
TARGET_ENCODER = "target_encoder."  # where its weights stand in the model's state


@dataclass(frozen=True)
class CheckpointInfo:
    """The .json beside a checkpoint. `milestone`: the first one at or past a quarter of the run; kept for
    good.
    """

    name: str
    step: int
    samples_seen: int
    sha256: str
    bytes: int
    val_loss: float | None
    milestone: bool


@dataclass(frozen=True, eq=False)
class LatestCheckpoint:
    """The newest whole checkpoint of a run, and one line on each newer one that is damaged."""

    record: CheckpointInfo
    payload: Mapping[str, Any]
    damaged: tuple[str, ...]


class DamagedCheckpoint(OctshardError):
    """A checkpoint is not what was written; an older one may do."""


def write(out: str, payload: Mapping[str, Any], val_loss: float | None, *, milestone: bool) -> CheckpointInfo:
    """Writes one checkpoint of the run folder `out`: the file, whole or not at all, then its record."""
    name = f"step-{payload['step']:08d}"
    with store.open_write(store.join(out, FOLDER, name + ".pt")) as file:
        hashing = _Hashing(file)
        torch.save(dict(payload), hashing)  # type: ignore[arg-type]
    record = CheckpointInfo(
        name,
        payload["step"],
        payload["samples_seen"],
        hashing.digest.hexdigest(),
        hashing.bytes,
        val_loss,
        milestone,
    )
    text = json.dumps(dataclasses.asdict(record), indent=1)
    store.write(store.join(out, FOLDER, name + ".json"), text.encode() + b"\n")
    return record


def records(out: str) -> list[CheckpointInfo]:
    """Every finished checkpoint of a run folder, oldest first."""
    names = [name for name in store.list_names(store.join(out, FOLDER)) if name.endswith(".json")]
    return [read_info(store.join(out, FOLDER, name)) for name in names]


def load(path: str) -> dict[str, Any]:
    """The payload of a checkpoint file, on the host; DamagedCheckpoint if its sha256 is another."""
    out, name = path.rsplit("/", 1) if "/" in path else (".", path)
    try:
        record = read_info(store.join(out, name.removesuffix(".pt") + ".json"))
        data = store.read(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no finished checkpoint here, want a .pt and its .json") from None
    if (digest := hashlib.sha256(data).hexdigest()) != record.sha256:
        raise DamagedCheckpoint(
            f"{path}: {len(data)} bytes with sha256 {digest[:12]}, want {record.bytes} with "
            f"{record.sha256[:12]}: the file is damaged; {_others(out, record)}"
        )
    payload = cast(dict[str, Any], torch.load(BytesIO(data), map_location="cpu", weights_only=True))
    if payload["format"] == 1:
        payload = _upgrade(payload)
    if payload["format"] != FORMAT:
        raise UsageError(f"{path}: checkpoint of format {payload['format']}, want {FORMAT}")
    return payload


def latest(out: str) -> LatestCheckpoint | None:
    """The newest whole checkpoint of a run folder; None if it has none yet; Damaged if all are."""
    damaged: list[str] = []
    for record in reversed(records(out)):
        path = store.join(out, FOLDER, record.name + ".pt")
        try:
            if not store.exists(path):
                raise DamagedCheckpoint(f"{path}: gone, want it beside its .json; remove the .json too")
            return LatestCheckpoint(record, load(path), tuple(damaged))
        except (
            DamagedCheckpoint
        ) as error:  # an unreachable store or another format is no damage: those are raised
            damaged.append(str(error))
    if damaged:
        raise DamagedCheckpoint(
            f"{out}: all {len(damaged)} checkpoints are damaged, want a whole one; {damaged[0]}"
        )
    return None


def read_info(url: str) -> CheckpointInfo:
    try:
        return CheckpointInfo(**json.loads(store.read(url)))
    except (ValueError, TypeError) as error:
        raise OctshardError(f"{url}: not a checkpoint's record ({error}); remove it and its .pt") from error


def _upgrade(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload of format 1, which octshard 0.1 wrote, in today's names; the numbers are the same."""
    values = {RENAMED_KEYS.get(key, key): value for key, value in payload["result_values"].items()}
    values = {
        key: RENAMED_VALUES.get((key, value), value) if isinstance(value, str) else value
        for key, value in values.items()
    }
    model = {}
    for name, tensor in payload["model"].items():
        prefix = next((old for old in RENAMED_PARAMETERS if name.startswith(old)), "")
        model[RENAMED_PARAMETERS.get(prefix, "") + name.removeprefix(prefix)] = tensor
    return {
        **payload,
        "format": FORMAT,
        "config": upgrade(payload["config"]),
        "result_values": values,
        "model": model,
    }


def _others(folder: str, damaged: CheckpointInfo) -> str:
    """What else stands, for the error line."""
    names = [name for name in store.list_names(folder) if name.endswith(".pt")]
    older = [name for name in names if name < damaged.name]
    return f"older ones that stand: {', '.join(older)}" if older else "no older one stands"


class _Hashing:
    """Passes bytes on to a file, counting and digesting them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

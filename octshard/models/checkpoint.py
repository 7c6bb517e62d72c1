"""Checkpoint files: RUN/checkpoints/step-NNNNNNNN.pt, and beside it a .json with its sha256, written last."""

import contextlib
import dataclasses
import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import torch

from octshard.config.load import RENAMED_KEYS, RENAMED_VALUES, upgrade
from octshard.errors import OctshardError, UsageError
from octshard.models.checkpoint_info import CheckpointInfo, CheckpointScore, with_score
from octshard.storage import json_object, store

FORMAT = 2
# parameters whose names differ in format 1: old -> new prefix
RENAMED_PARAMETERS = {"predictor.into.": "predictor.proj_in.", "predictor.back.": "predictor.proj_out."}
FOLDER = "checkpoints"
ENCODER, TARGET_ENCODER = "encoder.", "target_encoder."  # prefixes of their weights in the model's state
NAME = re.compile(r"step-(\d{8,})\.(?:pt|json)")
CONTENT = {
    "format": int,
    "step": int,
    "samples_seen": int,
    "config": str,
    "model": Mapping,
}  # of every payload
UNREADABLE = (  # what torch.load raises on bytes that are no checkpoint; EOFError on none at all
    EOFError, pickle.UnpicklingError, RuntimeError, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LatestCheckpoint:
    """The newest whole checkpoint of a run, and one line on each newer one that is damaged."""

    info: CheckpointInfo
    payload: Mapping[str, Any]
    damaged: tuple[str, ...]


class DamagedCheckpoint(OctshardError):
    """A checkpoint differs from what was written; an older one may be whole."""


def write(
    out: str,
    payload: Mapping[str, Any],
    val_loss: float | None,
    score: CheckpointScore | None = None,
    *,
    milestone: bool,
) -> CheckpointInfo:
    """Writes one checkpoint of the run folder `out`: the file, atomically, then its .json."""
    name = f"step-{payload['step']:08d}"
    with store.open_write(store.join(out, FOLDER, name + ".pt")) as file:
        hashed_file = _HashingFile(file)
        try:
            torch.save(dict(payload), hashed_file)  # type: ignore[arg-type]
        except RuntimeError as error:  # torch's own after a failed write, a full disk for example
            raise hashed_file.error or error from None
    info = CheckpointInfo(
        name,
        payload["step"],
        payload["samples_seen"],
        hashed_file.digest.hexdigest(),
        hashed_file.bytes,
        val_loss,
        milestone,
    )
    return write_info(out, with_score(info, score))


def write_info(out: str, info: CheckpointInfo) -> CheckpointInfo:
    """Writes the .json of a checkpoint of the run folder `out`."""
    text = json.dumps(dataclasses.asdict(info), indent=1)
    store.write(store.join(out, FOLDER, info.name + ".json"), text.encode() + b"\n")
    return info


def list_checkpoints(out: str) -> list[CheckpointInfo]:
    """Every finished checkpoint of a run folder, oldest first."""
    infos = []
    for name in store.list_names(store.join(out, FOLDER)):
        if name.endswith(".json"):
            with contextlib.suppress(FileNotFoundError):  # removed since: a run keeps only some
                infos.append(read_info(store.join(out, FOLDER, name)))
    return sorted(infos, key=lambda info: info.step)


def load(path: str) -> dict[str, Any]:
    """The payload of a checkpoint file, on the host; DamagedCheckpoint if its sha256 differs.

    UsageError if the file or its .json is missing, or its format is unknown. Both name the older ones.
    """
    try:
        return _load(path)
    except (DamagedCheckpoint, UsageError) as error:
        folder, name = path.rsplit("/", 1) if "/" in path else (".", path)
        raise type(error)(f"{error}; {_older_line(folder, name.removesuffix('.pt'))}") from error


def _load(path: str) -> dict[str, Any]:
    folder, name = path.rsplit("/", 1) if "/" in path else (".", path)
    try:
        info = read_info(store.join(folder, name.removesuffix(".pt") + ".json"))
        data, digest = store.read_checked(path, lambda data: _other_digest(data, info.sha256))
    except FileNotFoundError:
        problem = "its .json is missing: a run writes it last" if store.exists(path) else "no such file"
        raise UsageError(
            f"{path}: no finished checkpoint here, want a .pt and its .json ({problem})"
        ) from None
    if digest:
        raise DamagedCheckpoint(
            f"{path}: {len(data)} bytes with sha256 {digest[:12]}, want {info.bytes} with "
            f"{info.sha256[:12]}: the file is damaged"
        )
    payload = _content(path, data)
    if payload["format"] == 1:
        try:
            payload = _upgrade(payload, path)
        except (LookupError, TypeError, AttributeError) as error:
            raise DamagedCheckpoint(
                f"{path}: not as octshard 0.1 wrote it ({type(error).__name__})"
            ) from error
    if payload["format"] != FORMAT:
        raise UsageError(f"{path}: checkpoint of format {payload['format']}, want {FORMAT}")
    return payload


def latest(out: str) -> LatestCheckpoint | None:
    """The newest whole checkpoint of a run folder; None if it has none yet; DamagedCheckpoint if all are."""
    damaged: list[str] = []
    for info in reversed(list_checkpoints(out)):
        path = store.join(out, FOLDER, info.name + ".pt")
        try:
            if not store.exists(path):
                raise DamagedCheckpoint(f"{path}: gone, want it beside its .json; remove the .json too")
            return LatestCheckpoint(info, _load(path), tuple(damaged))
        except DamagedCheckpoint as error:  # an unreachable store or another format raises other errors
            damaged.append(str(error))
    if damaged:
        raise DamagedCheckpoint(
            f"{out}: all {len(damaged)} checkpoints are damaged, want a whole one; {damaged[0]}"
        )
    return None


def load_newest(out: str) -> tuple[str, dict[str, Any]]:
    """The path of the newest checkpoint of a run folder, and its payload. Never an older one in its place:

    DamagedCheckpoint if it is not whole, UsageError if there is none.
    """
    name = _newest_name(out)
    while True:
        path = store.join(out, FOLDER, name + ".pt")
        try:
            payload = _load(path)
            if payload["step"] != int(name.removeprefix("step-")):
                raise DamagedCheckpoint(f"{path}: holds step {payload['step']}, want that of its name")
            return path, payload
        except (DamagedCheckpoint, UsageError) as error:
            if (later := _newest_name(out)) != name:  # a run wrote on, and removed this one
                name = later
                continue
            raise type(error)(f"{error}; {_older_line(store.join(out, FOLDER), name)}") from error


def _newest_name(out: str) -> str:
    matches = filter(None, map(NAME.fullmatch, store.list_names(store.join(out, FOLDER))))
    steps = [int(match[1]) for match in matches]
    if not steps:
        raise UsageError(
            f"{out}: no checkpoint here, want a .pt file, the run.out of a training run, "
            "or a folder of octshard export"
        )
    return f"step-{max(steps):08d}"


def _content(path: str, data: bytes) -> dict[str, Any]:
    """The payload in the bytes of a checkpoint; DamagedCheckpoint if they hold none."""
    try:
        payload = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise DamagedCheckpoint(
            f"{path}: {len(data)} bytes that torch cannot load ({type(error).__name__}), want a checkpoint"
        ) from error
    values = payload if isinstance(payload, dict) else {}
    for key, kind in CONTENT.items():
        if not isinstance(values.get(key), kind):
            raise DamagedCheckpoint(f"{path}: holds no {key}, want a checkpoint of octshard train")
    return values


def read_info(url: str) -> CheckpointInfo:
    """The .json at `url`; DamagedCheckpoint if it is not one of a checkpoint."""
    try:
        return json_object.as_record(json_object.read(url), CheckpointInfo, url)
    except json_object.DamagedJson as error:
        raise DamagedCheckpoint(f"{error}; not a checkpoint's record: remove it and its .pt") from error


def _other_digest(data: bytes, sha256: str) -> str:
    """The sha256 of the bytes where it is another one."""
    return "" if (digest := hashlib.sha256(data).hexdigest()) == sha256 else digest


def _upgrade(payload: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """A payload of format 1 (octshard 0.1) with the names of format 2; the numbers are the same."""
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
        "config": upgrade(payload["config"], origin),
        "result_values": values,
        "model": model,
    }


def _older_line(folder: str, name: str) -> str:
    """For an error line: the checkpoints of a folder that are older than `name`."""
    older = sorted(entry for entry in store.list_names(folder) if entry.endswith(".pt") and entry < name)
    if not older:
        return "no older one stands beside it"
    others = f" ({len(older) - 1} more stand beside it)" if older[1:] else ""
    return f"to take an older one, name its file: {store.join(folder, older[-1])}{others}"


class _HashingFile:
    """Writes to a file and counts and hashes the bytes. error: that of a write that failed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.bytes = file, hashlib.sha256(), 0
        self.error: Exception | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        try:
            return self._file.write(data)
        except Exception as error:  # kept, as torch replaces it by one of its own
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()

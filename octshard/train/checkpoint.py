"""What a run keeps: RUN/checkpoints/step-NNNNNNNN.pt, and beside it a .json with its sha256, written last.

A checkpoint without its .json does not exist; one that its sha256 denies is never loaded. Files load with
`weights_only=True` and fit every backend. Writing goes on in one background thread.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any, BinaryIO, cast

import torch
from torch import nn

from octshard.config import fields
from octshard.config.load import load as load_config
from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.storage import store
from octshard.train.order import StreamPosition
from octshard.train.vit import Encoder

FORMAT = 1
FOLDER = "checkpoints"
TARGET_ENCODER = "target_encoder."  # where its weights stand in the model's state


@dataclass
class TrainState:
    """All that changes in a run; the only mutable value. `samples_seen` is cumulative, `position` is the
    stream's.
    """

    step: int
    samples_seen: int
    position: StreamPosition
    model: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Record:
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
class Found:
    """The newest whole checkpoint of a run, and one line on each newer one that is damaged."""

    record: Record
    payload: Mapping[str, Any]
    damaged: tuple[str, ...]


def payload_of(state: TrainState, cfg: TrainConfig, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds: tensors and plain values only. `data` says what was streamed."""
    return {
        "format": FORMAT,
        "config": save(cfg),
        "result_values": fields.result_values(cfg),
        "digest": fields.digest(cfg),
        "data": dict(data),
        "step": state.step,
        "samples_seen": state.samples_seen,
        "position": list(state.position),
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }


def restore(payload: Mapping[str, Any], state: TrainState) -> None:
    """Puts a payload into `state`, whose model and optimizer were built from the same config."""
    state.model.load_state_dict(payload["model"])
    saved, own = payload["optimizer"], state.optimizer.param_groups
    # whether AdamW is fused belongs to the device, not to the run
    groups = [{**a, "fused": b["fused"]} for a, b in zip(saved["param_groups"], own, strict=True)]
    state.optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    state.step, state.samples_seen = payload["step"], payload["samples_seen"]
    state.position = StreamPosition(*payload["position"])


class Damaged(OctshardError):
    """A checkpoint is not what was written; an older one may do."""


class Saver:
    """Writes one payload at a time, in the background; its error comes out of the next `save` or of the
    end.
    """

    def __init__(self, out: str, keep_last: int) -> None:
        self._out, self._keep_last = out, keep_last
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._running: Future[Record] | None = None

    def save(self, payload: Mapping[str, Any], val_loss: float | None, *, milestone: bool) -> None:
        """Begins to write `payload`, whose tensors must be nobody else's; waits for the one before."""
        self.wait()
        self._running = self._pool.submit(self._write, payload, val_loss, milestone)

    def wait(self) -> Record | None:
        """Until what was begun stands; None if nothing was. Raises what its writing raised."""
        running, self._running = self._running, None
        return running.result() if running else None

    def close(self) -> None:
        """Lets a write that goes on finish; the error of one is raised by `wait`, not here."""
        self._pool.shutdown()

    def _write(self, payload: Mapping[str, Any], val_loss: float | None, milestone: bool) -> Record:
        record = write(self._out, payload, val_loss, milestone=milestone)
        prune(self._out, self._keep_last)
        return record


@contextmanager
def saving(out: str, keep_last: int) -> Iterator[Saver]:
    """A Saver; leaving the block well waits until everything stands."""
    saver = Saver(out, keep_last)
    try:
        yield saver
        saver.wait()
    finally:
        saver.close()


def write(out: str, payload: Mapping[str, Any], val_loss: float | None, *, milestone: bool) -> Record:
    """Writes one checkpoint of the run folder `out`: the file, whole or not at all, then its record."""
    name = f"step-{payload['step']:08d}"
    with store.create(store.join(out, FOLDER, name + ".pt")) as file:
        hashing = _Hashing(file)
        torch.save(dict(payload), hashing)  # type: ignore[arg-type]
    record = Record(
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


def records(out: str) -> list[Record]:
    """Every finished checkpoint of a run folder, oldest first."""
    names = [name for name in store.list_names(store.join(out, FOLDER)) if name.endswith(".json")]
    return [_record(store.join(out, FOLDER, name)) for name in names]


def kept(found: Sequence[Record], keep_last: int) -> set[str]:
    """Names to keep: the last one and `keep_last` before it, the best by validation loss, the milestones."""
    keep = {record.name for record in found[-1 - keep_last :]} | {r.name for r in found if r.milestone}
    judged = [record for record in found if record.val_loss is not None]
    if judged:
        keep.add(min(judged, key=lambda record: cast(float, record.val_loss)).name)
    return keep


def prune(out: str, keep_last: int) -> None:
    """Removes what `kept` does not name, the record first, so that a cut never looks like damage."""
    found = records(out)
    keep = kept(found, keep_last)
    for record in found:
        if record.name not in keep:
            store.remove(store.join(out, FOLDER, record.name + ".json"))
            store.remove(store.join(out, FOLDER, record.name + ".pt"))


def sweep(out: str) -> None:
    """Under the lock: removes what killed runs left, half-written files and weights without a record."""
    folder = store.join(out, FOLDER)
    store.sweep(folder)
    names = set(store.list_names(folder))
    for name in names:
        if name.endswith(".pt") and name.removesuffix(".pt") + ".json" not in names:
            store.remove(store.join(folder, name))


def load(path: str) -> dict[str, Any]:
    """The payload of a checkpoint file, on the host. Damaged if it is not byte for byte what was written."""
    out, name = path.rsplit("/", 1) if "/" in path else (".", path)
    try:
        record = _record(store.join(out, name.removesuffix(".pt") + ".json"))
        data = store.read(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no finished checkpoint here, want a .pt and its .json") from None
    if (digest := hashlib.sha256(data).hexdigest()) != record.sha256:
        raise Damaged(
            f"{path}: {len(data)} bytes with sha256 {digest[:12]}, want {record.bytes} with "
            f"{record.sha256[:12]}: the file is damaged; {_others(out, record)}"
        )
    payload = cast(dict[str, Any], torch.load(BytesIO(data), map_location="cpu", weights_only=True))
    if payload["format"] != FORMAT:
        raise UsageError(f"{path}: checkpoint of format {payload['format']}, want {FORMAT}")
    return payload


def newest(out: str) -> Found | None:
    """The newest whole checkpoint of a run folder; None if it has none yet; Damaged if all are."""
    damaged: list[str] = []
    for record in reversed(records(out)):
        path = store.join(out, FOLDER, record.name + ".pt")
        try:
            if not store.exists(path):
                raise Damaged(f"{path}: gone, want it beside its .json; remove the .json too")
            return Found(record, load(path), tuple(damaged))
        except Damaged as error:  # an unreachable store or another format is no damage: those are raised
            damaged.append(str(error))
    if damaged:
        raise Damaged(f"{out}: all {len(damaged)} checkpoints are damaged, want a whole one; {damaged[0]}")
    return None


def load_encoder(path_or_run: str) -> tuple[Encoder, TrainConfig, str]:
    """The target encoder of a checkpoint file, or of a run folder's newest: (encoder, config, sha256 of the
    file).
    """
    if path_or_run.endswith(".pt"):
        payload, record = load(path_or_run), _record(path_or_run.removesuffix(".pt") + ".json")
    else:
        found = newest(path_or_run)
        if found is None:
            raise UsageError(
                f"{path_or_run}: no checkpoint here, want a .pt file or the run.out of a training run"
            )
        payload, record = dict(found.payload), found.record
    cfg = load_config(TrainConfig, [StringIO(payload["config"])])  # type: ignore[list-item]  # OmegaConf reads both
    encoder = Encoder(cfg.model)
    weights = {
        name.removeprefix(TARGET_ENCODER): tensor
        for name, tensor in payload["model"].items()
        if name.startswith(TARGET_ENCODER)
    }
    encoder.load_state_dict(weights)
    return encoder.eval(), cfg, record.sha256


def random_encoder(cfg: TrainConfig, seed: int) -> Encoder:
    """An encoder of the same form that has learned nothing: the control of every probe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(cfg.model).eval()


def _record(url: str) -> Record:
    try:
        return Record(**json.loads(store.read(url)))
    except (ValueError, TypeError) as error:
        raise OctshardError(f"{url}: not a checkpoint's record ({error}); remove it and its .pt") from error


def _others(folder: str, damaged: Record) -> str:
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

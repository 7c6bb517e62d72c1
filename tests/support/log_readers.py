"""What the files of W&B and TensorBoard hold, read by a second way: their formats, not what wrote them."""

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

WANDB_FILES = "wandb/*-run-*/*.wandb"
BLOCK, HEAD = 2**15, 7  # of a .wandb file, which is a LevelDB log: crc32, length, kind of fragment


class WandbFile(NamedTuple):
    """A transaction log: rows in order, and the run as it was declared and updated."""

    rows: list[dict[str, Any]]
    name: str
    run_id: str
    tags: list[str]
    config: dict[str, Any]
    axes: dict[str, str]  # name or glob of a metric -> its x axis
    artifacts: list[tuple[str, list[str]]]
    exit_code: int | None


class TensorboardFolder(NamedTuple):
    """After the purge that restarts ask for. lines: samples_seen -> name -> number."""

    lines: dict[int, dict[str, float]]
    pictures: dict[tuple[str, int], bytes]
    texts: dict[str, list[tuple[int, str]]]


def read_wandb(out: Path) -> list[WandbFile]:
    """Every offline file of a run folder, oldest first. W&B writes the last bytes when its process ends."""
    import wandb

    wandb.teardown()
    return [_read_run(path) for path in sorted(out.glob(WANDB_FILES))]


def count_rows(out: Path) -> int:
    """How many rows W&B's own process has written by now."""
    from wandb.proto import wandb_internal_pb2

    parse = wandb_internal_pb2.Record.FromString
    records = [parse(data) for path in out.glob(WANDB_FILES) for data in _log_records(path.read_bytes())]
    return sum(record.WhichOneof("record_type") == "history" for record in records)


def _read_run(path: Path) -> WandbFile:
    from wandb.proto import wandb_internal_pb2

    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    axes: dict[str, str] = {}
    artifacts: list[tuple[str, list[str]]] = []
    run, exit_code = None, None
    for data in _log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            rows.append(_row(record.history.item))
        elif kind == "run":
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "metric":
            axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            artifact = record.request.log_artifact.artifact
            artifacts.append((artifact.name, sorted(item.path for item in artifact.manifest.contents)))
        elif kind == "artifact":
            artifacts.append(
                (record.artifact.name, sorted(item.path for item in record.artifact.manifest.contents))
            )
        elif kind == "exit":
            exit_code = record.exit.exit_code
    assert run is not None
    return WandbFile(rows, run.display_name, run.run_id, sorted(run.tags), config, axes, artifacts, exit_code)


def _row(items: Iterable[Any]) -> dict[str, Any]:
    """Without what W&B adds. A value in a value has the names of both."""
    row: dict[str, Any] = {}
    for item in items:
        *groups, name = item.nested_key or [item.key]
        values = row
        for group in groups:
            values = values.setdefault(group, {})
        values[name] = json.loads(item.value_json)
    return {name: value for name, value in row.items() if not name.startswith("_")}


def _log_records(data: bytes) -> Iterator[bytes]:
    parts, at = b"", HEAD  # the file has a head of its own, inside the first block
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        _, length, fragment = struct.unpack_from("<IHB", data, at)
        at += HEAD + length
        if at > len(data):  # not all of it is written
            return
        if fragment == 0:  # padding behind a kill
            continue
        parts += data[at - length : at]
        if fragment in (1, 4):  # whole, or last
            yield parts
            parts = b""


def read_tensorboard(out: Path) -> TensorboardFolder:
    """As TensorBoard itself reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    reader = EventAccumulator(
        str(out / "tensorboard"), size_guidance=dict.fromkeys(("scalars", "tensors", "images"), 0)
    )
    reader.Reload()
    lines: dict[int, dict[str, float]] = {}
    texts: dict[str, list[tuple[int, str]]] = {}
    for tag in reader.Tags()["scalars"]:
        for event in reader.Scalars(tag):
            assert tag not in lines.setdefault(event.step, {}), f"{tag} twice at {event.step}"
            lines[event.step][tag] = event.value
    for tag in reader.Tags()["tensors"]:
        for event in reader.Tensors(tag):
            text = tensor_util.make_ndarray(event.tensor_proto).item().decode()
            texts.setdefault(tag, []).append((event.step, text))
    pictures = {
        (tag, event.step): event.encoded_image_string
        for tag in reader.Tags()["images"]
        for event in reader.Images(tag)
    }
    return TensorboardFolder(lines, pictures, texts)

"""Event files in RUN/tensorboard, with samples_seen as their step. The only tensorboard import.

Numbers are simple values of single precision, as most programs that read such files want them.

Each process of a run begins a file of its own; its first event tells TensorBoard to drop what earlier files
have after the checkpoint. In a remote run.out a file is written whole, and the next one begun, at every
`flush`.
"""

import errno
import json
import re
import time
from collections.abc import Iterable, Iterator
from io import BytesIO, RawIOBase
from typing import Any

from PIL import Image

from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.extras import install_advice
from octshard.storage import local, store
from octshard.train.run_identity import RunIdentity
from octshard.train.sinks.sink import AXIS, Picture, Sink, Values

FOLDER = "tensorboard"
FILE_NAME = "events.out.tfevents.{:08d}.octshard"  # readers take them in the order of their names
FILE = re.compile(r"events\.out\.tfevents\.(\d{8,})\.octshard")
VERSION = "brain.Event:2"  # with it readers obey the event of a restart


def check(cfg: TrainConfig) -> None:
    """UsageError if tensorboard is asked for and not here."""
    if not cfg.run.tensorboard:
        return
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise UsageError(
            f"run.tensorboard=true: tensorboard is not here; {install_advice('tensorboard')} or "
            f"run.tensorboard=false"
        ) from None


class TensorboardFile(Sink):
    """Writes one event for each line; what is no number is text."""

    def __init__(self, out: str, identity: RunIdentity, samples_seen: int) -> None:
        self._folder, self._remote = store.join(out, FOLDER), store.is_remote(out)
        self._head = list(_restart(identity, samples_seen))  # events that are still to be written
        self._last = samples_seen
        self._file: RawIOBase | None = None
        self._buffer: list[bytes] = []  # of a remote file

    def write(self, values: Values) -> None:
        """One event. `step` is left out where an earlier event has it: two lines of one step, a late line."""
        later = values[AXIS] > self._last
        self._last = max(self._last, values[AXIS])
        left_out = {AXIS} if later else {AXIS, "step"}
        items = [_value(name, value) for name, value in values.items() if name not in left_out]
        self._write(_event(values[AXIS], filter(None, items)))

    def write_picture(self, picture: Picture) -> None:
        """The PNG as it is."""
        self._write(_event(picture.samples_seen, [_image(picture)]))

    def flush(self) -> None:
        """Puts a remote file. A local one has no buffer."""
        if self._buffer:
            store.write(self._next_url(), b"".join([_record(_version()), *self._buffer]))
            self._buffer.clear()

    def close(self, exit_code: int) -> None:
        """Ends the file."""
        self.flush()
        if self._file is not None:
            self._file.close()

    def _write(self, event: Any) -> None:
        data = b"".join(map(_record, [*self._head, event]))
        if self._remote:
            self._buffer.append(data)
        else:
            self._append(data)
        self._head.clear()

    def _append(self, data: bytes) -> None:
        """After an error a new file is begun: readers pass from a half record to the next file."""
        if self._file is None:
            url = self._next_url()
            with local.one_line_errors(url):
                store.local_path(url).parent.mkdir(parents=True, exist_ok=True)
                self._file = open(store.local_path(url), "xb", buffering=0)  # noqa: SIM115 (for the whole run)
            data = _record(_version()) + data
        file, self._file = self._file, None
        with local.one_line_errors(self._folder):
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, "the event does not fit")
        self._file = file

    def _next_url(self) -> str:
        matches = filter(None, map(FILE.fullmatch, store.list_names(self._folder)))
        number = 1 + max((int(match[1]) for match in matches), default=0)
        return store.join(self._folder, FILE_NAME.format(number))


def _restart(identity: RunIdentity, samples_seen: int) -> Iterator[Any]:
    """Drops what was seen after `samples_seen`, and says what the run is from there on."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    event = _event(samples_seen + 1)
    event.session_log.status = SessionLog.START
    yield event
    config = json.dumps(dict(identity.config), indent=1, default=str)
    texts = {"name": identity.name, "tags": ", ".join(identity.tags), "config": f"```\n{config}\n```"}
    yield _event(samples_seen + 1, [_text(name, text) for name, text in texts.items()])


def _record(event: Any) -> bytes:
    """As it stands in a file: length, event, checksums."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue()


def _version() -> Any:
    event = _event(0)
    event.file_version = VERSION
    return event


def _event(samples_seen: int, values: Iterable[Any] = ()) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=values)
    return Event(wall_time=time.time(), step=samples_seen, summary=summary if summary.value else None)


def _value(name: str, value: Any) -> Any:
    """A number as a scalar, anything else as text; None for None."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    if value is None:
        return None
    if not isinstance(value, int | float):
        return _text(name, value if isinstance(value, str) else json.dumps(value))
    return Summary.Value(tag=name, simple_value=value)


def _text(name: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.text import metadata

    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    return Summary.Value(tag=name, tensor=tensor, metadata=metadata.create_summary_metadata("", ""))


def _image(picture: Picture) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = Image.open(BytesIO(picture.png)).size
    image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=picture.png)
    return Summary.Value(tag=picture.name, image=image)

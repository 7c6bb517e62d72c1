"""metrics.jsonl: one line of JSON for every line of the log, cut back to the checkpoint on resume.

The only sink whose failure ends the run.
"""

import errno
import json
import logging
import math
from typing import Any

from octshard.storage import json_object, lease, local, store
from octshard.storage.json_object import DamagedJson
from octshard.train.sinks.sink import Sink, Values

logger = logging.getLogger(__name__)


class MetricsFile(Sink):
    """Appends lines; local ones are written one by one, a remote file is written whole at every `flush`.

    lines: what a remote file holds already.
    """

    def __init__(self, url: str, lines: list[str]) -> None:
        self._url = url
        self._lines = lines if store.is_remote(url) else None
        self._file = None
        if self._lines is None:
            # unbuffered: a line that does not fit on the disk is not tried again when the file is closed
            self._file = open(store.local_path(url), "ab", buffering=0)  # noqa: SIM115 (open for the whole run)

    def write(self, values: Values) -> None:
        """One line. What JSON cannot hold (nan, inf) is written as null."""
        line = json.dumps(_plain(values), allow_nan=False)
        if self._file is not None:
            data = line.encode() + b"\n"
            with local.one_line_errors(self._url):
                if self._file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, "the line does not fit")
        elif self._lines is not None:
            lease.seconds_left(self._url)  # a run that lost its folder ends here, not at its next checkpoint
            self._lines.append(line)

    def flush(self) -> None:
        """Writes a remote file whole."""
        if self._lines is not None:
            store.write(self._url, _text(self._lines))

    def close(self, exit_code: int) -> None:
        """Ends the file."""
        self.flush()
        if self._file is not None:
            self._file.close()


def truncate_after(url: str, last_step: int) -> list[str]:
    """Rewrites a metrics file without lines after `last_step` and without an incomplete last line.

    Returns the lines that stay. Damaged lines do not; a warning names the first.
    """
    lines, damage = [], []
    for number, data in enumerate(_whole_lines(url), start=1):
        try:
            if _parse(data, f"{url} line {number}")["step"] <= last_step:
                lines.append(data.decode(errors="replace"))
        except DamagedJson as error:
            damage.append(str(error))
    if damage:
        logger.warning("%s; left out, as are %d more", damage[0], len(damage) - 1)
    store.write(url, _text(lines))
    return lines


def read(url: str) -> list[dict[str, Any]]:
    """The lines of a metrics file; DamagedJson names the first that is none."""
    return [_parse(data, f"{url} line {number}") for number, data in enumerate(_whole_lines(url), start=1)]


def _text(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def _whole_lines(url: str) -> list[bytes]:
    """Without what is behind the last line end: a line that a kill cut short."""
    try:
        return store.read(url).split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _parse(data: bytes, name: str) -> dict[str, Any]:
    values = json_object.parse(data, name)
    if not isinstance(values.get("step"), int):
        raise DamagedJson(f"{name}: step {values.get('step')!r:.99}, want a number")
    return values


def _plain(value: Any) -> Any:
    """`value`, with None for each float that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value

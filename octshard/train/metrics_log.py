"""The metrics of a run: metrics.jsonl in its folder, and W&B if run.wandb says so. The only wandb import.

Every line holds its step; on resume the file is cut back to the checkpoint, so that no step is there twice.
Only the first process has a log that writes.
"""

import errno
import json
import logging
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

from octshard.config import fields
from octshard.config.train import TrainConfig
from octshard.errors import UsageError, exit_code
from octshard.extras import install_advice
from octshard.storage import json_object, lease, local, store
from octshard.storage.json_object import DamagedJson

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
WANDB_ID = "wandb-id.txt"
WANDB_ID_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")
Values = Mapping[str, Any]


class MetricsLog:
    """Appends lines; local ones are written one by one, a remote file is written whole at every `flush`."""

    def __init__(self, url: str, lines: list[str], wandb_run: Any) -> None:
        self._url, self._wandb = url, wandb_run
        self.exit_code = 0  # of the command, for W&B
        self._lines = lines if store.is_remote(url) else None
        self._file = None
        if url and self._lines is None:
            # unbuffered: a line that does not fit on the disk is not tried again when the file is closed
            self._file = open(store.local_path(url), "ab", buffering=0)  # noqa: SIM115 (open for the whole run)

    def write(self, values: Values) -> None:
        """One line; `values` holds `step`. What JSON cannot hold (nan, inf) is written as null."""
        line = json.dumps({name: _plain(value) for name, value in values.items()}, allow_nan=False)
        if self._file is not None:
            data = line.encode() + b"\n"
            with local.one_line_errors(self._url):
                if self._file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, "the line does not fit")
        elif self._lines is not None:
            lease.seconds_left(self._url)  # a run that lost its folder ends here, not at its next checkpoint
            self._lines.append(line)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=values["step"])

    def flush(self) -> None:
        """Writes a remote metrics file whole; called at every checkpoint."""
        if self._lines is not None:
            store.write(self._url, "".join(line + "\n" for line in self._lines).encode())

    def close(self) -> None:
        """Ends the file."""
        self.flush()
        if self._file is not None:
            self._file.close()

    def finish(self) -> None:
        """Ends the W&B run: as finished if exit_code is 0, else as failed."""
        if self._wandb is not None:
            self._wandb.finish(exit_code=self.exit_code)


def null_log() -> MetricsLog:
    """A log that writes nothing: for every process but the first."""
    return MetricsLog("", [], None)


@contextmanager
def open_log(cfg: TrainConfig, last_step: int) -> Iterator[MetricsLog]:
    """The log of run.out, cut back to `last_step`; the W&B run of the same id is continued."""
    url = store.join(cfg.run.out, METRICS)
    lines = truncate_after(url, last_step)
    log = MetricsLog(url, lines, _open_wandb(cfg))
    try:
        try:
            yield log
        finally:
            log.close()
    except BaseException as error:
        log.exit_code = exit_code(error)
        raise
    finally:
        log.finish()


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
    store.write(url, "".join(line + "\n" for line in lines).encode())
    return lines


def read(out: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics file; DamagedJson names the first that is none."""
    url = store.join(out, METRICS)
    return [_parse(data, f"{url} line {number}") for number, data in enumerate(_whole_lines(url), start=1)]


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


def _open_wandb(cfg: TrainConfig) -> Any:
    if cfg.run.wandb == "off":
        return None
    try:
        import wandb
    except ImportError:
        raise UsageError(
            f"run.wandb={cfg.run.wandb}: wandb is not here; {install_advice('wandb')} or run.wandb=off"
        ) from None
    return wandb.init(
        project=cfg.run.wandb_project,
        id=_wandb_id(cfg.run.out),
        resume="allow",
        mode=cast(Literal["offline", "online"], cfg.run.wandb),
        dir=None if store.is_remote(cfg.run.out) else cfg.run.out.removeprefix("file://"),
        config=fields.result_values(cfg),
        allow_val_change=True,  # of the config, by --accept-changes
    )


def _wandb_id(out: str) -> str:
    """The run's W&B id, made once and kept in the run folder."""
    url = store.join(out, WANDB_ID)
    try:
        wandb_id = store.read(url).decode("ascii", "replace").strip()
        if WANDB_ID_FORM.fullmatch(wandb_id):
            return wandb_id
        logger.warning("%s: %.20r is no id, so W&B gets a new run", url, wandb_id)
    except FileNotFoundError:
        pass
    wandb_id = uuid.uuid4().hex[:12]
    store.write(url, wandb_id.encode())
    return wandb_id


def _plain(value: Any) -> Any:
    """`value`, or None for a float that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

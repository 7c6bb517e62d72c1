"""What a run is called where it is logged: its name, made once and kept in run.json; tags; settings."""

import datetime
import json
import logging
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import octshard
from octshard.config import fields
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.storage import json_object, store
from octshard.storage.json_object import DamagedJson
from octshard.train.inputs import RunInputs

logger = logging.getLogger(__name__)

FILE = "run.json"
MAX_TAG = 64  # characters; W&B takes no more
MAX_EXPERIMENT = 80  # of W&B's 128 for the whole name
GIT_S = 10.0  # git answers at once, or its disk hangs


@dataclass(frozen=True)
class RunIdentity:
    """name: `<experiment>-<date>-<git sha>`. config: what changes the result, and the digest of the data."""

    name: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]


def check(cfg: TrainConfig) -> None:
    """UsageError if a tag or the name could not be logged."""
    for tag in cfg.run.tags:
        if not 0 < len(tag.strip()) <= MAX_TAG or not tag.isprintable():
            raise UsageError(f"run.tags: {tag!r:.99}, want 1 to {MAX_TAG} printable characters")
    if len(cfg.run.name) > MAX_EXPERIMENT or not cfg.run.name.isprintable():
        raise UsageError(f"run.name={cfg.run.name!r:.99}: want at most {MAX_EXPERIMENT} printable characters")


def identify(cfg: TrainConfig, inputs: RunInputs, init_from: Mapping[str, Any] | None) -> RunIdentity:
    """That of the run in run.out; run.json says the same. init_from: what its weights began as."""
    devices = sorted({sample.row.device[:MAX_TAG] for sample in inputs.index.samples})
    tags = tuple(dict.fromkeys([*devices, cfg.objective.name, *cfg.run.tags]))
    config = {**fields.result_values(cfg), **inputs.fingerprint()}
    config |= {"init_from": init_from} if init_from else {}
    if cfg.data.filter.strip():  # counted, but nothing of what decides the result
        config["data.filter leaves out"] = {
            index.split: index.filtered for index in (inputs.index, inputs.val_index)
        }
    name = _kept_name(cfg.run.out) or make_name(cfg, datetime.datetime.now(datetime.UTC).date(), revision())
    text = json.dumps({"name": name, "tags": tags, "config": config}, indent=1, default=str)
    store.write(store.join(cfg.run.out, FILE), text.encode() + b"\n")
    return RunIdentity(name, tags, config)


def make_name(cfg: TrainConfig, day: datetime.date, code: str) -> str:
    """experiment: run.name, or the last folder of run.out."""
    path = cfg.run.out.rstrip("/")
    folder = path.rsplit("/", 1)[-1] if store.is_remote(path) else Path(store.local_path(path)).resolve().name
    return f"{(cfg.run.name or folder or 'run')[:MAX_EXPERIMENT]}-{day:%Y%m%d}-{code}"


def revision() -> str:
    """The commit of the checkout that the working directory is in, else of octshard's; else its version."""
    package = Path(octshard.__file__).parents[1]
    for folder in (Path("."), package if (package / ".git").exists() else None):
        if folder is not None and (commit := _commit(folder)):
            return commit
    return octshard.__version__


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "--short=8", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):  # there is no git, or no working directory any more
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _kept_name(out: str) -> str:
    """The name that the run began with; empty if it has none yet."""
    url = store.join(out, FILE)
    try:
        name = json_object.read(url).get("name")
    except FileNotFoundError:
        return ""
    except DamagedJson as error:
        logger.warning("%s; the run gets a new name", error)
        return ""
    return name if isinstance(name, str) else ""

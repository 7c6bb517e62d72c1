"""The W&B run of run.out, of one id for its whole life. The only wandb import.

Nothing is logged with W&B's own step, which may only grow: samples_seen is the axis, so that the lines of
steps made again after a kill, and results that come late, are taken as well.
"""

import dataclasses
import logging
import re
import tempfile
import threading
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, cast

from PIL import Image

from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.extras import install_advice
from octshard.models.checkpoint import FOLDER
from octshard.models.checkpoint_info import CheckpointInfo
from octshard.printable import printable
from octshard.storage import store
from octshard.train.run_identity import RunIdentity
from octshard.train.sinks.sink import AXIS, Picture, Sink, Values

logger = logging.getLogger(__name__)

ID_FILE = "wandb-id.txt"
FILE_S = 1.0  # between writes of W&B's own file: a kill loses no more of it
ID_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check(cfg: TrainConfig) -> None:
    """UsageError if W&B is asked for and not here."""
    if cfg.run.wandb == "off":
        return
    try:
        import wandb  # noqa: F401
    except ImportError:
        raise UsageError(
            f"run.wandb={cfg.run.wandb}: wandb is not here; {install_advice('wandb')} or run.wandb=off"
        ) from None


def open_run(cfg: TrainConfig, identity: RunIdentity) -> "WandbRun | None":
    """The run, new or continued; None, and a warning, if W&B does not answer. UsageError without a login."""
    import wandb

    run_id = _run_id(cfg.run.out)
    try:
        run = wandb.init(
            project=cfg.run.wandb_project,
            id=run_id,
            name=identity.name,
            tags=identity.tags,
            resume="allow",
            mode=cast(Literal["offline", "online"], cfg.run.wandb),
            dir=None if store.is_remote(cfg.run.out) else cfg.run.out.removeprefix("file://"),
            config=dict(identity.config),
            allow_val_change=True,  # of the config, by --accept-changes
            settings=_settings(wandb),
        )
        run.define_metric(AXIS)
        run.define_metric("*", step_metric=AXIS)
    except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        raise UsageError(
            f"run.wandb={cfg.run.wandb}: {printable(str(error)).rstrip('.')}; log in with `wandb login`, or "
            f"take run.wandb=offline or off"
        ) from error
    except Exception as error:  # W&B raises kinds of its own, and none may keep a run from beginning
        reason = printable(f"{type(error).__name__}: {error}")
        logger.warning("run.wandb=%s: %s; the run goes on without it", cfg.run.wandb, reason)
        return None
    return WandbRun(wandb, run, cfg)


class WandbRun(Sink):
    """Logs to a W&B run, each line as a row of its own."""

    def __init__(self, wandb: Any, run: Any, cfg: TrainConfig) -> None:
        self._wandb, self._run = wandb, run
        self._out, self._artifacts = cfg.run.out, cfg.run.wandb_artifacts

    def write(self, values: Values) -> None:
        """One row."""
        self._run.log(dict(values))

    def write_picture(self, picture: Picture) -> None:
        """A row with the image."""
        image = self._wandb.Image(Image.open(BytesIO(picture.png)))
        self._run.log({"step": picture.step, AXIS: picture.samples_seen, picture.name: image})

    def write_checkpoint(self, info: CheckpointInfo) -> None:
        """The weights and their .json as a version of the artifact checkpoint-ID, if run.wandb_artifacts."""
        if not self._artifacts:
            return
        artifact = self._wandb.Artifact(
            f"checkpoint-{self._run.id}", type="model", metadata=dataclasses.asdict(info)
        )
        with tempfile.TemporaryDirectory() as folder:
            for name in (info.name + ".pt", info.name + ".json"):
                url = store.join(self._out, FOLDER, name)
                path = Path(folder, name) if store.is_remote(url) else store.local_path(url)
                if store.is_remote(url):
                    store.copy(url, str(path))
                artifact.add_file(str(path), name)  # W&B takes a copy, so that the file may go
        self._run.log_artifact(artifact, aliases=[info.name])

    def close(self, exit_code: int) -> None:
        """Ends the run: as finished if exit_code is 0, else as failed."""
        try:
            self._run.finish(exit_code=exit_code)
        except BaseException:
            self._wandb.teardown(exit_code=exit_code)  # else it is tried again when the process ends
            raise

    def abandon(self) -> None:
        """Stops W&B's own process, without waiting for it."""
        threading.Thread(target=self._wandb.teardown, name="wandb", daemon=True).start()


def _settings(wandb: Any) -> Any:
    """Of versions that know it: how often W&B writes its file, every 15 s by itself."""
    name = "x_transaction_log_flush_interval"
    return wandb.Settings(**{name: FILE_S}) if name in getattr(wandb.Settings, "model_fields", ()) else None


def _run_id(out: str) -> str:
    """The run's W&B id, made once and kept in the run folder."""
    url = store.join(out, ID_FILE)
    try:
        run_id = store.read(url).decode("ascii", "replace").strip()
        if ID_FORM.fullmatch(run_id):
            return run_id
        logger.warning("%s: %.20r is no id, so W&B gets a new run", url, run_id)
    except FileNotFoundError:
        pass
    run_id = uuid.uuid4().hex[:12]
    store.write(url, run_id.encode())
    return run_id

"""A run is launched: what its processes must have alike, and what a launch that fails is told to try."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import octshard
from octshard.config import fields
from octshard.config.train import TrainConfig
from octshard.dataset.shard import BadSample
from octshard.devices import processes, select, start_agreement
from octshard.devices.backend import Backend
from octshard.devices.start_agreement import StartAgreement
from octshard.errors import OctshardError, StoppedError, UsageError
from octshard.probes.task import ProbeTask
from octshard.progress import OnProgress
from octshard.train import memory, memory_probe, metrics_log, no_effect, prober, resume
from octshard.train.inputs import RunInputs, load_inputs
from octshard.train.objectives import build
from octshard.train.resume import Consent

logger = logging.getLogger(__name__)

# what makes the environment of a process one with a single device
ONE_DEVICE = {
    "cuda": "CUDA_VISIBLE_DEVICES=0 ",
    "tpu": "TPU_PROCESS_BOUNDS=1,1,1 TPU_CHIPS_PER_PROCESS_BOUNDS=1,1,1 TPU_VISIBLE_CHIPS=0 ",
    "xla": "CPU_NUM_DEVICES=1 ",
    "cpu": "",
}


class Launch:
    """The time until the first step is made. device_count: accelerators of all processes together."""

    def __init__(self) -> None:
        self.device_count, self.kind, self.over = processes.expected_count(), "", False

    def opened(self, backend: Backend) -> None:
        """The devices are there."""
        is_tpu = os.environ.get("PJRT_DEVICE", "").upper() == "TPU"
        self.kind = "tpu" if is_tpu and backend.device.type == "xla" else backend.device.type
        self.device_count = backend.device_count

    def until_first_step(self, on_progress: OnProgress) -> OnProgress:
        """`on_progress`, whose first call ends the launch."""

        def heard(step: int, steps: int, note: str) -> None:
            self.over = True
            on_progress(step, steps, note)

        return heard


@contextlib.contextmanager
def open_launch(cfg: TrainConfig, command: str) -> Iterator[Launch]:
    """A launch over several devices that fails before its first step says what tries one step on one device.

    command: how the run was called. What the user did wrong is no failure of a launch, nor are bad data.
    """
    launch = Launch()
    try:
        yield launch
    except (UsageError, StoppedError, BadSample):
        raise
    except (OctshardError, RuntimeError) as error:
        if launch.over or launch.device_count == 1:
            raise
        line = " ".join(str(error).split())
        name = "" if isinstance(error, OctshardError) else f"{type(error).__name__}: "
        raise OctshardError(
            f"{name}{line}; one step on one device, without torchrun: {one_device(cfg, launch.kind, command)}"
        ) from error


def one_device(cfg: TrainConfig, kind: str, command: str) -> str:
    """The command that makes one step of the run on one device of that kind, in a folder of its own."""
    kind = kind or (select.automatic() if cfg.run.device == "auto" else cfg.run.device)
    out = f"{cfg.run.out.rstrip('/')}-one-device"
    return (
        f"{ONE_DEVICE[kind]}{command} run.out={out} run.epochs=null run.samples_budget={cfg.run.global_batch}"
    )


@contextlib.contextmanager
def open_start(cfg: TrainConfig, backend: Backend) -> Iterator[StartAgreement]:
    """The agreement of all processes; settings that cannot be end it in all, before run.out is made."""
    with start_agreement.open_start(backend, cfg.run.start_timeout_s) as start:
        build.check(cfg)
        metrics_log.check(cfg)
        no_effect.refuse(cfg, backend)
        yield start


def check_all(
    cfg: TrainConfig, backend: Backend, start: StartAgreement, consent: Consent
) -> tuple[RunInputs, ProbeTask | None, Mapping[str, Any] | None]:
    """What is read, the probes, and the payload to go on from; UsageError for all that can be wrong in them,
    in all processes. Waits for them.
    """
    cfg = memory_probe.remembered(cfg, backend)
    inputs = load_inputs(cfg, backend)
    probe_task = prober.make_task(cfg, inputs, backend)
    if not memory_probe.is_on(cfg, backend):
        memory.check(cfg, backend, inputs.shape)
    payload = resume.payload_to_resume(cfg, inputs, backend, consent)
    start.check(facts(cfg, backend, inputs, payload["step"] if payload else 0))  # waits
    return inputs, probe_task, payload


def is_complete(payload: Mapping[str, Any], inputs: RunInputs, backend: Backend) -> bool:
    """True, and said, if a run has made its last step and owes nothing."""
    step, steps = payload["step"], inputs.plan.steps
    if step < steps or resume.owes_validation(payload, inputs):
        return False
    if backend.process_index == 0:
        logger.info(
            "%s: already complete at step %d of %d; nothing to do (a greater run.epochs or "
            "run.samples_budget makes it longer)", inputs.cfg.run.out, step, steps,
        )  # fmt: skip
    return True


def facts(cfg: TrainConfig, backend: Backend, inputs: RunInputs, step: int) -> dict[str, Any]:
    """What must be the same in all processes: code, devices, settings, data, and the step to go on from."""
    if backend.process_count == 1:
        return {}
    return {
        "octshard": octshard.__version__,
        "code": code_digest(Path(octshard.__file__).parent),
        "torch": torch.__version__,
        "device": backend.device.type,
        "device count": backend.device_count,
        **_settings(cfg),
        **inputs.fingerprint(),
        "data.digest of val": inputs.val_index.digest,
        "checkpoint step": step,
    }


def code_digest(package: Path) -> str:
    """8 hex digits of all source files of a package, whether it was installed or is a checkout."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def _settings(cfg: TrainConfig) -> dict[str, Any]:
    """All but paths, and how fast each process reads its data: those may suit its machine."""
    return {
        key: value
        for key, value, rule in fields.ruled(cfg)
        if not rule.place and not (rule.speed and key.startswith("data."))
    }

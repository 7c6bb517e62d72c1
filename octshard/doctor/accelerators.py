"""CPU, CUDA and XLA: what there is, and whether a small product comes out right.

`torch_checks` and `xla_checks` load torch; they run in processes of their own, because a broken driver can
crash or hang one.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from octshard.doctor.checks import Check, attempt
from octshard.extras import install_advice

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64  # of the matrix whose square is computed
BF16_CAPABILITY = 8  # compute capability of Ampere, the first with bfloat16 units
DRIVER = Path("/proc/driver/nvidia/version")
TPU_CHIPS = ("/dev/accel0", "/dev/vfio/0")  # how a Cloud TPU machine shows its first chip
FIT_TORCH = "install a driver and a torch that fit each other: https://pytorch.org/get-started"


def torch_checks() -> list[Check]:
    """The CPU, every GPU, and the device that run.device=auto takes."""
    import torch

    from octshard.devices import select

    return [
        attempt("CPU", lambda: check_cpu(len(os.sched_getaffinity(0)), os.cpu_count() or 1)),
        *cuda_checks(torch.version.cuda),
        check_automatic(select.automatic()),
    ]


def check_cpu(usable: int, cores: int) -> Check:
    """usable: cores that this process may run on."""
    import torch

    text = f"{usable} of {cores} cores usable, torch takes {torch.get_num_threads()} threads"
    return with_product("CPU", text, lambda matrix: matrix @ matrix)


def check_automatic(device: str) -> Check:
    """device: what run.device=auto takes here."""
    if device != "cpu":
        return Check("run.device=auto", "pass", f"takes {device}")
    advice = "fit for the demo and tests; pretraining wants a GPU, or a TPU and PJRT_DEVICE=TPU"
    return Check("run.device=auto", "warn", "takes cpu", advice)


def cuda_checks(built_for: str | None) -> list[Check]:
    """One check for each GPU, or one that says why there is none. built_for: the CUDA version of torch."""
    import torch

    driver = driver_version(DRIVER.read_text()) if DRIVER.exists() else ""
    if not torch.cuda.is_available():
        if not driver:
            return [Check("CUDA", "pass", "no NVIDIA GPU here")]
        build = f"built for CUDA {built_for}" if built_for else "built without CUDA"
        return [Check("CUDA", "fail", f"driver {driver}, but torch, {build}, sees no GPU", FIT_TORCH)]
    gpus = [
        attempt(f"CUDA {index}", partial(check_gpu, index, driver), FIT_TORCH)
        for index in range(torch.cuda.device_count())
    ]
    if not (shutil.which("cc") or shutil.which("gcc")):
        advice = "install gcc, or leave run.compile=false"
        gpus.append(Check("C compiler", "warn", "none; run.compile=true needs one", advice))
    return gpus


def check_gpu(index: int, driver: str) -> Check:
    """Name, memory, driver, bf16, and a product in the precision that training takes."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    bf16 = properties.major >= BF16_CAPABILITY
    memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    precision = "bf16" if bf16 else "no bf16"
    text = f"{properties.name}, {memory}, driver {driver or 'unknown'}, {precision}"

    def square(matrix: "Tensor") -> "Tensor":
        there = matrix.to(torch.device("cuda", index), torch.bfloat16 if bf16 else torch.float32)
        return (there @ there).cpu()

    check = with_product(f"CUDA {index}", text, square)
    if bf16 or check.status == "fail":
        return check
    return Check(check.name, "warn", check.found, "set run.precision=fp32")


def driver_version(text: str) -> str:
    """`550.54.15` of the text of /proc/driver/nvidia/version; `unknown` where it names none."""
    version = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", text)
    return version[0] if version else "unknown"


def xla_checks() -> list[Check]:
    """torch_xla as `octshard train` opens it, and PJRT_DEVICE, which tells it which device."""
    chips = any(Path(path).exists() for path in TPU_CHIPS)
    if importlib.util.find_spec("torch_xla") is None:
        if not chips:
            return [Check("XLA", "pass", "no TPU here, torch_xla not installed")]
        return [Check("XLA", "warn", "a TPU, torch_xla not installed", install_advice("xla"))]
    setting = os.environ.get("PJRT_DEVICE", "")
    if chips and not setting:
        return [Check("XLA", "warn", "a TPU, PJRT_DEVICE is not set", "set PJRT_DEVICE=TPU")]
    return [attempt("XLA", lambda: check_xla(setting), f"{install_advice('xla')} --force-reinstall")]


def check_xla(setting: str) -> Check:
    """Opens the backend and computes there; raises what torch_xla raises. setting: PJRT_DEVICE."""
    from octshard.config.run import RunConfig
    from octshard.devices.select import open_backend

    backend = open_backend(RunConfig(device="xla"))
    version = importlib.metadata.version("torch_xla")
    text = f"torch_xla {version}, PJRT_DEVICE {setting or 'not set'}, devices: {backend.device_count}"

    def square(matrix: "Tensor") -> "Tensor":
        there = backend.replicate(matrix)
        product = there @ there
        backend.mark_step()
        return backend.to_host(product)

    return with_product("XLA", text, square)


def with_product(name: str, text: str, square: Callable[["Tensor"], "Tensor"]) -> Check:
    """`text`, and whether square(matrix) is matrix @ matrix: zeros and ones, so that bf16 is exact too."""
    import torch

    row, column = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    matrix = (row + 2 * column) % 5 == 0
    product = square(matrix.float())
    if torch.equal(product.long(), matrix.long() @ matrix.long()):
        return Check(name, "pass", f"{text}, product right")
    return Check(
        name, "fail", f"{text}, but a product comes out wrong", "do not train here: repair this first"
    )

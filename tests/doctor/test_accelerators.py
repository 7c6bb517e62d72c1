"""Accelerators: this CPU, pretended GPUs and TPUs, and products that come out wrong."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from octshard.doctor import accelerators
from octshard.doctor.checks import Check
from octshard.extras import install_advice

DRIVER = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)\nGCC\n"
)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "version").write_text(DRIVER)
    monkeypatch.setattr(accelerators, "DRIVER", tmp_path / "version")


@pytest.fixture
def gpu(driver: None, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU whose arithmetic is the CPU's; its properties may be changed."""
    properties = SimpleNamespace(name="NVIDIA H100", major=9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (70 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch, "device", lambda *_: "cpu")
    return properties


def test_the_product_is_held_against_integers() -> None:
    right = accelerators.with_product("CPU", "two cores", lambda matrix: matrix @ matrix)
    assert right == Check("CPU", "pass", "two cores, product right")
    wrong = accelerators.with_product("CPU", "two cores", lambda matrix: matrix @ matrix.T)
    assert wrong.status == "fail"
    assert wrong.advice


def test_the_product_is_exact_in_bf16() -> None:
    square = lambda matrix: (matrix.bfloat16() @ matrix.bfloat16()).float()  # noqa: E731
    assert accelerators.with_product("CPU", "", square).status == "pass"


def test_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(accelerators, "DRIVER", tmp_path / "absent")
    monkeypatch.delenv("PJRT_DEVICE", raising=False)
    cpu, cuda, auto = accelerators.torch_checks()
    assert cpu.status == "pass"
    assert cuda == Check("CUDA", "pass", "no NVIDIA GPU here")
    assert (auto.status, auto.found) == ("warn", "takes cpu")
    assert auto.advice


@pytest.mark.usefixtures("driver")
def test_a_driver_without_a_torch_that_sees_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = "driver 570.86.15, but torch, built without CUDA, sees no GPU"
    assert accelerators.cuda_checks(None) == [Check("CUDA", "fail", found, accelerators.FIT_TORCH)]
    assert "built for CUDA 12.8" in accelerators.cuda_checks("12.8")[0].found


def test_a_gpu_is_described(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = "NVIDIA H100, 70.0 of 80.0 GiB free, driver 570.86.15, bf16, product right"
    assert accelerators.check_gpu(0, "570.86.15") == Check("CUDA 0", "pass", found)
    monkeypatch.setattr(accelerators.shutil, "which", lambda name: None)
    gpu_check, compiler = accelerators.cuda_checks("12.8")
    assert gpu_check.found == found
    assert (compiler.name, compiler.status) == ("C compiler", "warn")


def test_a_gpu_without_bf16_is_a_warning(gpu: SimpleNamespace) -> None:
    gpu.major = 7
    check = accelerators.check_gpu(0, "")
    assert (check.status, check.advice) == ("warn", "set run.precision=fp32")
    assert "driver unknown, no bf16" in check.found


def test_a_gpu_that_raises_is_a_line(gpu: SimpleNamespace, monkeypatch: Any) -> None:
    def broken(index: int) -> None:
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    check = accelerators.cuda_checks("12.8")[0]
    assert (check.status, check.advice) == ("fail", accelerators.FIT_TORCH)
    assert check.found == "RuntimeError: no kernel image is available for execution on the device"


def test_the_driver_is_read_from_its_text() -> None:
    assert accelerators.driver_version(DRIVER) == "570.86.15"
    assert accelerators.driver_version("no numbers") == "unknown"


@pytest.mark.parametrize(
    ("installed", "chips", "status", "advice"),
    [
        (False, False, "pass", ""),
        (False, True, "warn", install_advice("xla")),
        (True, True, "warn", "set PJRT_DEVICE=TPU"),
    ],
)
def test_a_tpu_machine_is_told_what_lacks(
    installed: bool, chips: bool, status: str, advice: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.delenv("PJRT_DEVICE", raising=False)
    monkeypatch.setattr(
        accelerators.importlib.util, "find_spec", lambda name: object() if installed else None
    )
    monkeypatch.setattr(accelerators, "TPU_CHIPS", (str(tmp_path if chips else tmp_path / "absent"),))
    (check,) = accelerators.xla_checks()
    assert (check.status, check.advice) == (status, advice)


def test_an_xla_that_does_not_open_is_a_line(monkeypatch: Any) -> None:
    def broken(setting: str) -> Check:
        raise ImportError("undefined symbol")

    monkeypatch.setattr(accelerators.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(accelerators, "check_xla", broken)
    (check,) = accelerators.xla_checks()
    assert (check.found, check.advice) == (
        "ImportError: undefined symbol",
        f"{install_advice('xla')} --force-reinstall",
    )

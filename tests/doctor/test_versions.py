"""Versions: requirements as the metadata spells them, and what is said of each package."""

import importlib.metadata
import sys
from typing import Any

import pytest

from octshard.doctor import versions
from octshard.doctor.checks import Check
from octshard.doctor.versions import Requirement
from octshard.extras import install_advice
from octshard.imaging import jit


@pytest.mark.parametrize(
    ("text", "name", "clauses", "extra"),
    [
        ("numpy>=1.26", "numpy", ">=1.26", ""),
        ("pydicom >=3.0.1,<4", "pydicom", ">=3.0.1,<4", ""),
        ("click (>=8.1)", "click", ">=8.1", ""),
        ("scikit-learn", "scikit-learn", "", ""),
        ('torch_xla==2.9.0; extra == "xla"', "torch_xla", "==2.9.0", "xla"),
        ("moto[server]>=5 ; extra == 'test'", "moto", ">=5", "test"),
        ('octshard[gcs,s3]; extra == "all"', "octshard", "", "all"),
    ],
)
def test_requirements_are_read(text: str, name: str, clauses: str, extra: str) -> None:
    assert Requirement.of(text) == Requirement(name, clauses, extra)


@pytest.mark.parametrize(
    ("version", "clauses", "fits"),
    [
        ("2.10.0", ">=2.9", True),
        ("2.9", ">=2.9.0", True),
        ("2.8.1", ">=2.9", False),
        ("2.9.0+cpu", "==2.9.0", True),
        ("2.9.1", "==2.9.0", False),
        ("3.1.0rc1", ">=3.0,<4", True),
        ("4.0", ">=3.0,<4", False),
        ("1.0", "", True),
        ("2.0", ">2.0", False),
        ("2.0.1", ">2.0", True),
        ("2.0", "<=2.0", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, clauses: str, fits: bool) -> None:
    assert versions.satisfies(version, clauses) is fits


def test_this_environment_has_the_plain_install() -> None:
    checks = {check.name: check for check in versions.checks()}
    assert [name for name, check in checks.items() if check.status == "fail"] == []
    assert {
        "python",
        "octshard",
        "numpy",
        "torch",
        "pydicom",
        "pylibjpeg-openjpeg",
        "zstandard",
        "numba",
    } <= set(checks)
    assert {"gcsfs", "s3fs", "wandb", "ray", "torch_xla"} <= set(checks)  # extras
    assert not {"pytest", "hypothesis", "simpleitk"} & set(checks)  # of a checkout


def test_what_is_missing_or_old_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"numpy": "1.20.0", "gcsfs": "2020.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert versions.check(Requirement("numpy", ">=1.26", "")) == Check(
        "numpy", "fail", "1.20.0, want >=1.26", 'pip install "numpy>=1.26"'
    )
    assert versions.check(Requirement("zstandard", ">=0.22", "")) == Check(
        "zstandard", "fail", "not installed", 'pip install "zstandard>=0.22"'
    )
    assert versions.check(Requirement("s3fs", ">=2024.6", "s3")) == Check(
        "s3fs", "pass", "not installed, optional", f"for s3:// paths: {install_advice('s3')}"
    )
    assert versions.check(Requirement("gcsfs", ">=2024.6", "gcs")) == Check(
        "gcsfs", "warn", "2020.1, want >=2024.6", install_advice("gcs")
    )


def test_a_checkout_that_is_not_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert [(check.name, check.status) for check in versions.checks()] == [
        ("python", "pass"),
        ("octshard", "pass"),
        ("packages", "warn"),
    ]


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert versions.checks()[0].status == "fail"


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch: Any) -> None:
    assert versions.compile_cache()[0].status == "pass"
    monkeypatch.setattr(jit, "cache_folder", lambda: "")
    (check,) = versions.compile_cache()
    assert check.status == "warn"
    assert "NUMBA_CACHE_DIR" in check.advice

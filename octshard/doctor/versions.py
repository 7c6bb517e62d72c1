"""Python, octshard and its packages: installed, and as new as the metadata of octshard asks for."""

import importlib.metadata
import operator
import platform
import re
import sys
from dataclasses import dataclass
from functools import partial

import octshard
from octshard.doctor.checks import Check, attempt
from octshard.extras import install_advice

PYTHON = (3, 11)
USES = {  # what each extra is for
    "xla": "TPUs",
    "tpu": "TPUs, where torch_xla is not installed",
    "gcs": "gs:// paths",
    "s3": "s3:// paths",
    "wandb": "run.wandb=online or offline",
    "tensorboard": "run.tensorboard=true",
    "ray": "octshard prep shard --engine ray",
    "webdataset": "octshard.webdataset.decoder",
    "monai": "octshard eval segment and translate, ShardDataset(as_metatensor=True)",
    "timm": "models of timm",
}
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
EXTRA = re.compile(r"extra\s*==\s*[\"']([\w-]+)[\"']")
COMPARE = {">=": operator.ge, "==": operator.eq, "<=": operator.le, "<": operator.lt, ">": operator.gt}
CLAUSE = re.compile(r"\s*(>=|==|<=|<|>)\s*([\w.]+)")


@dataclass(frozen=True)
class Requirement:
    """A package, its version clauses such as `>=2.0,<3`, and the extra that asks for it ('': none)."""

    name: str
    clauses: str
    extra: str

    @staticmethod
    def of(text: str) -> "Requirement":
        """A line of Requires-Dist (PEP 508, as far as octshard uses it)."""
        parts = REQUIREMENT.fullmatch(text)
        if parts is None:
            raise ValueError(f"requirement {text!r}: want NAME, clauses and perhaps ; extra")
        extra = EXTRA.search(parts[3] or "")
        return Requirement(parts[1], parts[2].strip(), extra[1] if extra else "")


def checks() -> list[Check]:
    """Python, octshard, each package of the plain install, then those of the extras that users take."""
    first = [_python(), Check("octshard", "pass", octshard.__version__)]
    try:
        lines = importlib.metadata.requires("octshard") or []
    except importlib.metadata.PackageNotFoundError:
        advice = "pip install octshard, or pip install --editable . in its checkout"
        return [*first, Check("packages", "warn", "octshard is not installed: run from its source", advice)]
    requirements = [Requirement.of(line) for line in lines]
    plain = [item for item in requirements if not item.extra]
    names = {item.name for item in plain}
    extras = [item for item in requirements if item.extra in USES and item.name not in names]
    return first + [attempt(item.name, partial(check, item)) for item in plain + extras]


def check(requirement: Requirement) -> Check:
    """Whether the package is there, and new enough."""
    name, clauses, extra = requirement.name, requirement.clauses, requirement.extra
    advice = install_advice(extra) if extra else f'pip install "{name}{clauses}"'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if extra:
            return Check(name, "pass", "not installed, optional", f"for {USES[extra]}: {advice}")
        return Check(name, "fail", "not installed", advice)
    if satisfies(version, clauses):
        return Check(name, "pass", version)
    return Check(name, "warn" if extra else "fail", f"{version}, want {clauses}", advice)


def satisfies(version: str, clauses: str) -> bool:
    """True if a version fits every clause; only the numbers of the release count (PEP 440)."""
    for sign, limit in CLAUSE.findall(clauses):
        width = max(len(_release(version)), len(_release(limit)))
        installed, bound = (
            release + (0,) * (width - len(release)) for release in map(_release, (version, limit))
        )
        if not COMPARE[sign](installed, bound):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def _python() -> Check:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= PYTHON:
        return Check("python", "pass", text)
    return Check("python", "fail", f"{text}, want 3.11 or newer", "install a newer Python")


def compile_cache() -> list[Check]:
    """Where numba keeps the machine code of the resampling."""
    from octshard.imaging import jit

    folder = jit.cache_folder()
    if folder:
        return [Check("numba cache", "pass", f"{folder} can be written")]
    advice = "set NUMBA_CACHE_DIR to a folder that can be written"
    return [Check("numba cache", "warn", "no folder for it: every process compiles anew", advice)]

"""The optional dependencies (extras) of this package: the command that adds one to this installation."""

import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import octshard


def install_advice(extra: str) -> str:
    """The command that adds `extra` here: from a checkout, a file, a repository or the package index."""
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    pip = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} {requirement(extra, Path(octshard.__file__).parents[1], _origin())}"


def requirement(extra: str, parent: Path, origin: dict[str, Any]) -> str:
    """The requirement for pip. parent: the folder of the package; origin: its direct_url.json, or {}."""
    project = parent / "pyproject.toml"
    if project.exists() and 'name = "octshard"' in project.read_text():
        return f'-e "{parent}[{extra}]"'
    url = origin.get("url", "")
    if not url or (url.startswith("file://") and not Path(unquote(url.removeprefix("file://"))).exists()):
        return f'"octshard[{extra}]"'
    if vcs := origin.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f'"octshard[{extra}] @ {url}"'


def _origin() -> dict[str, Any]:
    try:
        return json.loads(distribution("octshard").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return {}

"""The command that an error names when an extra is missing, for each way of installing octshard."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from octshard import extras
from octshard.extras import install_advice, requirement

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_a_checkout_is_named_by_its_folder() -> None:
    assert requirement("gcs", ROOT, {"url": "file:///elsewhere"}) == f'-e "{ROOT}[gcs]"'


def test_without_an_origin_the_index_is_asked(tmp_path: Path) -> None:
    assert requirement("gcs", tmp_path, {}) == '"octshard[gcs]"'


def test_another_projects_file_makes_no_checkout(tmp_path: Path) -> None:
    """Some packages leave a pyproject.toml in site-packages."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert requirement("s3", tmp_path, {}) == '"octshard[s3]"'


def test_a_wheel_is_named_while_it_is_there(tmp_path: Path) -> None:
    wheel = tmp_path / "a b" / "octshard-0.1.0-py3-none-any.whl"
    origin = {"url": wheel.as_uri(), "archive_info": {}}
    assert requirement("ray", tmp_path, origin) == '"octshard[ray]"'
    wheel.parent.mkdir()
    wheel.touch()
    assert requirement("ray", tmp_path, origin) == f'"octshard[ray] @ {wheel.as_uri()}"'


def test_a_repository_is_named_by_its_commit(tmp_path: Path) -> None:
    origin = {"url": "https://example.org/octshard.git", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}
    expected = '"octshard[xla] @ git+https://example.org/octshard.git@0123abc"'
    assert requirement("xla", tmp_path, origin) == expected


def test_the_advice_is_for_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    monkeypatch.setattr("shutil.which", lambda name: "/another/python")
    arguments = ["-m", "pip", "install", "-e", f"{ROOT}[gcs]"]
    assert shlex.split(install_advice("gcs")) == [sys.executable, *arguments]
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    assert shlex.split(install_advice("gcs")) == ["python", *arguments]
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert shlex.split(install_advice("gcs")) == [
        "uv",
        "pip",
        "install",
        "--python",
        "python",
        *arguments[-2:],
    ]


def test_the_errors_name_extras_that_there_are() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "octshard").rglob("*.py"))
    named = re.findall(r"""install_advice\(["'](\w+)["']\)""", sources)
    assert {"ray", "wandb", "xla"} <= {*named} <= {*EXTRAS}
    assert 'pip install "octshard[' not in sources


def test_all_holds_every_extra_that_may_stand_together() -> None:
    (everything,) = EXTRAS["all"]
    named = everything.removeprefix("octshard[").removesuffix("]").split(",")
    assert {*named} == {*EXTRAS} - {"all", "tpu", "docs", "bench", "test"}


def test_the_advice_of_a_missing_client_reaches_the_user(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['gcsfs'] = None\n"
        "from octshard.cli.main import main\n"
        "sys.argv = ['octshard', 'prep', 'verify', 'gs://bucket/x']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f'-e "{ROOT}[gcs]"' in done.stderr

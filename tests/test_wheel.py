"""The wheel, built from the sdist: every file of the package and every YAML of configs/, and no more."""

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = {str(path.relative_to(ROOT)) for path in (ROOT / "octshard").rglob("*.py")}
CONFIGS = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout and the wheel of that sdist; no network is used."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_configs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == PACKAGE | {
        f"octshard/{name}" for name in CONFIGS
    }


@pytest.mark.slow
def test_the_sdist_holds_what_git_holds(built: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*tracked.splitlines()} - names == set()


@pytest.mark.slow
def test_the_wheel_needs_no_extra(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    needed = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    base = [line for line in needed if "extra ==" not in line]
    for package in (
        "webdataset",
        "torch_xla",
        "ray",
        "gcsfs",
        "s3fs",
        "wandb",
        "tensorboard",
        "monai",
        "timm",
    ):
        assert not [line for line in base if line.startswith(package)]
        assert [line for line in needed if line.startswith(package)]

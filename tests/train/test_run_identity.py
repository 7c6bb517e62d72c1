"""What a run is called: made once, the same after a resume, told from other runs."""

import datetime
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import octshard
from octshard.config.load import load
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.errors import UsageError
from octshard.train import run_identity
from octshard.train.inputs import load_inputs
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset

DAY = datetime.date(2026, 11, 6)
CPU = select.open_backend(RunConfig(device="cpu"))


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["run.out=runs/seed"], "seed-20261106-abc"),
        (["run.out=runs/seed/"], "seed-20261106-abc"),
        (["run.out=file:///data/runs/seed"], "seed-20261106-abc"),
        (["run.out=gs://bucket/runs/seed/"], "seed-20261106-abc"),
        (["run.out=gs://bucket"], "bucket-20261106-abc"),
        (["run.out=runs/seed", "run.name=wide masks"], "wide masks-20261106-abc"),
        (["run.out=runs/" + "x" * 200], "x" * 80 + "-20261106-abc"),
    ],
)
def test_a_name_is_experiment_date_and_commit(words: list[str], name: str) -> None:
    assert run_identity.make_name(load(TrainConfig, [], words), DAY, "abc") == name


def test_the_working_directory_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run_identity.make_name(load(TrainConfig, [], ["run.out=."]), DAY, "abc") == "here-20261106-abc"


def test_the_commit_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert run_identity.revision() == git(tmp_path, "rev-parse", "HEAD")[:8]


@pytest.mark.parametrize("case", ["no checkout", "no commit", "no git", "no folder"])
def test_without_a_commit_the_version_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The package lies in a folder without .git, as pip puts it: a checkout around that is not octshard's."""
    monkeypatch.setattr(octshard, "__file__", str(tmp_path / "site" / "octshard" / "__init__.py"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if case == "no commit":
        git(folder, "init", "-q")
    if case == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    if case == "no folder":
        folder.rmdir()
    assert run_identity.revision() == octshard.__version__


@pytest.fixture
def identify(tmp_path: Path) -> Callable[..., run_identity.RunIdentity]:
    shards = [
        write_dataset(tmp_path / name, {"train": 9, "val": 2}, device=name) for name in ("triton", "maestro2")
    ]

    def of(*words: str) -> run_identity.RunIdentity:
        cfg = config_for(",".join(shards), tmp_path / "run", "run.epochs=1", *words)
        return run_identity.identify(cfg, load_inputs(cfg, CPU), None)

    return of


def test_tags_are_devices_objective_and_the_users(
    identify: Callable[..., run_identity.RunIdentity], tmp_path: Path
) -> None:
    identity = identify("run.tags=[first, triton]")
    assert identity.tags == ("maestro2", "triton", "vjepa2", "first")
    assert identity.config["data.samples"] == 18
    assert len(identity.config["data.digest"]) == 16
    assert identity.config["model.width"] == 24
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    assert kept == {"name": identity.name, "tags": list(identity.tags), "config": dict(identity.config)}


def test_a_name_is_made_once(
    identify: Callable[..., run_identity.RunIdentity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identify()
    monkeypatch.setattr(run_identity, "revision", lambda: "another")
    later = identify("run.name=other", "run.tags=[late]")
    assert later.name == first.name
    assert "late" in later.tags
    for damage in (b"", b"{", b"[]", b'{"name": 7}', b'{"name": ""}'):
        (tmp_path / "run" / "run.json").write_bytes(damage)
        with log_lines():
            assert identify().name.endswith("-another")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("run.tags=['']", r"run.tags: '', want 1 to 64 printable"),
        (f"run.tags=[{'x' * 65}]", r"run.tags: 'xxx.*, want 1 to 64"),
        ('run.tags=["a\\nb"]', r"run.tags: 'a\\nb', want"),
        (f"run.name={'x' * 81}", r"run.name='xxx.*: want at most 80"),
        ('run.name="a\\tb"', r"run.name='a\\tb': want"),
    ],
)
def test_what_cannot_be_logged_is_one_clear_line(word: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        run_identity.check(load(TrainConfig, [], [word]))

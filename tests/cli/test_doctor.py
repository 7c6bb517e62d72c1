"""`octshard doctor` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from octshard.cli.doctor import doctor
from octshard.doctor import run
from octshard.doctor.checks import Check
from octshard.doctor.report import Report
from octshard.doctor.samples import SAMPLES
from octshard.errors import OctshardError


def octshard(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "octshard", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_this_machine_is_ready(tmp_path: Path) -> None:
    """In processes, as a user runs it; every codec decodes."""
    done = octshard("doctor", "--json", str(tmp_path), "memory://nothing", "--write")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    whole = json.loads(done.stdout)
    assert whole["status"] in ("pass", "warn")
    statuses = {check["name"]: check["status"] for check in whole["checks"] if check["group"] == "codecs"}
    assert statuses == {sample.name: "pass" for sample in SAMPLES}
    assert {check["group"] for check in whole["checks"]} == {
        "versions",
        "codecs",
        "accelerators",
        "machine",
        str(tmp_path),
        "memory://nothing",
    }
    assert all(check["advice"] for check in whole["checks"] if check["status"] != "pass")


@pytest.mark.slow
def test_a_broken_url_is_one_line_and_exit_1() -> None:
    done = octshard("doctor", "nope://bucket/shards")
    assert done.returncode == 1
    assert done.stderr == "octshard: doctor: 1 checks failed: nope://bucket/shards: list\n"
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  fail"))
    assert "want a local path, gs://, s3:// or memory://" in line


def test_what_is_given_is_handed_on_and_failures_raise(monkeypatch: Any) -> None:
    calls = []

    def examine(urls: Any, cache_dir: str, *, write: bool) -> Report:
        calls.append((urls, cache_dir, write))
        return Report({"disk": [Check("cwd", "fail", "full", "free some space")]})

    monkeypatch.setattr(run, "examine", examine)
    result = CliRunner().invoke(doctor, ["a", "b", "--write", "--cache-dir", "/c"])
    assert calls == [(("a", "b"), "/c", True)]
    assert "  fail  cwd  full\n" in result.stdout
    assert isinstance(result.exception, OctshardError)
    assert str(result.exception) == "doctor: 1 checks failed: disk: cwd"

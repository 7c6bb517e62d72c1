"""The benchmarks explain themselves and write the figures they promise; how fast anything is: not here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_run import write_dataset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = ("prep.py", "resample.py", "stream.py")


def run(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_what_every_benchmark_takes_and_an_example(script: str) -> None:
    text = run(script, "--help")
    for word in ("--quick", "--json", "--only", f"python benchmarks/{script} --quick"):
        assert word in text


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the shortest section prints, and its JSON."""
    folder = tmp_path_factory.mktemp("benchmark")
    file = folder / "out.json"
    text = run("prep.py", "--quick", "--only", "plan", "--work", str(folder / "work"), "--json", str(file))
    return text, json.loads(file.read_text())


def test_the_json_has_the_documented_keys(ran: tuple[str, dict[str, Any]]) -> None:
    _, found = ran
    assert set(found) == {"date", "command", "quick", "machine", "tables", "wanted"}
    assert found["quick"] is True
    assert {"cpu", "cores", "memory_gb", "load", "python", "system"} == set(found["machine"])
    (row,) = found["tables"]["plan"]
    assert set(row) == {"rows", "CPU s", "wall s", "peak MB"}
    assert row["peak MB"] > 10
    assert row["CPU s"] > 0
    assert [set(line) for line in found["wanted"]] == [{"what", "wanted", "found", "unit", "met"}] * 2


def test_what_is_printed_is_markdown_with_wanted_beside_found(ran: tuple[str, dict[str, Any]]) -> None:
    text, found = ran
    assert "| what" in text
    for line in found["wanted"]:
        assert f"| {line['what']}" in text
        assert line["met"] in (True, False)
    assert found["machine"]["cpu"] in text
    assert found["command"].endswith("out.json")
    assert found["command"] in text


def test_our_reader_of_the_stream_reads_our_shards(tmp_path: Path) -> None:
    """In the child process that the benchmark starts; the peers' need environments of their own."""
    shards = write_dataset(tmp_path / "data", {"train": 9})
    wish = {
        "reader": "ours",
        "source": shards,
        "folder": "",
        "workers": 2,
        "batch": 2,
        "samples": 8,
        "per_file": 5,
    }
    command = [sys.executable, str(BENCHMARKS / "child.py"), "check", json.dumps(wish)]
    done = subprocess.run(
        command, input=json.dumps([shards, 20]) + "\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["word"] == "silent", answer
    assert len(answer["what"]) == 8

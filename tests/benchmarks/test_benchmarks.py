"""The benchmarks explain themselves and write the figures they promise; how fast anything is: not here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from octshard.train.objectives.build import CLASSES
from tests.support.tiny_run import write_dataset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CHILD = "subprocess_run.py"  # of stream.py: nobody calls it by hand
SCRIPTS = sorted(
    path.name
    for path in BENCHMARKS.glob("*.py")
    if path.name != CHILD and '__name__ == "__main__"' in path.read_text()
)
HELP = """
import contextlib, io, json, pathlib, runpy, sys
texts = {}
for path in sys.argv[1:]:
    sys.argv, out = [path, "--help"], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")
    texts[pathlib.Path(path).name] = out.getvalue()
print(json.dumps(texts))
"""


def run(script: str, *words: str) -> str:
    process = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """Of all scripts from one process: what they import takes longer than what they say."""
    child = [sys.executable, "-c", HELP, *(str(BENCHMARKS / script) for script in SCRIPTS)]
    process = subprocess.run(child, capture_output=True, text=True, check=True, cwd=BENCHMARKS)
    texts: dict[str, str] = json.loads(process.stdout)
    return texts


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_what_every_benchmark_takes_and_an_example(
    help_texts: dict[str, str], script: str
) -> None:
    text = help_texts[script]
    for word in ("--quick", "--json", "--only", f"python benchmarks/{script} --quick"):
        assert word in text


def test_every_command_is_tried_here() -> None:
    assert {"prep.py", "resample.py", "stream.py"} <= set(SCRIPTS)


# one option of all: what it does in one script it does in each
@pytest.mark.parametrize(
    "script", [pytest.param(name, marks=[] if name == "prep.py" else pytest.mark.slow) for name in SCRIPTS]
)
def test_a_json_file_in_no_folder_is_said_before_the_run(script: str, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--quick", "--json", str(tmp_path / "none" / "out.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].endswith(f"no folder {tmp_path / 'none'}; make it first")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the shortest section prints, and its JSON."""
    folder = tmp_path_factory.mktemp("benchmark")
    file = folder / "out.json"
    text = run("prep.py", "--quick", "--only", "plan", "--work", str(folder / "work"), "--json", str(file))
    return text, json.loads(file.read_text())


def test_the_json_has_the_documented_keys(ran: tuple[str, dict[str, Any]]) -> None:
    _, figures = ran
    assert set(figures) == {"date", "command", "quick", "machine", "tables", "wanted"}
    assert figures["quick"] is True
    assert {"cpu", "cores", "memory_gb", "load", "python", "system"} == set(figures["machine"])
    (row,) = figures["tables"]["plan"]
    assert set(row) == {"rows", "CPU s", "wall s", "peak MB"}
    assert row["peak MB"] > 10
    assert row["CPU s"] > 0
    assert [set(line) for line in figures["wanted"]] == [{"what", "wanted", "found", "unit", "met"}] * 2


def test_what_is_printed_is_markdown_with_wanted_beside_found(ran: tuple[str, dict[str, Any]]) -> None:
    text, figures = ran
    assert "| what" in text
    for line in figures["wanted"]:
        assert f"| {line['what']}" in text
        assert line["met"] in (True, False)
    assert figures["machine"]["cpu"] in text
    assert figures["command"].endswith("out.json")
    assert figures["command"] in text


def test_our_reader_of_the_stream_reads_our_shards(tmp_path: Path) -> None:
    """In the child process that the benchmark starts; the peers' need environments of their own."""
    shards = write_dataset(tmp_path / "data", {"train": 9})
    spec = {
        "reader": "ours",
        "source": shards,
        "folder": "",
        "workers": 2,
        "batch": 2,
        "samples": 8,
        "per_file": 5,
    }
    command = [sys.executable, str(BENCHMARKS / "subprocess_run.py"), "check", json.dumps(spec)]
    process = subprocess.run(
        command, input=json.dumps([shards, 20]) + "\n", capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout.splitlines()[-1])
    assert answer["word"] == "silent", answer
    assert len(answer["what"]) == 8


@pytest.mark.slow
def test_a_step_is_measured_beside_the_design_point(tmp_path: Path) -> None:
    """The JSON has both variants, with the FLOPs that the formula says for all tokens of a whole image."""
    file = tmp_path / "out.json"
    run("train_step.py", "--quick", "--width", "128", "--json", str(file))
    tables = json.loads(file.read_text())["tables"]
    (step,) = (rows for title, rows in tables.items() if title.startswith("step, seed, vjepa2: width 128"))
    ours, design = step
    assert (ours["variant"], design["variant"], ours["times ours"]) == ("ours", "design point", 1)
    assert design["tokens"] == 9216
    layer = 9216 * 128**2 * 24 + 4 * 9216**2 * 128
    (encoder,) = (rows for title, rows in tables.items() if title.startswith("evaluation's encoder, seed"))
    assert encoder[1]["TFLOP a volume"] == pytest.approx((layer + 2 * 9216 * 1024 * 128) / 1e12)
    assert ours["TFLOP/s"] == pytest.approx(ours["TFLOP a volume"] / ours["CPU s a volume"])
    assert ours["peak MB"] > 0


def test_the_padding_of_the_configs_is_within_its_bounds(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    run("train_step.py", "--quick", "--only", "padding", "--json", str(file))
    figures = json.loads(file.read_text())
    assert [line["met"] for line in figures["wanted"]] == [True] * 12
    (rows,) = figures["tables"].values()
    multi = next(
        r for r in rows if (r["config"], r["objective"]) == ("pretrain_vjepa_multi_domain", "vjepa2")
    )
    ways = ("lists of one length", "cpu", "cuda compiled", "8 xla", "32 xla")
    assert [multi[way] for way in ways] == ["32.7 %", "0.1 %", "5.5 %", "9.0 %", "16.9 %"]
    assert {row["objective"] for row in rows} == set(CLASSES)


def test_the_script_for_a_gpu_machine_calls_its_benchmark(tmp_path: Path) -> None:
    """From any folder, with the Python that it is given."""
    process = subprocess.run(
        [str(BENCHMARKS / "gpu.sh"), "--help"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "What a machine with a GPU should show" in process.stdout


@pytest.mark.slow
def test_without_a_gpu_its_parts_run_on_the_cpu_and_say_so(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    process = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), "--quick", "--only", "resume", "--json", str(file)],
        capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "no GPU here" in process.stderr
    figures = json.loads(file.read_text())
    (row,) = figures["tables"]["on the CPU, at a small size"]
    assert (row["part"], row["found"]) == ("resume", "equal")
    assert figures["wanted"][0]["met"] is True

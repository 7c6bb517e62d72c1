"""One folder with files of every format, sound, damaged and foreign: from `prep index` to the last page.

Killed at any moment and given again, and with any number of workers, all that is written is the same bytes.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

import octshard
from octshard.cli.main import cli
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.prep.index import run
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.path_pattern import parse
from octshard.prep.index.person import PersonRule
from octshard.prep.index.summary import Summary
from octshard.prep.refusals import REASONS
from octshard.prep.release import aireadi
from octshard.rng import rng_for
from tests.support.mixed_release import Mixed, write_mixed

SMALL = {"target_spacing": "[0.08,0.02,0.04]", "image_size": "[4,8,8]", "shard_bytes": "4000"}
BY_FOLDER = IndexOptions(PersonRule("", None, b""), workers=1, folders=True)
ONE_DEVICE = IndexOptions(PersonRule("pattern", parse("{device}/{person}/*"), b""), workers=1, folders=True)
VARYING = ("run.json", ".lock", ".sources.json")  # how fast a run was, who held it last, what it was given
KILLS, IMAGES = 12, "--b-scan-folders"
KILLED_INDEX = """
import os, signal, sys
from octshard.cli.main import cli
from octshard.prep.index import journal, look, run
run.GROUP, run.AHEAD, journal.PART_LINES = 2, 1, 3
whole, looks = look.look, iter(range(int(sys.argv.pop(1))))
def killed(*rest):
    return whole(*rest) if next(looks, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
run.look = killed
cli()
"""


def shard_words(mixed: Mixed, manifest: Path, dst: Path, workers: int) -> list[str]:
    sets = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    named = ["--manifest", str(manifest), "--workers", str(workers)]
    return ["prep", "shard", str(mixed.root), str(dst), *named, *sets]


def command(words: list[str], script: str = "", number: int = 0) -> "subprocess.Popen[str]":
    """octshard with these words. script: what runs it, its first argument a number."""
    environment = {**os.environ, "PYTHONPATH": str(Path(octshard.__file__).parents[1])}
    start = ["-c", script, str(number)] if script else ["-m", "octshard"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *start, *words], env=environment, text=True, **pipes)


def done(words: list[str]) -> None:
    """Runs the command to its end, in this process."""
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output


def tree(root: Path) -> dict[str, bytes]:
    """All files below, but for those of one run."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(VARYING))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def rows_of(dst: Path) -> list[SampleRow]:
    folders = sorted(path.parent for path in dst.glob("*/dataset.json"))
    return [row for folder in folders for row in tables.open_dataset(str(folder)).rows]


def check_every_file_counts(mixed: Mixed, result: Summary, dst: Path) -> None:
    """Files in the folder, rows of the manifest and rows of the tables add up, and each outcome is true."""
    manifest = Path(result.manifest)
    entries = aireadi.parse_manifest(manifest.read_text(), str(manifest))
    listed = {path for entry in entries for path in entry.files}
    images = sum(len(list((mixed.root / path).iterdir())) for path in listed if path.endswith("/"))
    scans = sum(not path.endswith("/") for path in listed) + images
    files = [path for path in mixed.root.rglob("*") if not path.is_dir() and ".hidden" not in path.parts]
    problems = sum(problem.count for problem in result.problems.values())
    assert result.files == len(files) + 1  # the hidden folder
    assert result.files == scans + sum(result.others.values()) + problems
    assert problems == 3  # it, an empty file and a link that leads nowhere
    rows = rows_of(dst)
    assert Counter(row.source for row in rows) == Counter(entry.path for entry in entries)
    for row in rows:
        assert (row.status == "ok") == (row.reason == ""), row.source
        assert row.status == "ok" or (row.reason in REASONS and row.detail), row.source
    refused = {row.source: row.reason for row in rows if row.status == "refused"}
    assert {path: refused[path] for path in mixed.sound & refused.keys()} == {first_dicom(mixed): "duplicate"}
    assert mixed.cut - refused.keys() <= {path for path in mixed.cut if path not in listed}
    assert set(refused.values()) >= {"truncated", "unreadable", "duplicate"}


def first_dicom(mixed: Mixed) -> str:
    """It is there once more, in a folder that comes before."""
    return min(path for path in mixed.sound if path.startswith("any/dicom0/"))


def check_what_follows(dst: Path, out: Path) -> None:
    """verify, export-volume, view and report take the result."""
    done(["prep", "verify", "--deep", str(dst)])
    keys = [row.key for row in rows_of(dst) if row.status == "ok"]
    done(["export-volume", str(dst), *keys, "--out", str(out / "volumes"), "--format", "npy"])
    assert {path.stem for path in (out / "volumes").glob("*.npy")} == {*keys}
    for words in (["view"], ["prep", "report"]):
        page = out / f"{words[-1]}.html"
        done([*words, str(dst), "--out", str(page)])
        assert any(key in page.read_text() for key in keys)


def test_a_scan_of_every_format_goes_the_whole_road(tmp_path: Path) -> None:
    """As of one device, since workers are started for each."""
    mixed, manifest = write_mixed(tmp_path / "in", every_way=False), tmp_path / "m.tsv"
    result = run.index(str(mixed.root), str(manifest), ONE_DEVICE)
    done(shard_words(mixed, manifest, tmp_path / "dst", 1))
    check_every_file_counts(mixed, result, tmp_path / "dst")
    check_what_follows(tmp_path / "dst", tmp_path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    return write_mixed(tmp_path_factory.mktemp("mixed") / "in", every_way=True)


@pytest.fixture(scope="module")
def undisturbed(mixed: Mixed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds m.tsv and dst, made with one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done(["prep", "index", str(mixed.root), "--out", str(folder / "m.tsv"), "--workers", "1", IMAGES])
    done(shard_words(mixed, folder / "m.tsv", folder / "dst", 1))
    return folder


@pytest.mark.slow
def test_every_file_of_a_mixed_release_is_a_row_or_is_counted(
    mixed: Mixed, undisturbed: Path, tmp_path: Path
) -> None:
    result = run.index(str(mixed.root), str(tmp_path / "m.tsv"), BY_FOLDER)
    assert (tmp_path / "m.tsv").read_bytes() == (undisturbed / "m.tsv").read_bytes()
    check_every_file_counts(mixed, result, undisturbed / "dst")
    check_what_follows(undisturbed / "dst", tmp_path)


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(mixed: Mixed, undisturbed: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.tsv"
    done(["prep", "index", str(mixed.root), "--out", str(manifest), "--workers", "2", IMAGES])
    assert manifest.read_bytes() == (undisturbed / "m.tsv").read_bytes()
    done(shard_words(mixed, manifest, tmp_path / "dst", 2))
    assert tree(tmp_path / "dst") == tree(undisturbed / "dst")


@pytest.mark.slow
def test_an_index_that_is_killed_again_and_again_ends_with_the_same_bytes(
    mixed: Mixed, undisturbed: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.tsv"
    words = ["prep", "index", str(mixed.root), "--out", str(manifest), "--workers", "1", IMAGES]
    for after in (0, 5, 40, 80):
        process = command(words, KILLED_INDEX, after)
        text = process.communicate()[1]
        assert process.returncode == -9, text
        assert not manifest.exists()
    done(words)
    assert manifest.read_bytes() == (undisturbed / "m.tsv").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_shards_that_are_killed_again_and_again_end_with_the_same_bytes(
    mixed: Mixed, undisturbed: Path, tmp_path: Path
) -> None:
    """Killed by the clock, at moments drawn over the whole length of a run, with one worker or two."""
    rng, begun = rng_for("kill mixed"), time.monotonic()
    process = command(shard_words(mixed, undisturbed / "m.tsv", tmp_path / "timed", 2))
    process.communicate()
    length, killed = time.monotonic() - begun, 0
    for number in range(KILLS):
        words = shard_words(mixed, undisturbed / "m.tsv", tmp_path / "dst", number % 2 + 1)
        process = command(words)
        try:
            process.communicate(timeout=float(rng.uniform(0.1, 0.5)) * length)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
    assert killed > 2
    done(shard_words(mixed, undisturbed / "m.tsv", tmp_path / "dst", 2))
    assert tree(tmp_path / "dst") == tree(undisturbed / "dst")

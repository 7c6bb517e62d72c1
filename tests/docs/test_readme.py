"""The README's own commands, run as a newcomer would, and the map's file names."""

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from octshard.demo import next_steps
from octshard.eval.verdict import MIN_PARTICIPANTS
from octshard.phantom import cohort, release
from octshard.phantom.defects import BY_NAME
from octshard.phantom.release import ReleaseSpec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands(heading: str) -> list[str]:
    """The lines of the first code block below a heading."""
    section = README.split(f"## {heading}\n", 1)[1]
    return section.split("```")[1].strip().splitlines()


@pytest.mark.slow
def test_the_road_by_hand(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in commands("The road, by hand"):
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, env={**os.environ, "PATH": tools}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "pretrained" in (tmp_path / "runs/probe/probe.json").read_text()
    assert (tmp_path / "runs/probe/probe.html").exists()


def test_the_road_by_hand_has_enough_people_for_a_verdict() -> None:
    """Ten of each class in test whose Triton scan is stored; so has the demo that its page proposes."""
    line = commands("The road, by hand")[0]
    words = dict(re.findall(r"--(\w+) (\S+)", line))
    for people in (int(words["participants"]), next_steps.MORE_PEOPLE):
        cohort_of = cohort.sample_cohort(people, seed=0)
        test = [one.person for one in cohort_of if one.split == "test"]
        spec = ReleaseSpec(people, 0, float(words["scale"]), defects=True, devices=("topcon_triton",))
        stored = {
            job.person
            for job in release.jobs([one.person for one in cohort_of], spec)
            if not job.defect or not BY_NAME[job.defect].reason
        }
        count = Counter(person.state for person in test if person in stored)
        assert len(count) == 4
        assert min(count.values()) >= MIN_PARTICIPANTS, count


def test_the_map_names_files_that_are_there() -> None:
    section = README.split("## The map\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\d) \| `([\w/]+\.py)` \| (\d+) \|", section, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 9))
    for _, name, lines in rows:
        true = len((ROOT / "octshard" / name).read_text().splitlines())
        assert abs(true - int(lines)) <= 15, f"{name}: {true} lines, the map says {lines}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in commands("Two commands"):
        assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE)

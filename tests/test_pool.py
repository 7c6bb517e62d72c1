"""Worker processes and the script that starts them: with its guard and without, in a file and from a pipe."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from octshard import pool
from octshard.errors import OctshardError
from tests.support.made_release import sound, unpacked

GUARD = 'must stand below `if __name__ == "__main__":`'
SHARD = """
from octshard.config.prep import PrepConfig
from octshard.prep.build import run
print("stored", run.shard(PrepConfig(src="release", dst="shards", workers=2), ["all"])[0].stored)
"""
PHANTOM = """
from octshard.phantom.release import ReleaseSpec, write_release
print("stored", write_release("made", ReleaseSpec(1, 0, 0.02, False), 2).participants)
"""


def script(folder: Path, text: str) -> Path:
    unpacked(folder / "release", [sound(1), sound(2)], {"1001": "train"})
    (folder / "script.py").write_text(text)
    return folder / "script.py"


def python(
    folder: Path, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **environment, "PYTHONPATH": str(Path(pool.__file__).parents[1])}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("text", [SHARD, PHANTOM])
def test_a_script_without_the_guard_is_told_so(tmp_path: Path, text: str) -> None:
    run = python(tmp_path, str(script(tmp_path, text)))
    assert run.returncode == 1
    assert run.stderr.rstrip().endswith(GUARD)
    assert run.stderr.count(GUARD) == 1
    assert "stored" not in run.stdout
    assert not list(tmp_path.glob("shards/*/*.done.json"))  # no file is to blame, so none has a row


def test_a_script_that_cannot_be_imported_again_is_told_so(tmp_path: Path) -> None:
    once = "import os\nos.rename('once', 'used')\n"
    (tmp_path / "once").touch()
    run = python(tmp_path, str(script(tmp_path, once + SHARD)))
    assert run.stderr.rstrip().endswith(GUARD)
    assert not list(tmp_path.glob("shards/*/*.done.json"))


@pytest.mark.parametrize("text", [SHARD, PHANTOM])
def test_a_script_without_a_file_needs_no_guard(tmp_path: Path, text: str) -> None:
    script(tmp_path, text)
    run = python(tmp_path, "-", stdin=text)
    assert (run.returncode, run.stderr) == (0, "")
    assert "stored" in run.stdout


def test_a_tmpdir_longer_than_a_socket_s_address(tmp_path: Path) -> None:
    body = SHARD.strip().splitlines()
    text = "\n".join([*body[:2], 'if __name__ == "__main__":', f"    {body[2]}"])
    path = script(tmp_path, text)
    for length in (76, 77, 150):  # the last that fits, the first that does not
        folder = Path("/tmp") / ("t" * (length - 5))
        folder.mkdir()
        try:
            run = python(tmp_path, str(path), TMPDIR=str(folder))
            assert (run.returncode, run.stdout) == (0, "stored 2\n"), run.stderr
            assert list(folder.iterdir()) == []
        finally:
            shutil.rmtree(folder)
            shutil.rmtree(tmp_path / "shards", ignore_errors=True)


def test_a_guarded_script_works(tmp_path: Path) -> None:
    body = SHARD.strip().splitlines()
    text = "\n".join([*body[:2], 'if __name__ == "__main__":', f"    {body[2]}"])
    run = python(tmp_path, str(script(tmp_path, text)))
    assert (run.returncode, run.stdout) == (0, "stored 2\n")


def test_a_killed_worker_is_one_line() -> None:
    with (
        pytest.raises(OctshardError, match="a worker process was killed, perhaps out of memory"),
        pool.process_pool(1, pool.no_setup) as executor,
    ):
        executor.submit(os.abort).result()

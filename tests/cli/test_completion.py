"""What the shell completes, asked as the scripts of the shells ask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
eval "$(_OCTSHARD_COMPLETE=bash_source octshard)"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
compopt() { options="$2"; }
_octshard_completion octshard
echo "${COMPREPLY[@]}|${options-}"
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `octshard` is this checkout's."""
    script = tmp_path / "octshard"
    script.write_text(f"#!{sys.executable}\nfrom octshard.cli.main import main\nmain()\n")
    script.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["train", "run.dev"], "run.device=|nospace"),
        (["train", "run.device", "="], "auto cpu cuda xla|"),  # bash cuts words at =
        (["train", "run.device", "=", "c"], "cpu cuda|"),
        (["train", "run.compile", "=", ""], "true false|"),
        (["train", "--config", "sm"], "smoke_test|"),
        (["prep", "shard", "--config", "ret"], "retina|"),
        (["prep", "shard", "--set", "eng"], "engine=|nospace"),
        (["eval", "linear-probe", "boot"], "bootstrap=|nospace"),
        (["config", "pr"], "prep probe|"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes(path: str, words: list[str], reply: str) -> None:
    completed = subprocess.run(
        ["bash", "-c", ASK, "bash", "octshard", *words],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.strip() == reply, completed.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_meanings_too(path: str, shell: str) -> None:
    words = {"COMP_WORDS": "octshard train model.de", "COMP_CWORD": "2" if shell == "zsh" else "model.de"}
    completed = subprocess.run(
        ["octshard"],
        env={
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "_OCTSHARD_COMPLETE": f"{shell}_complete",
            **words,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "model.depth=" in completed.stdout
    assert "blocks" in completed.stdout

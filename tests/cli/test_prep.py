"""`octshard prep`: exit codes and last lines of its commands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_main import run
from tests.support.made_release import changed, sound, unpacked, zipped


def lines(capsys: Any) -> tuple[str, str]:
    """The last lines on stdout and on stderr."""
    shown = capsys.readouterr()
    out, err = (text.strip().splitlines()[-1:] or [""] for text in (shown.out, shown.err))
    return out[0], err[0]


def shard(monkeypatch: pytest.MonkeyPatch, root: Path, dst: Path, *more: str) -> int:
    words = ["prep", "shard", str(root), str(dst), "--device", "all", "--workers", "1", *more]
    return run(monkeypatch, [*words, "--set", "target_spacing=[0.08,0.04,0.04]"])


def test_shards_of_nothing_are_a_failure_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    damaged = [changed(i, lambda data: b"<html>404</html>") for i in (1, 2)]
    root = unpacked(tmp_path / "release", damaged, {"1001": "train"})
    for _ in range(2):  # what an earlier run refused is no better
        assert shard(monkeypatch, root, tmp_path / "dst") == 1
        out, err = lines(capsys)
        assert "0 volumes in 0 shards" in out
        assert err.startswith(f"octshard: {tmp_path}/dst/")
        assert "every file was refused, nothing is stored" in err
    assert shard(monkeypatch, root, tmp_path / "dst", "--allow-empty") == 0


def test_one_sound_file_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is of another device than those that came to nothing: their lines say so."""
    nothing = replace(changed(3, lambda data: b""), device="zeiss_cirrus")
    files = [sound(1), changed(2, lambda data: b""), nothing]
    root = unpacked(tmp_path / "release", files, {"1001": "train"})
    assert shard(monkeypatch, root, tmp_path / "dst") == 0


def test_nothing_unzipped_is_a_failure_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    root, dst = zipped(tmp_path / "release", [sound(1), sound(2)], {"1001": "train"}), tmp_path / "dst"
    words = ["prep", "unzip", str(root), str(dst)]
    archives = list(root.rglob("*.zip"))
    whole = {path: path.read_bytes() for path in archives}
    for path in archives:
        path.write_bytes(path.read_bytes().replace(b"PK\3\4", bytes(4)))  # where each member begins
    assert run(monkeypatch, words) == 1
    assert "not one file of" in lines(capsys)[1]
    assert run(monkeypatch, [*words, "--allow-empty"]) == 0
    for path, data in whole.items():
        path.write_bytes(data)
    assert run(monkeypatch, words) == 0
    assert run(monkeypatch, words) == 0  # all of it is there already

"""`octshard export-volume` and `octshard view`: files, exit codes, one line for each error."""

import sys
from pathlib import Path

import numpy as np
import pytest

from octshard.cli import main
from octshard.dataset import tables
from tests.support.tiny_run import write_dataset


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 2})


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["octshard", *words])
    try:
        main.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_a_volume_is_written_and_named(shards, tmp_path: Path, monkeypatch, capsys) -> None:
    row = tables.open_dataset(shards).samples("train")[1]
    out = tmp_path / "a.npy"
    assert run(monkeypatch, "export-volume", shards, row.key, "--out", str(out)) == 0
    assert capsys.readouterr().out.startswith(f"{out}: {row.key}, ")
    assert np.load(out).shape == row.shape_out
    assert run(monkeypatch, "export-volume", shards, row.key, "--out", str(out)) == 2
    assert "want another place, or --replace" in capsys.readouterr().err


def test_a_page_is_written_and_named(shards, tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "view.html"
    assert run(monkeypatch, "view", shards, "--out", str(out), "--count", "1") == 0
    assert capsys.readouterr().out == f"page: {out}\n"
    assert "1 of 2 stored volumes shown, 1 file refused" in out.read_text()
    assert run(monkeypatch, "view", shards, "--key", "a", "--count", "1") == 2
    assert run(monkeypatch, "view", shards, "--key", "a", "--out", str(out)) == 2

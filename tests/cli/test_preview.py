"""`octshard preview`: files, exit codes, one line for each error."""

import sys
from pathlib import Path

import pytest

from octshard.cli import main
from tests.support.tiny_run import SETTINGS, write_dataset

KEYS = [setting for setting in SETTINGS if not setting.startswith(("run.cpu_threads", "model.depth"))]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 9, "val": 3})


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["octshard", "preview", "--config", "demo", *KEYS, *words])
    try:
        main.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_files_are_written_and_named(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, gif = tmp_path / "p.png", tmp_path / "p.gif"
    assert run(monkeypatch, f"data.shards={shards}", "--out", str(out), "--gif", str(gif)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(out), str(gif)]
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert gif.read_bytes()[:4] == b"GIF8"


def test_a_damaged_volume_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = write_dataset(tmp_path / "damaged", {"train": 5, "val": 1})
    shard = tmp_path / "damaged" / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    for place in range(600, len(data), 700):
        data[place] ^= 0xFF
    shard.write_bytes(bytes(data))
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, f"data.shards={shards}") == 1
    shown = capsys.readouterr()
    (line,) = shown.err.strip().splitlines()
    assert "train-000000.tar at " in line
    assert not (tmp_path / "preview.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.shards={shards}", "--out", "p.bmp"], "p.bmp: want a name that ends in .png, .pdf or .svg"),
        (["data.shards={shards}", "--gif", "p.png"], "p.png: want a name that ends in .gif"),
        (["data.shards={shards}", "--key", "nobody"], "--key nobody: the key of no volume in data.shards"),
        (["data.shards={shards}", "--key", "a", "--count", "2"], "--key and --count=2: want one of the two"),
        (["data.shards={shards}", "--count", "0"], "0 is not in the range"),
        (["data.shards={shards}", "--checkpoint", "absent"], "absent"),
        ([], "data.shards: empty"),
        (["data.shards={shards}", "model.depht=2"], "did you mean model.depth"),
    ],
)
def test_what_the_user_got_wrong_is_one_line(
    shards: str,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *(word.format(shards=shards) for word in words)) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.iterdir())

"""`octshard prep`: exit codes and last lines of its commands."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octshard.dataset import tables
from octshard.rng import rng_for
from tests.cli.test_main import run
from tests.support import scan_folder
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


def test_a_folder_of_scans_needs_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    root, dst = (
        scan_folder.write(
            tmp_path / "scans", {f"P{i}/{i}.dcm": scan_folder.dicom(number=i) for i in range(2)}
        ),
        tmp_path / "dst",
    )
    words = [
        "prep",
        "shard",
        str(root),
        str(dst),
        "--workers",
        "1",
        "--set",
        "target_spacing=[0.08,0.04,0.04]",
    ]
    assert run(monkeypatch, [*words, "--dry-run"]) == 0
    assert not dst.exists()
    capsys.readouterr()
    assert run(monkeypatch, words) == 0
    shown = capsys.readouterr()
    assert f"no manifest.tsv, so its scans are looked for; the manifest is {dst}/manifest.tsv" in shown.err
    assert "2 scans of 2 people" in shown.out
    assert "topcon_triton: 2 volumes in 1 shards" in shown.out
    assert sorted(path.name for path in root.iterdir()) == ["P0", "P1"]  # nothing was written there
    assert run(monkeypatch, words) == 0
    shown = capsys.readouterr()
    assert f"{dst}/manifest.tsv: read as the manifest of {root}" in shown.err
    assert "(1 kept from an earlier run)" in shown.out
    assert run(monkeypatch, ["prep", "verify", str(dst)]) == 0
    other = scan_folder.write(tmp_path / "other", {"P1/1.dcm": scan_folder.dicom()})
    assert run(monkeypatch, ["prep", "shard", str(other), *words[3:]]) == 2
    assert f"it lists {root}, not {other}; name another DST" in lines(capsys)[1]


def test_a_folder_in_which_nobody_is_named_says_which_command_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    root = scan_folder.write(
        tmp_path / "scans", {"1.dcm": scan_folder.dicom(), "2.dcm": scan_folder.dicom("7", number=2)}
    )
    words = ["prep", "shard", str(root), str(tmp_path / "dst"), "--workers", "1"]
    assert run(monkeypatch, words) == 2
    err = lines(capsys)[1]
    assert "no folder above it names a person; give --pattern" in err
    command = f"octshard prep index {root} --out {tmp_path}/dst/manifest.tsv"
    assert command in err
    assert run(monkeypatch, [*command.split()[1:], "--person-from", "dicom"]) == 0
    assert run(monkeypatch, [*words, "--set", "target_spacing=[0.08,0.04,0.04]"]) == 0


def test_an_index_elsewhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    root, out = (
        scan_folder.write(tmp_path / "scans", {"a_L.dcm": scan_folder.dicom()}),
        tmp_path / "x" / "m.tsv",
    )
    index = [
        "prep",
        "index",
        str(root),
        "--out",
        str(out),
        "--pattern",
        "{person}_{eye}.dcm",
        "--device",
        "mine",
    ]
    assert run(monkeypatch, index) == 0
    assert "1 scans of 1 people" in capsys.readouterr().out
    (out.parent / "participants.tsv").write_text("person_id\trecommended_split\na\tval\n")
    assert shard(monkeypatch, root, tmp_path / "dst", "--manifest", str(out)) == 0
    assert "people split: 1 as participants.tsv recommends" in capsys.readouterr().out
    assert shard(monkeypatch, root, tmp_path / "dst", "--manifest", str(tmp_path / "none.tsv")) == 2
    assert "none.tsv: no such manifest; octshard prep index" in lines(capsys)[1]
    report = run(monkeypatch, ["prep", "report", str(tmp_path / "dst")])
    assert report == 0


def test_scans_of_other_formats_are_indexed_and_built_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    voxels = io.BytesIO()
    np.save(voxels, rng_for("npy", 1).integers(0, 256, (6, 20, 24), dtype=np.uint8))
    files = {
        "P1/visit_OD.npy": voxels.getvalue(),
        "P2/visit_OS.dcm": scan_folder.dicom(),
        "P2/notes.md": b"text",
    }
    root = scan_folder.write(tmp_path / "scans", files)
    words = ["prep", "shard", str(root), str(tmp_path / "dst"), "--workers", "1"]
    assert run(monkeypatch, [*words, "--set", "image_size=[4,16,16]"]) == 0
    out = capsys.readouterr().out
    assert "formats: dicom 1, npy 1" in out
    assert f"{tmp_path}/dst/unknown: 1 volumes are stretched to image_size" in out
    assert out.count("are stretched") == 1
    assert out.endswith(f"next: octshard prep report {tmp_path}/dst\n")
    (row,) = tables.open_dataset(str(tmp_path / "dst" / "unknown")).rows
    assert (row.participant, row.eye, row.format, row.protocol, row.status) == (
        "P1",
        "R",
        "npy",
        "visit_OD",
        "ok",
    )

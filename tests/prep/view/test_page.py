"""The page to leaf through volumes: bounded, self-contained, and its slider and search work in a browser."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from octshard.dataset import shard, tables
from octshard.dataset.shard import Sample
from octshard.dataset.stored_volumes import stored_volumes
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import UsageError
from octshard.prep.view import page, volume_stack
from octshard.prep.view.page import ViewRequest
from octshard.rng import rng_for
from octshard.storage import store
from tests.support.chromium_page import browser

DEVICE, EVIL = "topcon_triton", '</script><script>alert("1")</script>'
SHAPE = (9, 40, 60)


def key_of(number: int) -> str:
    return f"100{number}-{DEVICE}-3d_macula-L-{number}beccc3e0c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three volumes, whose B-scans are ever brighter, and a refused file; one name is markup."""
    there = str(tmp_path_factory.mktemp("shards") / DEVICE)
    rows, slices, at = [], [], 0
    for number in range(3):
        voxels_DHW = rng_for("view", number).integers(0, 100, SHAPE, dtype=np.uint8)
        voxels_DHW = (voxels_DHW // 8 + 20 * np.arange(9)[:, None, None]).astype(np.uint8)
        slices.append(shard.pack(key_of(number), {}, voxels_DHW, 1))
        row = SampleRow(
            key_of(number), f"100{number}", DEVICE, "Topcon", "Triton", EVIL, "Macula",
            "LRL"[number], "train",
            f"oct/{number}.dcm", shard="train-000000.tar", offset=at, nbytes=len(slices[-1]),
            xxh3=shard.slice_digest(slices[-1]), shape_out=SHAPE, spacing_out=(0.3, 0.01, 0.05),
            flags=("saturated",) if number == 2 else (),
        )  # fmt: skip
        rows.append(row)
        at += len(slices[-1])
    bad = SampleRow("bad", "9", DEVICE, "", "", "", "", "", "train", "b.dcm", status="refused",
                    reason="truncated", detail="ends at byte 7")  # fmt: skip
    with store.open_write(store.join(there, "train-000000.tar")) as file:
        sums = shard.write(file, slices)
    infos = [ShardInfo("train-000000.tar", DEVICE, "train", 3, sums.bytes, sums.sha256)]
    tables.write_rows(store.join(there, tables.SAMPLES), [*rows, bad])
    tables.write_shards(store.join(there, tables.SHARDS), infos)
    tables.write_info(store.join(there, tables.INFO), {"counts": {"train": 3}, "device": DEVICE})
    return there


def written(folder: str, out: Path, *keys: str, count: int = 12) -> str:
    page.write(ViewRequest(folder, str(out), keys, count, ""))
    return out.read_text()


def stacks(text: str) -> list[tuple[int, list]]:
    return [json.loads(data) for data in re.findall(r'<script type="application/json">(.*?)</script>', text)]


def test_every_b_scan_is_there_where_there_is_room_and_refused_files_are_listed(folder, tmp_path):
    text = written(folder, tmp_path / "view.html")
    assert [(total, [n for n, _ in frames]) for total, frames in stacks(text)] == [(9, list(range(9)))] * 3
    assert "ends at byte 7" in text
    assert EVIL not in text
    assert not re.search('(src|href)="(?!data:|#)', text)
    assert written(folder, tmp_path / "again.html") == text


def test_keys_and_counts_choose(folder, tmp_path):
    text = written(folder, tmp_path / "view.html", key_of(2), key_of(0))
    assert re.findall(r"<h3>(100\d)", text) == ["1002", "1000"]
    assert len(stacks(written(folder, tmp_path / "view.html", count=1))) == 1
    with pytest.raises(UsageError, match=f"did you mean {key_of(1)}"):
        written(folder, tmp_path / "other.html", key_of(1)[:-1])
    assert not (tmp_path / "other.html").exists()


def test_with_less_room_fewer_b_scans_are_drawn_and_the_middle_one_always(folder, tmp_path, monkeypatch):
    text = written(folder, tmp_path / "view.html")
    monkeypatch.setattr(page, "MOST_BYTES", len(text.encode()) - 8_000)
    small = written(folder, tmp_path / "small.html")
    assert len(small.encode()) <= page.MOST_BYTES
    for _, frames in stacks(small):
        assert 1 < len(frames) < 9
        assert 4 in [n for n, _ in frames]
    (volume, *_) = stored_volumes([tables.open_dataset(folder)])
    least = volume_stack.draw(volume, 0)
    assert [n for n, _ in least.frames] == [4]
    assert least.facts.endswith(
        "1 of its 9 B-scans fit on this page; with fewer volumes (--key, --count) more do."
    )
    assert "9 × 40 × 60 voxels, 300 × 10 × 50 µm, 2.7 × 0.4 × 3 mm. Flags: none." in least.facts.replace(
        "\xa0", " "
    )
    assert "fit on this page" not in text


def test_where_not_one_b_scan_fits_it_is_drawn_smaller(folder, monkeypatch):
    (volume, *_) = stored_volumes([tables.open_dataset(folder)])
    voxels_DHW = rng_for("large", 0).integers(0, 255, (12, 900, 700), dtype=np.uint8)
    monkeypatch.setattr(type(volume), "read", lambda _: Sample(volume.row.key, {}, voxels_DHW))
    stack = volume_stack.draw(volume, 60_000)
    assert len(stack.frames[0][1]) + len(stack.en_face) <= 60_000
    picture = Image.open(io.BytesIO(base64.b64decode(stack.frames[0][1].partition(",")[2])))
    assert max(picture.size) <= 320
    assert stack.aspects == (700 * 0.05 / (900 * 0.01), 700 * 0.05 / (12 * 0.3))


def test_twelve_of_sixteen_bits_are_drawn_in_their_grey(folder, monkeypatch):
    (volume, *_) = stored_volumes([tables.open_dataset(folder)])
    voxels_DHW = np.full(SHAPE, 4095, np.uint16)
    voxels_DHW[:, :20] = 2048
    monkeypatch.setattr(
        type(volume), "read", lambda _: Sample(volume.row.key, {"source_levels": [0, 4095]}, voxels_DHW)
    )
    _, uri = volume_stack.draw(volume, 10**6).frames[0]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert abs(int(picture[5, 30]) - 128) < 3
    assert abs(int(picture[35, 30]) - 255) < 3


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_slider_click_and_search_in_a_browser(folder, tmp_path, width):
    written(folder, tmp_path / "view.html")
    with browser(tmp_path / "profile") as chromium:
        chromium.open(tmp_path / "view.html", width)
        assert chromium.value("document.documentElement.scrollWidth <= innerWidth")
        assert chromium.value("[...document.images].every(image => image.naturalWidth > 0)")
        grey = (
            "(async () => { const i = document.querySelector('.frame img'); await i.decode();"
            "const c = document.createElement('canvas').getContext('2d'); c.drawImage(i, 0, 0);"
            "return c.getImageData(30, 20, 1, 1).data[0]; })()"
        )
        slide = "(n => { const f = document.querySelector('.stack input'); f.value = n;"
        slide += "f.dispatchEvent(new Event('input')); })"
        for number in (0, 8):
            chromium.value(f"{slide}({number})")
            assert chromium.value("document.querySelector('.stack output').value") == str(number + 1)
            assert abs(chromium.value(grey) - 20 * number - 6) < 15
        chromium.value(
            "(() => { const a = document.querySelector('.above'), b = a.getBoundingClientRect();"
            "a.dispatchEvent(new MouseEvent('click', {clientY: b.top + b.height * 2.5 / 9})); })()"
        )
        assert chromium.value("document.querySelector('.stack output').value") == "3"
        chromium.value(
            "(() => { const b = document.querySelector('input[type=search]'); b.value = 'SATURATED 1002';"
            "b.dispatchEvent(new Event('input')); })()"
        )
        assert chromium.value("document.querySelectorAll('.stack:not([hidden])').length") == 1
        assert not chromium.errors

"""The page of prep report: right numbers, real pictures, one file, and it works in a browser."""

import base64
import dataclasses
import html
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError, UsageError
from octshard.prep.build import shard_writer
from octshard.prep.refusals import FLAG_MEANS, REASON_MEANS, REASONS
from octshard.prep.report import page
from octshard.prep.report.content import Shards
from octshard.prep.report.page import Pictures
from octshard.report import page as markup
from octshard.report.histograms import histograms
from octshard.rng import rng_for
from octshard.storage import store
from tests.support.chromium_page import Page, browser

TRITON, CIRRUS = "topcon_triton", "zeiss_cirrus"
EVIL = '<script>alert("1")</script>'
CONFIG = {"target_spacing": [0.05, 0.02, 0.02], "fit": "crop_pad", "decode": "exact"}


def voxels(number: int) -> np.ndarray:
    """9 B-scans of 20 x 40 smooth seeded noise."""
    noise = rng_for("report", number).integers(0, 200, (9, 20, 40), dtype=np.uint8)
    return np.sort(noise, axis=1)


def scan(number: int, device: str = TRITON, **changes: object) -> SampleRow:
    """The row of a stored volume, before it is packed: 2.7 x 0.8 x 0.4 mm of 27 x 200 x 40 voxels."""
    row = SampleRow(
        key=f"{number}-{device}", participant=str(1000 + number), device=device, manufacturer="Topcon",
        model="Triton", protocol="3d_macula", region="Macula", eye="L", split="train",
        source=f"oct/{number}.dcm", source_bytes=216_000, transfer_syntax="1.2", frames=27, rows=200, cols=40,
        bits=8, spacing_in=(0.1, 0.004, 0.01), spacing_source="shared", geometry="raster",
    )  # fmt: skip
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def refused(number: int, reason: str, device: str = TRITON, **changes: object) -> SampleRow:
    row = scan(number, device, status="refused", reason=reason, detail=f"seen {number}")
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def dataset(folder: str, rows: list[SampleRow], device: str = TRITON) -> list[SampleRow]:
    """Writes a dataset folder that holds `rows` in one tar; returns them as its table has them."""
    made, slices, at = [], [], 0
    for number, row in enumerate(rows):
        if row.status == "ok":
            voxels_DHW = voxels(number)
            data = shard.pack(row.key, {}, voxels_DHW, 1)
            slices.append(data)
            row = dataclasses.replace(
                row, shard="train-000000.tar", offset=at, nbytes=len(data), xxh3=shard.slice_digest(data),
                shape_out=(9, 20, 40), spacing_out=row.spacing_out or (0.3, 0.04, 0.01), dtype="uint8",
                mean=float(voxels_DHW.mean()), std=float(voxels_DHW.std()), p01=0.0, p99=199.0,
            )  # fmt: skip
            at += len(data)
        made.append(row)
    infos = []
    if slices:
        with store.open_write(store.join(folder, "train-000000.tar")) as file:
            sums = shard.write(file, slices)
        infos = [ShardInfo("train-000000.tar", device, "train", len(slices), sums.bytes, sums.sha256)]
    tables.write_rows(store.join(folder, tables.SAMPLES), made)
    tables.write_shards(store.join(folder, tables.SHARDS), infos)
    info = {"device": device, "config": CONFIG, "config_digest": "d1", "code_version": "9.9"}
    tables.write_info(store.join(folder, tables.INFO), info | {"counts": shard_writer.counts(made)})
    return made


def written(shards: str, seed: int = 0) -> str:
    """The page as text."""
    return store.read(page.write(shards, "", seed, lambda *_: None)).decode()


class Reading(HTMLParser):
    """The page as its reader meets it: tables by heading as rows of text, pictures, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.images: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.tags: Counter[str] = Counter()
        self.inside: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.inside):
            self.words.append(data)
        if {"td", "th"} & set(self.inside):
            self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> dict[str, list[str]]:
        """The rows of the table with these first headings, by their first cell."""
        (found,) = [table for table in self.tables if table[0][: len(heads)] == list(heads)]
        return {row[0]: row[1:] for row in found[1:]}


def test_the_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    triton = dataset(
        str(tmp_path / TRITON),
        [
            scan(1),
            scan(1, key="1b", protocol="3d_radial", region="Optic Disc", flags=("constant", "saturated")),
            scan(2, split="val", flags=("constant",)),
            refused(3, "truncated"),
            refused(4, "truncated", participant="1001"),
            refused(5, "not_dicom", split="test"),
        ],
    )
    cirrus = dataset(str(tmp_path / CIRRUS), [scan(1, CIRRUS), refused(9, "truncated", CIRRUS)], CIRRUS)
    shown = Reading(written(str(tmp_path)))
    assert "8 files listed, 4 volumes of 2 people stored, 4 files refused" in shown.text

    tars = {device: (tmp_path / device / "train-000000.tar").stat().st_size for device in (TRITON, CIRRUS)}
    devices = shown.table("device", "files", "volumes", "refused", "people", "shards")
    unit = 1e6 if sum(tars.values()) >= 1e6 else 1e3
    assert devices[TRITON] == ["6", "3", "3", "2", "1", "648.00", f"{tars[TRITON] / unit:.2f}"]
    assert devices[CIRRUS] == ["2", "1", "1", "1", "1", "216.00", f"{tars[CIRRUS] / unit:.2f}"]
    assert devices["all"][:5] == ["8", "4", "4", "2", "2"]

    reasons = shown.table("reason", "files")
    assert reasons["truncated"] == ["3", "37.5", "damaged or missing", f"{TRITON}, {CIRRUS}"]
    assert reasons["not_dicom"] == ["1", "12.5", "damaged or missing", TRITON]
    files = shown.table("refused file", "reason")
    assert files["oct/3.dcm"] == ["truncated", TRITON, "seen 3"]
    assert list(files) == ["oct/5.dcm", "oct/3.dcm", "oct/4.dcm", "oct/9.dcm"]
    assert REASON_MEANS["truncated"] in shown.text
    assert "oct/3.dcm: seen 3" in shown.text

    flags = shown.table("flag", "volumes")
    assert flags["constant"] == ["2", "50.0", "0", "a look", TRITON]
    assert flags["saturated"] == ["1", "25.0", "0", "a look", TRITON]
    assert FLAG_MEANS["saturated"] in shown.text

    stored = {
        split: sum(r.nbytes or 0 for r in triton + cirrus if r.split == split) for split in ("train", "val")
    }
    splits = shown.table("split", "files", "volumes")
    assert list(splits) == ["train", "val", "test"]
    assert splits["train"] == ["6", "3", "3", "1", f"{stored['train'] / 1e3:.2f}"]
    assert splits["val"] == ["1", "1", "0", "1", f"{stored['val'] / 1e3:.2f}"]
    assert splits["test"] == ["1", "0", "1", "0", "0.00"]

    protocols = shown.table("device", "protocol", "region")
    assert len(protocols) == 2  # by device: the last of each
    shapes = shown.table("device", "protocol", "volumes", "shape in")
    assert shapes[CIRRUS][:4] == [
        "3d_macula",
        "1",
        "27\u00a0×\u00a0200\u00a0×\u00a040",
        "9\u00a0×\u00a020\u00a0×\u00a040",
    ]
    assert shown.table("setting", "value")["target_spacing"] == ["[0.05, 0.02, 0.02]"]
    assert "No participant stands in more than one split." in shown.text


def test_the_same_shards_give_the_same_page_but_for_where_they_lie(tmp_path: Path) -> None:
    dataset(str(tmp_path / "a" / TRITON), [scan(i) for i in range(8)])
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "a")
    text = written(str(tmp_path / "a"))
    there = written(str(tmp_path / "elsewhere" / "a"))
    assert there != text  # its commands have the paths
    assert there.replace(str(tmp_path / "elsewhere"), str(tmp_path)) == text
    assert written(str(tmp_path / "a")) == text  # the page itself, which now lies there, is no part of it
    assert written(str(tmp_path / "a"), seed=1) != text


def test_one_folder_alone_and_any_store_will_do(tmp_path: Path) -> None:
    dataset(str(tmp_path / TRITON), [scan(1)])
    there = f"memory://report-{rng_for('there').integers(2**60)}"
    dataset(store.join(there, TRITON), [scan(1)])
    text = written(str(tmp_path / TRITON))
    assert "1 file listed, 1 volume of 1 person stored, 0 files refused" in Reading(text).text
    alone = written(store.join(there, TRITON))
    assert alone.replace(there, str(tmp_path)) == text
    out = store.join(there, "pages", "mine.html")
    assert page.write(store.join(there, TRITON), out, 0, lambda *_: None) == out
    assert store.read(out).decode() == alone


def test_the_worst_flagged_volumes_are_shown_with_what_they_are_flagged_for(tmp_path: Path) -> None:
    quiet, loud = {"flags": ("slow_axis_flipped",)}, {"flags": ("saturated",), "detail": "9 % at 255"}
    dataset(str(tmp_path), [scan(1, **quiet), scan(2, **loud)])
    text = written(str(tmp_path))
    section = text.split('<section id="worst-refused-and-flagged">')[1].split("</section>")[0]
    assert f"<figcaption>saturated: 2-{TRITON}: 9" in section
    assert ". 9 % at 255</figcaption>" in section
    assert f"1-{TRITON}" not in section


def test_two_folders_of_one_device_may_hold_the_same_keys(tmp_path: Path) -> None:
    dataset(str(tmp_path / "a"), [scan(1), scan(2, flags=("saturated",))])
    dataset(str(tmp_path / "b"), [scan(2, flags=("saturated",)), scan(1)])
    shown = Reading(written(str(tmp_path)))
    assert len(shown.images) == 2 * (4 + 2)


def test_pictures_are_of_the_stored_voxels_and_to_scale(tmp_path: Path) -> None:
    dataset(str(tmp_path), [scan(0), scan(1, assumed_spacing=1)])
    shown = Reading(written(str(tmp_path)))
    assert len(shown.images) == 4
    seen = {str(image["alt"]): image for image in shown.images}
    for number in (0, 1):
        bscan = pixels(seen[f"Central B-scan of {number}-{TRITON}, 3d_macula, eye L"])
        np.testing.assert_array_equal(bscan, voxels(number)[4])
        en_face = pixels(seen[f"En-face mean of {number}-{TRITON}, 3d_macula, eye L"])
        assert en_face.shape == (9, 40)
        mean = voxels(number).mean(axis=1)
        assert np.corrcoef(en_face.ravel(), mean.ravel())[0, 1] > 0.98
    # 2.7 x 0.8 x 0.4 mm (D, H, W); square pixels where the spacing was assumed
    ratios = [float(re.search(r"aspect-ratio:([\d.]+)", str(image["style"]))[1]) for image in shown.images]  # type: ignore[index]
    assert sorted(ratios) == pytest.approx(sorted([0.4 / 0.8, 0.4 / 2.7, 40 / 20, 40 / 9]), abs=1e-3)
    assert "9\u00a0×\u00a020\u00a0×\u00a040 voxels (D × H × W)".replace("\u00a0", " ") in shown.text.replace(
        "\u00a0", " "
    )


def test_the_share_of_found_retina_stands_by_device_and_old_volumes_are_told_apart(tmp_path: Path) -> None:
    dataset(str(tmp_path / TRITON), [scan(0, retina_found=1.0), scan(1, retina_found=0.25)])
    dataset(str(tmp_path / CIRRUS), [scan(0, CIRRUS)], CIRRUS)  # of octshard 0.1
    shown = Reading(written(str(tmp_path)))
    assert shown.table("device", "volumes", "looked at") == {TRITON: ["2", "2", "62.5", "1", "0"]}
    assert "inner limiting membrane" not in shown.text  # no picture has lines


@pytest.mark.parametrize("rows", [[refused(1, "truncated")], []], ids=["all refused", "no row"])
def test_a_dataset_without_a_volume_has_a_page(tmp_path: Path, rows: list[SampleRow]) -> None:
    dataset(str(tmp_path), rows)
    text = written(str(tmp_path))
    assert "nothing to see" in text
    assert f"{len(rows)} file" in text


def test_names_with_markup_are_text(tmp_path: Path) -> None:
    evil = dict.fromkeys(
        ("participant", "protocol", "region", "source", "detail", "spacing_source", "eye"), EVIL
    )
    rows = [
        scan(1, **evil, flags=(EVIL,)),
        refused(2, "truncated", **evil),
        refused(3, EVIL),
    ]
    crossing = scan(4, **evil, split="val")
    dataset(str(tmp_path), [*rows, crossing], device=EVIL)
    (tmp_path / tables.RUN_INFO).write_text(json.dumps({"engine": EVIL, "seconds": EVIL}))
    info = json.loads((tmp_path / tables.INFO).read_text())
    tables.write_info(str(tmp_path / tables.INFO), info | {"config": {EVIL: EVIL}, "code_version": EVIL})
    text = written(str(tmp_path))
    assert text.count("<script>") == 1  # ours, that sorts
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(", "", text.replace("_<wbr>", "_"))
    assert EVIL in Reading(text).text


def test_nothing_is_fetched(tmp_path: Path) -> None:
    dataset(str(tmp_path), [scan(1)])
    text = written(str(tmp_path))
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\((?!#)|@import|https?:", text)
    assert "default-src 'none'" in text


def test_a_person_in_two_splits_is_named(tmp_path: Path) -> None:
    dataset(str(tmp_path), [scan(1), scan(2, participant="1001", split="test")])
    assert "1 participant in more than one split" in written(str(tmp_path))
    assert "1001 in test and train" in written(str(tmp_path))


def test_blank_frames_fast_decoding_and_assumed_spacings_are_told(tmp_path: Path) -> None:
    rows = [
        scan(1, blank_frames=2, no_retina_frames=0, decoded_level=1, fast_psnr_db=44.0),
        scan(2, blank_frames=0, no_retina_frames=5, decoded_level=1, fast_psnr_db=48.0),
        scan(3, blank_frames=3, decoded_level=1, assumed_spacing=1),
        scan(4, decoded_level=0),
    ]
    dataset(str(tmp_path), rows)
    shown = Reading(written(str(tmp_path)))
    frames = shown.table("frames", "volumes with any")
    assert frames["blank"] == ["2", "3", "5", "3"]
    assert frames["without a retina"] == ["1", "2", "5", "5"]
    assert "3 volumes decoded from JPEG 2000 at reduced resolution" in shown.text
    assert "on 2 of them: median 46.0 dB, least 44.0 dB" in shown.text
    assert "1 volume without a usable spacing" in shown.text


def test_throughput_is_shown_where_a_run_left_word(tmp_path: Path) -> None:
    dataset(str(tmp_path), [scan(1)])
    assert "Throughput" not in written(str(tmp_path))
    (tmp_path / tables.RUN_INFO).write_text('{"engine": "local", "workers": 2, "files_per_s": 12.5}')
    speed = Reading(written(str(tmp_path))).table("device", "engine", "workers", "files/s")
    assert speed == {TRITON: ["local", "2", "12.500"]}
    for text in ("{", "[]"):
        (tmp_path / tables.RUN_INFO).write_text(text)
        assert "Throughput" not in written(str(tmp_path))


def test_settings_that_differ_stand_side_by_side(tmp_path: Path) -> None:
    for device in (TRITON, CIRRUS):
        dataset(str(tmp_path / device), [scan(1, device)], device)
    tables.write_info(
        str(tmp_path / CIRRUS / tables.INFO),
        {"device": CIRRUS, "config": CONFIG | {"fit": "resize"}, "config_digest": "d2", "counts": {}},
    )
    table = Reading(written(str(tmp_path))).table("setting", TRITON, CIRRUS)
    assert table["fit"] == ['"crop_pad"', '"resize"']
    assert table["config digest"] == ["d1", "d2"]
    assert table["code version"] == ["9.9", "not said"]


def test_what_is_no_dataset_is_a_usage_error_and_an_unfinished_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="octshard prep shard"):
        written(str(tmp_path))
    (tmp_path / CIRRUS).mkdir()
    (tmp_path / CIRRUS / tables.PLAN).write_text("{}")
    with pytest.raises(UsageError, match="octshard prep shard"):
        written(str(tmp_path))
    dataset(str(tmp_path / TRITON), [scan(1)])
    (tmp_path / "notes").mkdir()
    assert f"{CIRRUS} is not finished" in written(str(tmp_path))


def test_a_bad_sample_is_named(tmp_path: Path) -> None:
    row = dataset(str(tmp_path), [scan(1)])[0]
    tar = tmp_path / "train-000000.tar"
    whole = bytearray(tar.read_bytes())
    whole[600] ^= 1
    tar.write_bytes(whole)
    with pytest.raises(OctshardError, match=rf"train-000000.tar at 0 \({row.key}\)"):
        written(str(tmp_path))
    tar.write_bytes(whole[:700])
    with pytest.raises(OctshardError, match=rf"train-000000.tar at 0 \({row.key}\)"):
        written(str(tmp_path))
    tar.unlink()
    with pytest.raises(OctshardError, match=rf"{row.key}\): the shard is missing"):
        written(str(tmp_path))
    assert not (tmp_path / page.PAGE).exists()


def test_progress_counts_the_volumes_drawn(tmp_path: Path) -> None:
    for device in (TRITON, CIRRUS):
        dataset(str(tmp_path / device), [scan(i, device) for i in range(5)], device)
    told: list[tuple[int, int, str]] = []
    page.write(str(tmp_path), "", 0, lambda *said: told.append(said))
    assert [said[:2] for said in told] == [(i, 6) for i in range(1, 7)]


def test_many_rows_are_added_up_right() -> None:
    rng = rng_for("many")
    rows = []
    for i, (device, reason) in enumerate(
        zip(rng.integers(0, 4, 20_000), rng.integers(0, 30, 20_000), strict=True)
    ):
        name, person = f"device{device}", f"p{i % 2000}"
        split = ("train", "val", "test")[i % 2000 % 3]
        if reason < 3:
            rows.append(refused(i, REASONS[reason], name, participant=person, split=split))
        else:
            facts = {
                "nbytes": 512 * int(1 + reason),
                "shape_out": (9, 20, 40),
                "spacing_out": (0.3, 0.04, 0.01),
            }
            rows.append(scan(i, name, participant=person, split=split, mean=float(reason), **facts))
    datasets = []
    for device in sorted({row.device for row in rows}):
        those = tuple(row for row in rows if row.device == device)
        datasets.append(tables.Dataset("", {"device": device}, those, ()))
    shown = Reading(page.render(Shards(tuple(datasets), ({},) * 4, ()), Pictures()))
    wanted = Counter(row.reason for row in rows if row.status != "ok")
    found = {name: cells[0] for name, cells in shown.table("reason", "files").items()}
    assert found == {name: f"{count:,}".replace(",", "\u202f") for name, count in wanted.items()}
    people = {
        split: len({r.participant for r in rows if r.split == split and r.status == "ok"})
        for split in ("train", "val", "test")
    }
    assert {name: cells[3] for name, cells in shown.table("split", "files").items()} == {
        split: str(count) for split, count in people.items()
    }


TOO_WIDE = """[...document.querySelectorAll(".wide, section, nav, pre, figure")]
  .filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent.slice(0, 60))"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with something in every box, long names among it."""
    there = tmp_path_factory.mktemp("full")
    long = "a_protocol_of_a_very_long_name_without_a_space_" * 2
    for device in (TRITON, CIRRUS):
        rows = [
            scan(i, device, split=("train", "val", "test")[i % 3], flags=("saturated",)) for i in range(7)
        ]
        rows += [scan(8, device, protocol=long, blank_frames=1, assumed_spacing=1, participant=EVIL)]
        rows += [refused(20 + i, REASONS[i % 5], device, source=f"{long}/{i}.dcm") for i in range(12)]
        dataset(str(there / device), rows, device)
        (there / device / tables.RUN_INFO).write_text('{"engine": "local", "seconds": 12.5}')
    return Path(page.write(str(there), "", 0, lambda *_: None))


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_every_picture_is_drawn_to_scale_and_nothing_overflows(
    chromium: Page, full_page: Path, width: int
) -> None:
    chromium.open(full_page, width)
    assert chromium.errors == []
    images = chromium.value(
        "[...document.images].map("
        "i => [i.naturalWidth, i.clientWidth / i.clientHeight, parseFloat(i.style.aspectRatio)])"
    )
    assert len(images) == 24  # of 6 sampled and of 6 flagged volumes
    for natural, drawn, wanted in images:
        assert natural > 0
        assert drawn == pytest.approx(wanted, rel=0.02)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value(TOO_WIDE) == []
    # what is wider than its box can be scrolled to, and texts of plots stay within theirs
    assert (
        chromium.value(
            """[...document.querySelectorAll("svg text")].filter(t => {
          const box = t.getBoundingClientRect(), svg = t.ownerSVGElement.getBoundingClientRect();
          return box.left < svg.left - 1 || box.right > svg.right + 1;
        }).map(t => t.textContent)"""
        )
        == []
    )
    size = chromium.value(
        'Math.min(...[...document.querySelectorAll("svg text")].map(t => t.getBoundingClientRect().height))'
    )
    assert size > 10  # pixels


@pytest.mark.chromium
def test_in_a_browser_the_words_of_a_plot_stand_apart(chromium: Page, tmp_path: Path) -> None:
    values = rng_for("apart").random(20_000) * 9.99 + 0.00123
    plots = [
        histograms({"heidelberg_spectralis": values * scale, "b" * 40: []}, "x").html()
        for scale in (1, 1e-2, 1e4)
    ]
    there = tmp_path / "plots.html"
    there.write_text(markup.page("t", "l", [markup.Section("s", (markup.columns(plots),))]))
    chromium.open(there, 390)
    overlaps = """[...document.querySelectorAll("svg")].flatMap(svg => {
      const boxes = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
      return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([other, b]) =>
        a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom
      ).map(([other]) => one + " / " + other));
    })"""
    assert chromium.value(overlaps) == []


@pytest.mark.chromium
def test_in_a_browser_a_click_on_a_heading_sorts(chromium: Page, full_page: Path) -> None:
    chromium.open(full_page, 1280)
    chromium.value(
        """window.table = [...document.querySelectorAll("table.sortable")]
          .find(one => one.textContent.startsWith("reason")), 0"""
    )
    column = """(i => {
      return [...table.tBodies[0].rows].map(r => r.cells[i].textContent);
    })"""
    click = """(i => {
      table.tHead.rows[0].cells[i].querySelector("button").click();
      return [...table.tHead.rows[0].cells].map(h => h.getAttribute("aria-sort"));
    })"""
    names = chromium.value(f"{column}(0)")
    assert chromium.value(f"{click}(0)") == ["ascending", None, None, None, None]
    assert chromium.value(f"{column}(0)") == sorted(names)
    assert chromium.value(f"{click}(0)") == ["descending", None, None, None, None]
    assert chromium.value(f"{column}(0)") == sorted(names, reverse=True)
    assert chromium.value(f"{click}(1)") == [None, "descending", None, None, None]
    assert [int(n) for n in chromium.value(f"{column}(1)")] == [6, 6, 4, 4, 4]
    assert chromium.value(f"{click}(1)") == [None, "ascending", None, None, None]
    assert [int(n) for n in chromium.value(f"{column}(1)")] == [4, 4, 4, 6, 6]
    assert chromium.errors == []


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_refused_files_are_searched_and_the_verdict_comes_first(
    chromium: Page, full_page: Path, width: int
) -> None:
    chromium.open(full_page, width)
    heads = chromium.value("[...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert heads[:2] == ["Verdict", "What to do next"]
    assert chromium.value("document.querySelector('.banner').className") == "banner bad"
    assert chromium.value("document.querySelectorAll('.search').length") == 1
    shown = chromium.value(
        """(() => {
          const field = document.querySelector(".search input");
          field.value = "truncated zeiss";
          field.dispatchEvent(new Event("input"));
          const rows = [...document.querySelectorAll(".long tbody tr")];
          const cells = row => [1, 2].map(i => row.cells[i].textContent);
          return rows.filter(row => row.checkVisibility()).map(cells);
        })()"""
    )
    wanted = sum(REASONS[i % 5] == "truncated" for i in range(12))
    assert shown == [["truncated", CIRRUS]] * wanted
    assert chromium.errors == []


@pytest.mark.chromium
def test_in_a_browser_a_list_of_files_opens(chromium: Page, full_page: Path) -> None:
    chromium.open(full_page, 390)
    shown = 'document.querySelector("details li").checkVisibility()'
    assert not chromium.value(shown)
    chromium.value('document.querySelector("summary").click()')
    assert chromium.value(shown)
    assert chromium.value("document.documentElement.scrollWidth") <= 390


@pytest.mark.chromium
def test_the_browser_tells_of_a_page_that_is_broken(chromium: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><body style="margin:0">'
        '<img src="data:image/png;base64,AAAA"><p style="width:900px">x</p><script>nothing.here()</script>'
    )
    chromium.open(bad, 390)
    assert "nothing is not defined" in " ".join(chromium.errors)
    assert chromium.value("document.images[0].naturalWidth") == 0
    assert chromium.value("document.documentElement.scrollWidth") > 390


def pixels(image: dict[str, str | None]) -> np.ndarray:
    data = html.unescape(str(image["src"])).partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))

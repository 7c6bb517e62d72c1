"""Both commands on made-up shards, maps and an untrained encoder; one line for what cannot be."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from octshard.config.dense import DenseHeads, MapConfig, MaskClass, SegmentConfig, TranslateConfig
from octshard.config.load import load, shipped_configs
from octshard.dataset import tables
from octshard.dataset.participant_digests import digest_participants
from octshard.errors import OctshardError, UsageError
from octshard.eval import json_text
from octshard.eval.dense import report
from octshard.eval.dense.segment import anatomy_of, segment
from octshard.eval.dense.translate import translate
from tests.support.dense_study import write_checkpoint, write_study
from tests.support.tiny_run import config_for

pytest.importorskip("monai")
CLASSES = [MaskClass("dark", [0]), MaskClass("bright", [1])]
HEADS = DenseHeads(names=["linear", "unetr"], width=2, epochs=8, batch=3, lr=[0.05], random_draws=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def cfg(files) -> SegmentConfig:
    return SegmentConfig(
        checkpoint=files.run, shards=[files.shards], masks=MapConfig(files.labels), classes=CLASSES,
        heads=HEADS, bootstrap=50, out=files.run + "/../segment", device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(cfg):
    return segment(cfg)


def test_all_heads_stand_beside_their_controls(result, cfg):
    names = [(arm.head, arm.source) for arm in result.arms]
    sources = ("pretrained", "random-init", "raw-intensity")
    assert names == [(head, source) for head in ("linear", "unetr") for source in sources]
    assert [(each.head, each.control) for each in result.comparisons] == [
        (head, control) for head in ("linear", "unetr") for control in sources[1:]
    ]
    assert result.scans == {"train": 6, "val": 2, "test": 12}
    assert result.people["test"] == 12
    scores = {name: arm.metrics for name, arm in zip(names, result.arms, strict=True)}
    # a bright voxel is read off that voxel alone
    assert scores["linear", "raw-intensity"]["dice bright"].value > 0.7
    for metrics in scores.values():
        assert metrics["dice"].low <= metrics["dice"].value <= metrics["dice"].high
        assert {"dice dark", "surface_um bright", "false_mm3 bright"} <= set(metrics)


def test_what_has_no_lengths_is_said(files, result):
    assert not any(note.startswith("Test scans:") for note in result.notes)
    url = f"{files.shards}/{tables.SAMPLES}"
    rows = [row for row in tables.read_rows(url) if row.split == "test"]
    assumed = [dataclasses.replace(row, assumed_spacing=1) for row in rows[:2]]
    slices = [dataclasses.replace(row, slice_axis="degrees") for row in rows[2:3]]
    assert report.without_lengths([*assumed, *slices, *rows[3:]]) == (
        "Test scans: 2 of 12 whose spacing is not known have no lengths; 1 of 12 of slices that are no stack "
        "have no surface_um and false_mm3."
    )


def test_weights_of_classes_are_stated_and_their_mean_is_one(result, files):
    shares = np.mean([np.load(path).mean() for path in sorted(Path(files.labels).glob("train*"))])
    ratio = np.sqrt((1 - shares) / shares)
    weights = result.class_weights
    assert weights["bright"] / weights["dark"] == pytest.approx(ratio)
    assert weights["bright"] + weights["dark"] == pytest.approx(2)


def test_the_files_say_what_the_result_says(result, cfg):
    values = json.loads(Path(cfg.out, "segment.json").read_text())
    assert values["arms"][0]["metrics"]["dice"]["value"] == result.arms[0].metrics["dice"].value
    assert values["config"]["heads.lr"] == [0.05]
    page = Path(cfg.out, "segment.html").read_text()
    for sentence in (each.sentence for each in result.comparisons):
        assert sentence in page
        assert sentence in result.text()
    assert page.count("<img") == 7  # the mask and six heads


def test_the_same_settings_give_the_same_numbers(result, cfg, tmp_path):
    alone = dataclasses.replace(HEADS, names=["linear"])
    again = segment(dataclasses.replace(cfg, heads=alone, out=str(tmp_path)))
    texts = [
        [json_text.text_of(dataclasses.asdict(arm)) for arm in each.arms[:3]] for each in (again, result)
    ]
    assert texts[0] == texts[1]


def test_flow_is_fitted_and_scored(files, tmp_path):
    cfg = TranslateConfig(
        checkpoint=files.run, shards=[files.shards], targets=MapConfig(files.flow),
        heads=dataclasses.replace(HEADS, names=["linear"]),
        bootstrap=50, out=str(tmp_path), device="cpu",
    )  # fmt: skip
    result = translate(cfg)
    assert set(result.arms[0].metrics) == {"psnr_db", "ssim", "correlation"}
    assert result.arms[2].source == "raw-intensity"
    assert all(np.isfinite(arm.metrics["ssim"].value) for arm in result.arms)
    assert result.notes[0] == flat_by_hand(files)
    assert (tmp_path / "translate.html").exists()
    assert json.loads((tmp_path / "translate.json").read_text())["task"] == "translate"


def flat_by_hand(files) -> str:
    """SSIM with one grey: that has no variance, so C2 / (variance + C2) remains of the second factor."""
    train, test = (
        [np.load(path) for path in sorted(Path(files.flow).glob(f"{split}*"))] for split in ("train", "test")
    )
    grey = np.mean([picture.mean() for picture in train])
    kernels = []
    for size in (5, 11):  # the largest odd windows in 6 rows, and of 11 pixels
        place = np.arange(size) - size // 2
        kernel = np.exp(-(place**2) / (2 * 1.5**2))
        kernels.append(kernel / kernel.sum())

    def mean(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, kernels[0], 0), kernels[1], 1)[2:-2, 5:-5]

    lines = []
    for value in (0.0, grey):
        ssim = []
        for picture in test:
            m, v = mean(picture), mean(picture**2) - mean(picture) ** 2
            ssim.append(((2 * m * value + 1e-4) / (m**2 + value**2 + 1e-4) * 9e-4 / (v + 9e-4)).mean())
        psnr = np.mean([-10 * np.log10(((picture - value) ** 2).mean()) for picture in test])
        lines.append((np.mean(ssim), psnr))
    ssim, psnr = max(lines)
    return (
        f"A picture of one grey (black, or the mean of train) has ssim {ssim:.3f} and psnr_db {psnr:.1f}: "
        "a head below that has learned nothing."
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], r"classes: 0 of them, want at least two, for example classes=\[\{name: background"),
        ([MaskClass("a", [0]), MaskClass("a", [1])], r"classes\[0\].name='a': want a name of its own"),
        ([MaskClass("a", [0]), MaskClass("b", [])], r"classes\[1\]: b has no values"),
        ([MaskClass("a", [0], True), MaskClass("b", [1])], "a is the only layer, want at least two, or none"),
    ],
)
def test_classes_that_cannot_be_are_said(classes, message):
    with pytest.raises(UsageError, match=message):
        anatomy_of(classes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": ""}, "checkpoint: not set"),
        ({"shards": []}, "shards: not set"),
        ({"out": ""}, "out: not set"),
        ({"heads": DenseHeads(lr=[-1])}, r"heads.lr=\[-1\]: want at least 1, each more than 0"),
        ({"classes": [MaskClass("a", [0, 1]), MaskClass("b", [1])]}, "value 1 stands twice"),
        ({"classes": CLASSES, "ignore": [1]}, "value 1 stands twice, want it in one class, or in ignore"),
        ({"classes": [MaskClass("a", [0]), MaskClass("b", [2])]}, "voxels are 1, want values of classes"),
        ({"classes": [*CLASSES, MaskClass("c", [2])]}, "no voxel of train is c, want some of every class"),
        ({"classes": [MaskClass("a", [3]), MaskClass("b", [2])], "ignore": [0, 1]}, "every voxel is ignored"),
        ({"masks": MapConfig("nowhere")}, "maps nowhere: none of 20 scans has one"),
    ],
)
def test_what_cannot_be_ends_before_anything_is_fitted(cfg, changes, message):
    with pytest.raises(OctshardError, match=message):
        segment(dataclasses.replace(cfg, **changes))


def test_a_split_without_maps_is_said_and_others_are_counted(cfg, files, tmp_path):
    for path in Path(files.labels).glob("t*.npy"):
        (tmp_path / path.name).symlink_to(path)
    with pytest.raises(UsageError, match="no scan of val has one, want some in train, val and test"):
        segment(dataclasses.replace(cfg, masks=MapConfig(str(tmp_path))))


def test_an_encoder_that_saw_test_people_is_refused(cfg, files, tmp_path):
    run = str(tmp_path / "seen")
    seen = digest_participants(["test003", "train001"], "")
    write_checkpoint(run, config_for(files.shards, run, "run.samples_budget=8"), participants=seen.payload())
    with pytest.raises(UsageError, match="pretrained on 1 of the 12 test participants, the first is test003"):
        segment(dataclasses.replace(cfg, checkpoint=run))


def test_without_monai_a_line_says_how_to_add_it(cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(UsageError, match=r"MONAI is not here .*pip install.*\[monai\]"):
        segment(cfg)


@pytest.mark.parametrize("name", sorted(shipped_configs("segment")))
def test_shipped_configs_have_classes_that_can_be(name):
    anatomy = anatomy_of(load(SegmentConfig, [name]).classes)
    assert anatomy.layers
    assert anatomy.lesions

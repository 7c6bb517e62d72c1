"""`filter` of every command that reads scans: the same rows everywhere, counted, and named in errors."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from octshard.config.dense import MapConfig, MaskClass, SegmentConfig, TranslateConfig
from octshard.config.eval import CompareConfig, EmbedConfig, ProbeConfig, ReportConfig, RobustnessConfig
from octshard.config.finetune import FinetuneConfig
from octshard.config.kinds import CLASSES
from octshard.errors import OctshardError, UsageError
from octshard.eval import embed, feature_table, linear_probe, scan_filter, scans
from octshard.eval.comparison import command as comparison
from octshard.eval.dense import segment, translate
from octshard.eval.feature_table import Scan
from octshard.eval.finetune import run as finetuning
from octshard.eval.report import command as reporting
from octshard.eval.robustness import command as robustness
from octshard.eval.scan_filter import LeftOut
from octshard.models.encoder import read_encoder
from tests.eval.test_linear_probe import SPLIT_PEOPLE, eyes  # noqa: F401 (a fixture)
from tests.support.log_lines import log_lines

NOBODY = "participant == 'nobody'"
ONE_CLASS = "participant in ('train0', 'train3', 'val0', 'val3', 'test0', 'test3')"
MASKS = [MaskClass("background", [0]), MaskClass("fluid", [1])]
SCANS = 2 * sum(SPLIT_PEOPLE.values())


def common(eyes: ProbeConfig, filter: str) -> dict[str, Any]:  # noqa: F811
    return {"shards": eyes.shards, "device": "cpu", "filter": filter, "out": f"{eyes.out}-filter"}


def labelled(eyes: ProbeConfig, filter: str) -> dict[str, Any]:  # noqa: F811
    return {**common(eyes, filter), "participants": eyes.participants, "label": "state"}


COMMANDS: dict[str, Callable[[ProbeConfig, str], Any]] = {
    "embed": lambda e, f: embed.embed(EmbedConfig(checkpoint=[e.checkpoint], **common(e, f))),
    "linear-probe": lambda e, f: linear_probe.linear_probe(
        dataclasses.replace(e, filter=f, out=f"{e.out}-filter")
    ),
    "report": lambda e, f: reporting.report(ReportConfig(checkpoint=[e.checkpoint], **labelled(e, f))),
    "compare": lambda e, f: comparison.compare(CompareConfig(checkpoint=[e.checkpoint], **labelled(e, f))),
    "finetune": lambda e, f: finetuning.finetune(FinetuneConfig(checkpoint=e.checkpoint, **labelled(e, f))),
    "segment": lambda e, f: segment.segment(
        SegmentConfig(
            checkpoint=e.checkpoint, masks=MapConfig(folder="/nowhere"), classes=MASKS, **common(e, f)
        )
    ),
    "translate": lambda e, f: translate.translate(
        TranslateConfig(checkpoint=e.checkpoint, targets=MapConfig(folder="/nowhere"), **common(e, f))
    ),
}


def test_every_config_that_names_scans_has_the_filter() -> None:
    for name, kind in CLASSES.items():
        fields = {item.name for item in dataclasses.fields(kind)}
        if fields & {"shards", "features"}:
            assert "filter" in fields, name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_filter_that_leaves_nothing_is_one_line_of_each(name: str, eyes: ProbeConfig) -> None:  # noqa: F811
    with pytest.raises(UsageError) as error:
        COMMANDS[name](eyes, NOBODY)
    assert str(error.value).startswith(
        f'filter="{NOBODY}": true for none of the {SCANS} scans of {eyes.shards[0]}'
    )
    with pytest.raises(UsageError, match="filter='devise == 1': no column devise; did you mean device"):
        COMMANDS[name](eyes, "devise == 1")


@pytest.mark.parametrize("name", ["linear-probe", "report", "compare", "finetune"])
def test_too_few_classes_by_a_filter_name_it(name: str, eyes: ProbeConfig) -> None:  # noqa: F811
    with pytest.raises(OctshardError) as error:
        COMMANDS[name](eyes, ONE_CLASS)
    assert "want at least 2" in str(error.value) or "1 classes" in str(error.value)
    counts = "train 44, val 20, test 44"
    assert str(error.value).endswith(f'; filter="{ONE_CLASS}" leaves out 108 of {SCANS} scans: {counts}')
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_probe_reads_what_is_left_and_says_so(eyes: ProbeConfig, tmp_path: Path) -> None:  # noqa: F811
    text = "not participant in ('train5', 'train7', 'test9')"
    cfg = dataclasses.replace(eyes, filter=text, out=str(tmp_path), random_draws=1)
    with log_lines() as lines:
        result = linear_probe.linear_probe(cfg)
    note = f'filter="{text}" leaves out 6 of {SCANS} scans: train 4, val 0, test 2.'
    assert note in result.notes
    assert note.removesuffix(".") in lines
    assert [count.scans for count in result.counts] == [44, 24, 46]
    written = json.loads((tmp_path / "probe.json").read_text())
    assert (written["config"]["filter"], written["notes"]) == (text, list(result.notes))


def test_features_of_a_filter_and_a_filter_of_features(eyes: ProbeConfig, tmp_path: Path) -> None:  # noqa: F811
    """The table says what it was made of, whoever reads it; and what reads it may leave out more."""
    made = EmbedConfig(
        checkpoint=[eyes.checkpoint], shards=eyes.shards, device="cpu", filter="split != 'val' or mean > 0",
        out=str(tmp_path / "features"),
    )  # fmt: skip
    table = embed.embed(made)
    (note,) = table.notes
    assert note.startswith("filter=\"split != 'val' or mean > 0\" leaves out 0 of 120 scans")
    assert note in table.text()
    assert feature_table.read(made.out).notes == table.notes
    more = "split != 'train' or participant > 'train3'"
    read = CompareConfig(
        features=[made.out], participants=eyes.participants, label="state", bootstrap=20, shuffles=4,
        regularisation=[1.0], filter=more, out=str(tmp_path / "compare"),
    )  # fmt: skip
    compared = comparison.compare(read)
    left_out = f'filter="{more}" leaves out 36 of 120 scans: train 36, val 0, test 0.'
    assert compared.notes[-2:] == (note, left_out)
    assert [count.scans for count in compared.counts] == [12, 24, 48]
    robust = RobustnessConfig(features=made.out, participants=eyes.participants, label="state")
    for cfg, run in ((read, comparison.compare), (robust, robustness.robustness)):
        with pytest.raises(UsageError, match=f"true for none of the 120 scans of {made.out}"):
            run(dataclasses.replace(cfg, filter=NOBODY))  # type: ignore[operator]
        with pytest.raises(UsageError, match=r"no flags in a feature table; there are .*octshard eval embed"):
            run(dataclasses.replace(cfg, filter="'x' in flags"))  # type: ignore[operator]


def test_all_splits_are_filtered_alike(eyes: ProbeConfig) -> None:  # noqa: F811
    trained = read_encoder(eyes.checkpoint).config
    read = scans.open_scans(eyes.shards, trained, "participant in ('train1', 'val1', 'test1')")
    assert [row.participant for row in read.rows] == ["train1"] * 2 + ["val1"] * 2 + ["test1"] * 2
    assert read.left_out.counts == {"train": 46, "val": 22, "test": 46}
    assert scans.open_scans(eyes.shards, trained).left_out.notes == ()


def test_a_long_expression_is_cut_and_no_filter_says_nothing() -> None:
    left_out = LeftOut("frames == 1 or " * 50 + "frames == 2", {"train": 1}, 3)
    assert left_out.notes[0].endswith("...' leaves out 1 of 3 scans: train 1, val 0, test 0.")
    assert len(left_out.notes[0]) < 300
    with pytest.raises(OctshardError, match=r"^as it is$"), LeftOut().named():
        raise OctshardError("as it is")
    places, said = scan_filter.of_table("", [Scan("a", "1"), Scan("b", "2")], "x")
    assert (places.tolist(), said.notes) == ([0, 1], ())

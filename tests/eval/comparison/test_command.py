"""The whole command on written feature tables: who wins, what the files say, what cannot be is one line."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.config.eval import CompareConfig
from octshard.errors import OctshardError, UsageError
from octshard.eval import feature_table
from octshard.eval.comparison.command import compare
from octshard.eval.feature_table import FeatureInfo, Features, Scan
from octshard.probes import scores
from octshard.rng import rng_for

PEOPLE = 120
STRENGTHS = {"good-1": 2.5, "good-2": 2.2, "poor": 0.4, "random-init": 0.0, "random-init-2": 0.1}


def scans_of(people: int = PEOPLE) -> list[Scan]:
    splits = ("train", "val", "test")
    return [
        Scan(f"{person}-{eye}", f"{1000 + person}", eye, "triton", split=splits[person // 2 % 3])
        for person in range(people)
        for eye in "LR"
    ]


def write_table(folder: Path, strengths: dict[str, float], scans: list[Scan]) -> None:
    folder.mkdir(parents=True)
    feature_table.write_scans(str(folder), scans)
    y_N = np.array([int(scan.participant) % 2 for scan in scans])
    for name, strength in strengths.items():
        values_NF = rng_for("features", name).normal(size=(len(scans), 6)) * 1.5
        values_NF[:, 0] += strength * y_N
        info = FeatureInfo(name, "last", "mean_std", checkpoint=f"runs/{name}")
        keys = tuple(scan.key for scan in scans)
        features = Features(keys, values_NF.astype(np.float32), f"digest-{name}", info)
        url = str(folder / feature_table.file_name(info, features.digest))
        feature_table.write_features(url, features, feature_table.scans_digest(scans))


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> CompareConfig:
    root = tmp_path_factory.mktemp("compare")
    write_table(root / "table", STRENGTHS, scans_of())
    lines = [f"{1000 + person}\t{'ab'[person % 2]}" for person in range(PEOPLE)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tstate", *lines]) + "\n")
    return CompareConfig(
        features=[str(root / "table")],
        names=["good", "good", "poor", "random-init", "random-init"],
        participants=str(root / "participants.tsv"),
        label="state",
        label_fractions=[0.01, 0.2, 1.0],
        label_draws=2,
        out=str(root / "out"),
        regularisation=[0.01, 1.0],
        bootstrap=200,
        shuffles=39,
    )


@pytest.fixture(scope="module")
def result(cfg):
    return compare(cfg)


def test_the_better_one_wins_and_its_seeds_stand_beside_it(result):
    assert [arm.name for arm in result.arms] == [
        "good", "poor", "random-init", "good, ensemble of 2", "random-init, ensemble of 2", "ensemble of all",
    ]  # fmt: skip
    assert (len(result.arms[0].of_seeds), len(result.pairs)) == (2, 6)
    assert result.winner == "good"
    assert result.headline == "The winner is good: better than every other arm."
    assert [info.source for info in result.origins["good"]] == ["good-1", "good-2"]


def test_the_files_say_the_same(cfg, result):
    data = json.loads((Path(cfg.out) / "compare.json").read_text())
    assert data["winner"] == "good"
    assert data["arms"][0]["of_seeds"] == pytest.approx(list(result.arms[0].of_seeds))
    assert [pair["holm_p"] for pair in data["pairs"]] == [pair.holm_p for pair in result.pairs]
    assert data["curves"]["good"][0]["reason"] == "1 % of 20 train people of a are 0, want at least 2"
    assert data["curves"]["good"][0]["score"]["value"] is None
    page = (Path(cfg.out) / "compare.html").read_text()
    assert all(pair.text.replace("'", "&#x27;") in page for pair in result.pairs)
    for stem in ("score", "differences", "curve"):
        assert all((Path(cfg.out) / f"{stem}.{form}").stat().st_size for form in ("svg", "png", "csv"))
    assert (Path(cfg.out) / "curve.csv").read_text().startswith("series,")
    assert "No learning curve there: 1 % of 20 train people of a are 0" in result.text()


def test_an_arm_scores_as_its_predictions_do(result):
    good = result.arms[0]
    assert good.score.metrics["macro_auroc"].value == pytest.approx(
        np.mean([scores.macro_auroc(run) for run in good.runs])
    )


def test_two_tables_of_the_same_scans_in_another_order(cfg, result, tmp_path):
    """Rows are joined by key: the same features in a table turned round say the same."""
    table = feature_table.read(cfg.features[0])
    write_table(tmp_path / "b", {}, list(table.scans[::-1]))
    features = table.find("poor")
    turned = dataclasses.replace(
        features, keys=features.keys[::-1], values_NF=features.values_NF[::-1].copy()
    )
    url = str(tmp_path / "b" / feature_table.file_name(features.info, features.digest))
    feature_table.write_features(url, turned, feature_table.scans_digest(list(table.scans[::-1])))
    both = dataclasses.replace(
        cfg, features=[cfg.features[0], str(tmp_path / "b")], sources=["poor"], names=["first", "again"],
        label_fractions=[], out=str(tmp_path / "out"),
    )  # fmt: skip
    first, again = compare(both).arms[:2]
    assert first.of_seeds == again.of_seeds == result.arms[1].of_seeds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": []}, "features: not set"),
        ({"out": ""}, "out: not set"),
        (
            {"features": ["nowhere"]},
            "nowhere: no scans.parquet here, want a folder made by octshard eval embed",
        ),
        ({"names": ["a", "b"]}, r"names: 2 for 5 sources \(good-1, .*want one for each"),
        ({"sources": ["other"]}, "sources: no other in .*; there are: good-1, good-2"),
        ({"pooling": "max"}, "features: no source of layer last, pooling max"),
        ({"label": "age"}, "age"),
        ({"label_fractions": [2.0]}, "label_fractions="),
    ],
)
def test_what_cannot_be_is_one_line(cfg, changes, message):
    with pytest.raises((UsageError, OctshardError), match=message):
        compare(dataclasses.replace(cfg, **changes))


def test_tables_of_other_scans_are_refused(cfg, tmp_path):
    write_table(tmp_path / "other", {"poor": 1.0}, scans_of(60))
    with pytest.raises(UsageError, match="differ in 120 scans, want tables of the same scans"):
        compare(dataclasses.replace(cfg, features=[*cfg.features, str(tmp_path / "other")]))


def test_a_source_of_two_tables_needs_names(cfg, tmp_path):
    write_table(tmp_path / "b", {"poor": 1.0}, scans_of())
    several = dataclasses.replace(cfg, features=[*cfg.features, str(tmp_path / "b")], names=[])
    with pytest.raises(UsageError, match=r"names: source poor stands in 2 tables, want names="):
        compare(several)


def test_one_arm_is_said_to_be_alone(cfg, tmp_path):
    alone = dataclasses.replace(
        cfg, sources=["poor"], names=[], label_fractions=[], bootstrap=20, shuffles=1, out=str(tmp_path)
    )
    result = compare(alone)
    assert result.headline == "One arm, poor: nothing to compare it with."
    assert result.pairs == ()


def test_the_shell_says_who_wins(cfg, tmp_path):
    words = [
        f"features={cfg.features[0]}",
        f"participants={cfg.participants}",
        "label=state",
        f"out={tmp_path}",
    ]
    words += ["names=[good,good,poor,none,none]", "regularisation=[0.01,1]", "bootstrap=200", "shuffles=39"]
    shown = CliRunner().invoke(cli, ["eval", "compare", *words])
    assert shown.exit_code == 0, shown.output
    assert "The winner is good" in shown.output
    assert f"page: {tmp_path}/compare.html" in shown.output


def test_scores_by_scan_stand_in_text_json_and_page(cfg, result):
    arm = result.arms[0]
    assert arm.score.scans == 2 * 40
    by_scan = arm.score.by_scan["macro_auroc"].value
    assert by_scan != arm.score.metrics["macro_auroc"].value
    assert "macro AUROC by scan" in result.text()
    assert f"{by_scan:.3f} [" in result.text()
    data = json.loads((Path(cfg.out) / "compare.json").read_text())
    assert data["arms"][0]["score"]["by_scan"]["macro_auroc"]["value"] == pytest.approx(by_scan)
    page = (Path(cfg.out) / "compare.html").read_text()
    assert "Each of the 80 scans counts once" in page
    ensemble = result.arms[-1].score.by_scan["macro_auroc"].value
    assert ensemble not in [each.score.by_scan["macro_auroc"].value for each in result.arms[:3]]


def test_the_columns_of_the_text_never_touch(result):
    """R² of a label that features do not tell: as many characters as there can be."""
    wide = scores.Estimate(-16.6724, -110.7561, -4.0061)
    both = {"metrics": {"macro_auroc": wide}, "by_scan": {"macro_auroc": wide}}
    arms = tuple(
        dataclasses.replace(arm, score=dataclasses.replace(arm.score, **both)) for arm in result.arms[:2]
    )
    lines = dataclasses.replace(result, arms=arms).text().splitlines()
    cells = [cell.strip() for cell in re.split("  +", lines[1])]
    assert cells[1:3] == ["−16.672 [−110.756, −4.006]"] * 2

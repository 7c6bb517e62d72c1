"""The whole command on a written feature table: a planted shortcut is named; what cannot be is one line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.config.eval import RobustnessConfig
from octshard.errors import OctshardError, UsageError
from octshard.eval import feature_table
from octshard.eval.feature_table import FeatureInfo, Features, Scan
from octshard.eval.robustness.command import robustness
from octshard.rng import rng_for

PEOPLE = 126
SITES = ("north", "south")
DEVICES = ("cirrus", "triton")
INFO = FeatureInfo("pretrained", "last", "mean_std", checkpoint="runs/a/checkpoints/step-00000001.pt")


def write_table(folder: Path, biology: float, site: float, device: float, goes_with: float = 0.8) -> None:
    """People of two sites, of whom `goes_with` are at that of their state; both eyes on both devices."""
    rng = rng_for("table")
    scans, rows, lines = [], [], ["participant_id\tstate\tage\tcentre"]
    for person in range(PEOPLE):
        state = person % 2
        place = state if rng.random() < goes_with else int(rng.integers(2))
        lines.append(f"{1000 + person}\t{('ill', 'well')[state]}\t{person % 60}\t{SITES[place]}")
        split = ("train", "val", "test")[person // 2 % 3]
        for eye in "LR":
            look = rng.normal(size=12)
            for d, name in enumerate(DEVICES):
                row = look + 0.3 * rng.normal(size=12)
                row[[state, 2 + place, 4 + d]] += biology, site, device
                rows.append(row)
                key = f"{person}-{name}-{eye}"
                scans.append(
                    Scan(key, str(1000 + person), eye, name, region="macula", site=SITES[place], split=split)
                )
    folder.mkdir(parents=True)
    feature_table.write_scans(str(folder), scans)
    digest = feature_table.scans_digest(scans)
    features = Features(tuple(scan.key for scan in scans), np.array(rows, np.float32), "0123", INFO)
    url = str(folder / feature_table.file_name(INFO, "0123"))
    feature_table.write_features(url, features, digest)
    (folder.parent / "participants.tsv").write_text("\n".join(lines) + "\n")


def config(root: Path) -> RobustnessConfig:
    return RobustnessConfig(
        features=str(root / "table"),
        participants=str(root / "participants.tsv"),
        label="state",
        out=str(root / "out"),
        draws=2,
        regularisation=[0.01, 1.0],
        bootstrap=100,
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> RobustnessConfig:
    root = tmp_path_factory.mktemp("planted")
    write_table(root / "table", biology=0.5, site=20, device=5)
    return config(root)


@pytest.fixture(scope="module")
def result(planted):
    return robustness(planted)


def test_the_planted_shortcut_is_named_in_text_json_and_page(planted, result):
    device, site = result.nuisances
    assert (device.name, site.name) == ("device", "site")
    assert site.findings["shortcut"].verdict == "shortcut"
    assert device.findings["shortcut"].verdict == "uncorrelated"
    assert site.findings["neighbours"].verdict == "nuisance"
    sentence = site.findings["shortcut"].text
    assert sentence.startswith("Shortcut: state goes with site (Cramér's V 0.")
    assert sentence in result.text()
    data = json.loads((Path(planted.out) / "robustness.json").read_text())
    assert data["nuisances"][1]["findings"]["shortcut"] == {"verdict": "shortcut", "text": sentence}
    assert data["features"] == "pretrained-last-mean_std"
    page = (Path(planted.out) / "robustness.html").read_text()
    assert '<p class="banner bad">Shortcut: state goes with site' in page
    assert '<p class="banner good">No shortcut to take: state does not go with device' in page
    assert "nan" not in page.replace("nuisance", "")


def test_what_stands_in_the_json_is_the_result(planted, result):
    data = json.loads((Path(planted.out) / "robustness.json").read_text())
    site = data["nuisances"][1]
    assert site["within"]["given"]["value"] == pytest.approx(result.nuisances[1].within.given.value)
    assert [cell["train"] for cell in site["transfer"]["cells"]] == ["north", "north", "south", "south"]
    assert data["people"] == {"train": 42, "val": 42, "test": 42}
    assert data["scans"] == 504
    assert data["nuisances"][0]["eye_pairs"]["pairs"] == 336  # 84 people outside train, 2 eyes, 2 directions
    assert data["nuisances"][1]["eye_pairs"]["pairs"] == 0


def test_a_second_run_says_the_same(planted, result):
    first = (Path(planted.out) / "robustness.json").read_text()
    robustness(planted)
    assert (Path(planted.out) / "robustness.json").read_text() == first


def test_biology_alone_names_no_shortcut(tmp_path):
    write_table(tmp_path / "table", biology=20, site=0, device=0)
    device, site = robustness(config(tmp_path)).nuisances
    assert site.findings["shortcut"].verdict == "none seen"
    assert {n.findings["neighbours"].verdict for n in (device, site)} == {"biology"}
    assert device.findings["drop"].verdict == "none seen"


def test_site_that_is_the_state_cannot_be_told_apart(tmp_path):
    write_table(tmp_path / "table", biology=0, site=20, device=0, goes_with=1.0)
    site = robustness(config(tmp_path)).nuisances[1]
    assert site.findings["shortcut"].verdict == "inseparable"
    assert site.findings["drop"].verdict == "cannot tell"
    assert site.drop.reason.startswith("too few people in train: 0 of each class")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ""}, "features: not set, want features=FOLDER"),
        ({"out": ""}, "out: not set"),
        ({"features": "nowhere"}, "nowhere.*want a folder made by octshard eval embed"),
        ({"source": "other"}, "no features other-last-mean_std.*there are: pretrained-last-mean_std"),
        ({"region": "disc"}, "region=disc: no scan of it in .*; there are: macula"),
        ({"label": "age"}, "age"),
        ({"nuisances": ["colour"]}, "nuisances=.*want"),
        ({"bootstrap": 0}, "bootstrap=0"),
    ],
)
def test_what_cannot_be_is_one_line(planted, changes, message):
    with pytest.raises((UsageError, OctshardError), match=message):
        robustness(dataclasses.replace(planted, **changes))


def test_a_nuisance_with_one_value_or_none_is_said(tmp_path, planted):
    cfg = dataclasses.replace(planted, nuisances=["region", "model"], out=str(tmp_path))
    result = robustness(cfg)
    assert result.nuisances == ()
    assert result.notes == ("region: all scans have one value, macula.", "model: no scan says it.")
    assert (tmp_path / "robustness.html").exists()


def test_the_shell_says_what_was_found(planted, tmp_path):
    keys = ("features", "participants", "label", "bootstrap")
    words = [f"{key}={getattr(planted, key)}" for key in keys] + [f"out={tmp_path}"]
    words += ["draws=1", "regularisation=[0.01,1]", "nuisances=[site]"]
    shown = CliRunner().invoke(cli, ["eval", "robustness", *words])
    assert shown.exit_code == 0, shown.output
    assert "  Shortcut: state goes with site" in shown.output
    assert f"page: {tmp_path}/robustness.html" in shown.output


def test_a_site_that_only_the_participants_say(planted, tmp_path):
    """As in a table that embed made without one: the column of participants is asked."""
    table = feature_table.read(planted.features)
    scans = [dataclasses.replace(scan, site="") for scan in table.scans]
    feature_table.write_scans(str(tmp_path / "table"), scans)
    features = table.find("pretrained")
    url = str(tmp_path / "table" / feature_table.file_name(INFO, "0123"))
    feature_table.write_features(url, features, feature_table.scans_digest(scans))
    cfg = dataclasses.replace(
        planted, features=str(tmp_path / "table"), nuisances=["site"], out=str(tmp_path)
    )
    assert robustness(cfg).notes[0] == "site: no scan says it."
    (site,) = robustness(dataclasses.replace(cfg, site="centre")).nuisances
    assert site.groups == SITES


def write_eyes(root: Path, *, small: int = 0) -> RobustnessConfig:
    """Eyes of one person differ in class; the site goes with that of the left eye. small: eyes of class c."""
    rng = rng_for("eyes")
    scans, rows, lines = [], [], ["person_id,eye,grade"]
    for person in range(PEOPLE):
        grades = rng.integers(2, size=2)
        place = int(grades[0]) if rng.random() < 0.9 else int(rng.integers(2))
        split = ("train", "val", "test")[person % 3]
        for eye, grade in zip("LR", grades.tolist(), strict=True):
            name = "c" if person < small and eye == "L" else "ab"[grade]
            lines.append(f"{1000 + person},{eye},{name}")
            row = rng.normal(size=12)
            row[[grade, 2 + place]] += 0.5, 20
            rows.append(row)
            key = f"{person}-{eye}"
            scans.append(Scan(key, str(1000 + person), eye, "triton", site=SITES[place], split=split))
    folder = root / "table"
    folder.mkdir(parents=True)
    feature_table.write_scans(str(folder), scans)
    features = Features(tuple(scan.key for scan in scans), np.array(rows, np.float32), "0123", INFO)
    url = str(folder / feature_table.file_name(INFO, "0123"))
    feature_table.write_features(url, features, feature_table.scans_digest(scans))
    (root / "eyes.csv").write_text("\n".join(lines) + "\n")
    return RobustnessConfig(
        features=str(folder), labels=str(root / "eyes.csv"), join="eye", label="grade", nuisances=["site"],
        out=str(root / "out"), draws=2, regularisation=[0.01, 1.0], bootstrap=60,
    )  # fmt: skip


def test_labels_of_eyes_are_measured_by_eye_and_resampled_by_person(tmp_path):
    cfg = write_eyes(tmp_path)
    result = robustness(cfg)
    (site,) = result.nuisances
    assert (result.level, result.scans) == ("eye", 2 * PEOPLE)
    assert sum(map(sum, site.association.people_CG)) == 2 * PEOPLE  # each eye once, as each has one scan
    assert 0.3 < site.association.cramers_v < 0.6  # the left eyes go with it, the right ones do not
    assert site.association.p < 0.05
    assert site.findings["neighbours"].verdict == "nuisance"
    assert site.within.overall.value > site.within.within.value
    assert site.drop.test > 0
    assert "Eyes of each class by site" in (tmp_path / "out" / "robustness.html").read_text()
    by_key = tmp_path / "keys.csv"
    table = (tmp_path / "eyes.csv").read_text().splitlines()[1:]
    rows = [f"{int(p) - 1000}-{e},{g}" for p, e, g in (line.split(",") for line in table)]
    by_key.write_text("\n".join(["key,grade", *rows]) + "\n")
    of_scans = robustness(dataclasses.replace(cfg, labels=str(by_key), join="key"))
    assert of_scans.level == "scan"
    assert of_scans.nuisances[0].association.people_CG == site.association.people_CG


def test_a_class_of_few_is_one_line_or_a_reason(tmp_path):
    """One eye of a class in train is refused; a class that nobody in test has is said."""
    with pytest.raises(OctshardError, match="class 'c' has 1 in train, want at least 2; add shards"):
        robustness(write_eyes(tmp_path / "one", small=1))
    (site,) = robustness(write_eyes(tmp_path / "few", small=4)).nuisances  # 2 in train, 1 in val, 1 in test
    assert site.drop.reason.startswith("too few people in train")
    assert {finding.verdict for finding in site.findings.values()} == {"cannot tell"}
    assert "fewer than 10 people in a class" in site.findings["neighbours"].text
    assert all(cell.people < 2 for cell in site.transfer.cells)


def test_numbers_are_no_biology(planted):
    with pytest.raises(UsageError, match="target=numbers: want classes or ordinal"):
        robustness(dataclasses.replace(planted, target="numbers"))

"""The whole report on made-up shards and checkpoints: as a probe of each, once for all, and its files."""

import dataclasses
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from octshard.config.eval import ProbeConfig, ReportConfig
from octshard.config.head import AttentiveConfig
from octshard.dataset import tables
from octshard.errors import OctshardError, UsageError
from octshard.eval import extraction, head_probe, json_text, linear_probe, scans
from octshard.eval.comparison import scoring
from octshard.eval.comparison.scoring import Rules
from octshard.eval.pictures import sections
from octshard.eval.report import command, figures, files, people
from octshard.eval.report.page import render
from octshard.eval.report.result import ReportResult
from octshard.eval.verdict import bracketed
from octshard.probes.scores import Estimate
from tests.eval.test_linear_probe import MODEL, eyes, write_checkpoint  # noqa: F401 (a fixture)
from tests.support.chromium_page import browser

CONTROLS = ["random-init", "raw-intensity", "thickness", "site-and-device"]


@pytest.fixture(scope="module")
def cfg(eyes: ProbeConfig) -> ReportConfig:  # noqa: F811
    """One checkpoint by itself, and two seeds of another run."""
    root = Path(eyes.out).parent
    for seed in (2, 3):
        write_checkpoint(str(root / f"other-{seed}"), seed=seed)
    same = {
        item.name: getattr(eyes, item.name)
        for item in dataclasses.fields(ReportConfig)
        if hasattr(eyes, item.name) and item.name not in ("checkpoint", "out")
    }
    return ReportConfig(
        **same,
        checkpoint=[eyes.checkpoint, str(root / "other-2"), str(root / "other-3")],
        names=["one", "other", "other"],
        heads=["linear", "knn"],
        out=str(root / "report"),
    )


@pytest.fixture(scope="module")
def result(cfg: ReportConfig) -> ReportResult:
    """In a folder where an earlier report left a figure, and somebody a note."""
    Path(cfg.out, "figures").mkdir(parents=True)
    for name in ("roc-old.svg", "note.txt"):
        Path(cfg.out, "figures", name).touch()
    Path(cfg.out, files.JSON).write_text('{"files": ["roc-old.svg"]}')
    return command.report(cfg)


def quick(cfg: ReportConfig, **changes: object) -> ReportConfig:
    return dataclasses.replace(
        cfg, **{"bootstrap": 10, "shuffles": 1, "regularisation": [0.1], "random_draws": 1, **changes}
    )


@pytest.fixture
def stored(result: ReportResult, cfg: ReportConfig, tmp_path: Path) -> str:
    """A folder with the features of the big report, so that nothing is encoded again."""
    shutil.copytree(Path(cfg.out, "features"), tmp_path / "features")
    return str(tmp_path)


def test_rows_are_arms_and_shuffled_labels_and_every_head_has_all(result: ReportResult) -> None:
    names = ["one", "other (2 draws)", "random-init (2 draws)", *CONTROLS[1:]]
    shuffled = ["one, shuffled labels", "other, shuffled labels"]
    assert [head.head for head in result.heads] == ["linear", "knn"]
    assert all(list(head.rows()) == names + shuffled for head in result.heads)
    assert [len(several) for several in result.scored.values()] == [1, 2]
    assert [list(verdict.comparisons) for verdict in result.verdicts] == [CONTROLS, CONTROLS]
    assert [(pair.first, pair.second) for pair in result.pairs] == [("one", "other")]


def test_pictures_call_encoders_as_their_arms_and_draw_one_of_each_first(
    result: ReportResult, cfg: ReportConfig
) -> None:
    page = Path(cfg.out, files.PAGE).read_text()
    names = re.findall("<figcaption>([^<]*), from above</figcaption>", page)
    assert list(dict.fromkeys(names)) == ["one", "other, seed 1 of 2", "other, seed 2 of 2"]
    written = {path.name for path in Path(cfg.out, files.FIGURES).iterdir()}
    assert {"token-maps.png", "near-scans.png", "near-scans.csv", "wrong-people.png"} <= written


def test_an_arm_has_the_scores_and_the_verdict_of_its_probe(
    result: ReportResult,
    eyes: ProbeConfig,  # noqa: F811
) -> None:
    probe = linear_probe.linear_probe(eyes)
    scores = {arm.name: arm.score for arm in probe.arms}
    ours = {arm.name: arm.score for arm in result.first.arms}
    assert ours["one"] == scores["pretrained"]
    assert all(ours[name] == scores[name] for name in CONTROLS)
    verdict = result.verdicts[0]
    assert verdict.differences == probe.differences
    assert verdict.comparisons == probe.comparisons
    assert verdict.readings == probe.readings
    assert verdict.shuffled == probe.shuffled == result.first.shuffled["one"]


def test_predictions_that_others_score_give_the_numbers_of_the_json(
    result: ReportResult, cfg: ReportConfig
) -> None:
    table = tables.read_table(str(Path(cfg.out, files.PREDICTIONS)))
    data = json.loads(Path(cfg.out, files.JSON).read_text())
    chosen = [
        n
        for n, key in enumerate(zip(table["head"], table["arm"], table["draw"], strict=True))
        if key == ("knn", "other", 1)
    ]
    assert sorted(table["participant"][n] for n in chosen) == sorted(f"test{i}" for i in range(24))
    assert [table["unit"][n] for n in chosen] == [table["participant"][n] for n in chosen]
    true = np.array([table["true"][n] for n in chosen])
    areas = [
        metrics.roc_auc_score(true == name, [table[f"p_{name}"][n] for n in chosen])
        for name in data["classes"]
    ]
    (arm,) = (arm for arm in data["heads"][1]["arms"] if arm["name"] == "other")
    assert arm["score"]["of_runs"][1] == pytest.approx(np.mean(areas))


def test_the_json_has_the_figures_and_files_lie_beside_the_page(
    result: ReportResult, cfg: ReportConfig
) -> None:
    data = json.loads(Path(cfg.out, files.JSON).read_text())
    names = {path.name for path in Path(cfg.out, "figures").iterdir()}
    assert {"score", "calibration", "roc-low", "plane-one-pca-state", "plane-other-tsne-site"} <= set(
        data["figures"]
    )
    assert {f"{stem}.{form}" for stem in data["figures"] for form in ("svg", "png", "csv")} <= names
    assert [row[0] for row in data["figures"]["score"]["rows"]] == list(result.first.rows())
    assert names == {*data["files"], "note.txt"}
    assert data["best"] == result.best
    assert "Robustness by device: all scans have one value, made_up." in data["notes"]
    assert [verdict["sentence"] for verdict in data["verdicts"]] == [v.sentence for v in result.verdicts]


def test_the_page_begins_with_a_sentence_for_each_checkpoint(result: ReportResult, cfg: ReportConfig) -> None:
    """Eight people a class carry no verdict, and the sentence says so."""
    page = Path(cfg.out, files.PAGE).read_text()
    for verdict in result.verdicts:
        assert verdict.sentence.startswith(f"Cannot tell {verdict.name} from any control: fewer than 10 ")
        assert page.index(verdict.sentence) < page.index("<h2>Heads and arms")
        assert verdict.sentence in result.text()
    order = ["Verdict", "Heads and arms", "Against every control", "ROC curves", "Calibration", "Confusion"]
    order += ["Features in a plane", "People most often wrong", "All scores", "How this was measured"]
    places = [page.index(f"<h2>{title}") for title in order]
    assert places == sorted(places)


def test_the_page_says_why_checkpoints_cannot_be_told_apart(result: ReportResult, cfg: ReportConfig) -> None:
    page, (pair,) = Path(cfg.out, files.PAGE).read_text(), result.pairs
    assert pair.text.startswith("Cannot tell one from other: ")
    assert pair.text in page
    assert "correction makes the whole family" in page[page.index("<h2>How this was measured") :]


def test_pairs_are_swapped_and_dealt_as_often_as_asked(
    cfg: ReportConfig, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pairs, each with p of at least 1/11: none below 3/11."""
    rules: list[Rules] = []
    real = scoring.pairs
    monkeypatch.setattr(scoring, "pairs", lambda *words: (rules.append(words[-1]), real(*words))[1])
    changed = quick(cfg, out=stored, heads=["linear"], names=["one", "two", "three"])
    result = command.score(changed).result
    assert [(each.swaps, each.deals) for each in rules] == [(10, 1)]
    note = "No Holm p of 0.05 can come of bootstrap=10 in a family of 3: want at least 59."
    assert note in result.notes


def test_columns_of_a_terminal_have_a_gap(result: ReportResult) -> None:
    """R² far below 0 has the longest numbers."""
    long = Estimate(-10.234, -12.345, -10.123)
    heads = [
        dataclasses.replace(
            head,
            shuffled={},
            arms=tuple(
                dataclasses.replace(arm, score=dataclasses.replace(arm.score, metrics={"r2": long}))
                for arm in head.arms
            ),
        )
        for head in result.heads
    ]
    lines = dataclasses.replace(result, kind="numbers", heads=tuple(heads)).text().splitlines()
    (line,) = (line for line in lines if line.startswith("thickness  "))
    assert [cell.strip() for cell in re.split("  +", line)] == ["thickness", *[bracketed(long)] * 2]


def test_what_is_stored_is_not_encoded_again_and_every_arm_is_fitted_once(
    result: ReportResult, cfg: ReportConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shuffled labels and readings fit more; of true labels there is one fit for each head, arm and draw."""
    fits: Counter[tuple[str, str]] = Counter()
    real = head_probe.probed

    def counted(arm, scans, spec):  # type: ignore[no-untyped-def]
        fits[spec.cfg.head, arm.name] += 1
        return real(arm, scans, spec)

    monkeypatch.setattr(head_probe, "probed", counted)
    monkeypatch.setattr(scans.loader, "eval_batches", lambda *_: pytest.fail("shards were read again"))
    again = command.score(cfg).result
    assert json_text.text_of(again.as_dict()) == json_text.text_of(result.as_dict())
    arms = ("one", "other", *CONTROLS)
    assert fits == Counter({(head, arm): 1 for head in ("linear", "knn") for arm in arms})


def test_shards_are_read_once_for_all_and_a_killed_report_goes_on_behind_what_is_stored(
    cfg: ReportConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = quick(cfg, out=str(tmp_path), heads=["linear"])

    def kill(done: int, total: int, subject: str) -> None:
        if subject == "features" and done >= 40:
            raise KeyboardInterrupt

    passes = []
    real = scans.loader.eval_batches
    monkeypatch.setattr(
        scans.loader, "eval_batches", lambda *a: (passes.append(len(a[0].samples)), real(*a))[1]
    )
    monkeypatch.setattr(extraction, "PART_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        command.score(changed, kill)
    command.score(changed)
    first, rest = passes
    assert first == 120
    assert 0 < rest <= 80


def test_arms_without_tokens_have_the_linear_head_and_its_numbers(cfg: ReportConfig, stored: str) -> None:
    grid = AttentiveConfig(lr=[1e-2], weight_decay=[0.1], epochs=1)
    changed = quick(cfg, out=stored, heads=["linear", "attentive"], attentive=grid, names=[])
    scored = command.score(dataclasses.replace(changed, checkpoint=cfg.checkpoint[:1]))
    linear, attentive = scored.result.heads
    source = attentive.arms[0].name
    assert source.endswith("run-step-00000001")
    heads = dict.fromkeys(CONTROLS[1:], "linear")
    assert attentive.of_arm == {source: "attentive", "random-init": "attentive"} | heads
    assert linear.arms[2:] == attentive.arms[2:]
    assert list(scored.pictured().attentive) == [source]
    assert scored.pictured().attended == {source: attentive.predictions[source][0]}
    page = render(scored.result, {}, ())
    assert "a learned query attends" in page
    assert "Where there are no tokens, attentive is the linear head." in page


def test_each_form_of_encoder_has_its_own_random_one(cfg: ReportConfig, stored: str) -> None:
    wide = dataclasses.replace(MODEL, width=48)
    write_checkpoint(f"{stored}/wide", seed=4, model=wide)
    changed = quick(cfg, out=stored, heads=["linear"])
    both = [cfg.checkpoint[0], f"{stored}/wide"]
    result = command.score(dataclasses.replace(changed, checkpoint=both, names=["one", "wide"])).result
    features = {arm.name: arm.features for arm in result.first.arms}
    assert (features["random-init"], features["random-init of wide"]) == (48, 96)
    assert [next(iter(v.comparisons)) for v in result.verdicts] == ["random-init", "random-init of wide"]
    with pytest.raises(UsageError, match="checkpoints of one are encoders of several forms"):
        command.score(dataclasses.replace(changed, checkpoint=both, names=["one", "one"]))


def test_forms_whose_arms_have_no_latin_letter_keep_their_own_random_encoders(
    cfg: ReportConfig, stored: str
) -> None:
    for name, width in (("large", 48), ("small", 36)):
        write_checkpoint(f"{stored}/{name}", seed=4, model=dataclasses.replace(MODEL, width=width))
    names, runs = ["one", "大", "小"], [cfg.checkpoint[0], f"{stored}/large", f"{stored}/small"]
    changed = quick(cfg, out=stored, heads=["linear"], checkpoint=runs, names=names)
    features = {arm.name: arm.features for arm in command.score(changed).result.first.arms}
    assert [features[name] for name in names] == [48, 96, 72]
    assert [features[f"random-init{of}"] for of in ("", " of 大", " of 小")] == [48, 96, 72]


def test_a_picture_that_fails_costs_no_number(
    cfg: ReportConfig, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next report still knows which figures are those of an earlier one."""
    Path(stored, "figures").mkdir()
    Path(stored, "figures", "old.svg").touch()
    Path(stored, files.JSON).write_text('{"files": ["old.svg"]}')

    def fail(*_: object) -> None:
        raise OctshardError("no picture")

    monkeypatch.setattr(figures, "draw", fail)
    monkeypatch.setattr(sections, "pictures", fail)
    with pytest.raises(OctshardError, match="no picture"):
        command.report(quick(cfg, out=stored, heads=["linear"]))
    data = json.loads(Path(stored, files.JSON).read_text())
    assert data["figures"] == {}
    assert data["files"] == ["old.svg"]
    assert [arm["name"] for arm in data["heads"][0]["arms"]] == ["one", "other", *CONTROLS]
    rows = tables.read_table(str(Path(stored, files.PREDICTIONS)))
    assert len(rows["participant"]) == 24 * (1 + 2 + len(CONTROLS))


def test_numbers_are_drawn_against_the_truth(cfg: ReportConfig, stored: str) -> None:
    changed = quick(cfg, out=stored, label="age", heads=["linear"])
    scored = command.score(changed)
    assert (scored.result.kind, scored.result.metric) == ("numbers", "r2")
    drawn = figures.draw(scored)
    page = render(scored.result, drawn, ())
    assert "<h2>Predicted and true" in page
    assert "ROC curves" not in page
    assert "Confusion" not in page
    table = people.columns(scored.result)
    assert list(table)[-1] == "predicted"
    assert {row[1] for row in drawn["predicted-one"].chart.rows} == set(table["true"])


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"checkpoint": []}, UsageError, "checkpoint: not set"),
        ({"shards": []}, UsageError, "shards: not set"),
        ({"label": "stat"}, UsageError, "did you mean state"),
        ({"names": ["one"]}, UsageError, "names: 1 for 3 checkpoints"),
        ({"names": ["one", "two", "thickness"]}, UsageError, "names: 'thickness' is .* called as a control"),
        ({"names": ["one", "two", " "]}, UsageError, "names: ' ' is empty"),
        ({"heads": ["linear", "linear"]}, UsageError, "heads: linear is named twice"),
        ({"heads": []}, UsageError, "heads=.*want at least 1"),
        ({"encoder_weights": "a.pth"}, UsageError, "no encoder, want encoder=timm:NAME too"),
        ({"layer": "7"}, UsageError, "layer=7: .* has 1 blocks"),
    ],
)
def test_wrong_usage_gives_one_line_before_anything_is_encoded(
    cfg: ReportConfig, tmp_path: Path, change: dict[str, object], kind: type[OctshardError], message: str
) -> None:
    out = tmp_path / "new"
    with pytest.raises(kind, match=message) as caught:
        command.report(dataclasses.replace(cfg, out=str(out), **change))
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_checkpoint_that_is_there_twice_is_refused(cfg: ReportConfig, tmp_path: Path) -> None:
    first = cfg.checkpoint[0]
    twice = [first, f"{first}/checkpoints/step-00000001.pt", cfg.checkpoint[1]]
    with pytest.raises(UsageError, match=r"is the same as .*, want each once"):
        command.report(dataclasses.replace(cfg, out=str(tmp_path / "new"), checkpoint=twice))
    with pytest.raises(UsageError, match=r"checkpoint: .* is named twice, want each once"):
        command.report(dataclasses.replace(cfg, out=str(tmp_path / "new"), checkpoint=[first] * 3))
    assert not (tmp_path / "new").exists()


@pytest.mark.chromium
def test_in_a_browser_nothing_is_cut_and_nothing_complains(
    result: ReportResult, cfg: ReportConfig, tmp_path: Path
) -> None:
    too_wide = """[...document.querySelectorAll(".wide")].filter(box => box.scrollWidth > box.clientWidth)
      .map(box => box.textContent.slice(0, 60))"""
    with browser(tmp_path) as page:
        for width in (390, 1280):
            page.open(Path(cfg.out, files.PAGE), width)
            assert page.errors == []
            assert page.value("document.documentElement.scrollWidth") <= width
            assert page.value(too_wide) == []

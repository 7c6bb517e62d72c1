"""The demo's road at its smallest: every station, the page, and running it again."""

import signal
from pathlib import Path

import pytest

from octshard.config.load import load, save
from octshard.config.prep import PrepConfig
from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.demo import run
from octshard.errors import StoppedError, UsageError
from octshard.phantom.release import ReleaseSpec
from octshard.train.loop import Outcome
from tests.support.chromium_page import browser

WANTED = ReleaseSpec(participants=24, seed=1, scale=0.06, eyes=("R",), defects=True)


@pytest.fixture(scope="module")
def small_configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own configs with fewer, smaller steps."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "prep").mkdir()
    prep = load(PrepConfig, ["demo"])
    (folder / "prep/demo.yaml").write_text(save(prep))
    words = ["run.samples_budget=64", "model.depth=4", "model.width=32", "model.heads=1", "predictor.depth=1",
             "run.cpu_threads=2"]  # fmt: skip
    training = load(TrainConfig, ["demo"], words)
    (folder / "demo.yaml").write_text(save(training))
    return folder


def configs_in(folder: Path) -> tuple[str, str]:
    return str(folder / "prep/demo.yaml"), str(folder / "demo.yaml")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, small_configs: Path) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    report = run.run(str(out), WANTED, *configs_in(small_configs))
    assert report == f"{out}/report.html"
    return out


@pytest.mark.slow
def test_the_page_tells_the_whole_road(walked: Path) -> None:
    text = (walked / "report.html").read_text()
    for word in (
        "Shards: in order", "Why it cannot tell", "What was stored and what was refused",
        "B-scans before and after", "What the model sees", "Features: three principal components as colours",
        "Training", "Skill on val",
        "while it trains", "pretrained", "random-init", "raw-intensity", "shuffled labels",
        "truncated", "missing_file", "geometry_mixed",
    ):  # fmt: skip
        assert word in text
    # before and after on four devices; six panels of two volumes
    assert text.count("data:image/png;base64,") == 8 + 12
    # a refused Git-LFS pointer shows its first bytes
    fetched = text.replace("http://www.w3.org", "").replace("(version https://)", "")
    assert "http://" not in fetched
    assert "https://" not in fetched


@pytest.mark.slow
def test_every_file_came_to_what_was_planted(walked: Path) -> None:
    columns = tables.read_table(str(walked / "release/truth.parquet"))
    truth = {
        uid: {name: columns[name][i] for name in columns} for i, uid in enumerate(columns["sop_instance_uid"])
    }
    rows = [
        row for folder in (walked / "shards").glob("[!.]*") for row in tables.open_dataset(str(folder)).rows
    ]
    assert {row.sop_instance_uid for row in rows} == set(truth)
    for row in rows:
        expected = truth[row.sop_instance_uid]
        assert row.reason == expected["expected_reason"], row.source
        assert {*filter(None, expected["expected_flags"].split(","))} <= {*row.flags}, row.source
        if row.status == "ok":
            frames = (row.blank_frames, row.no_retina_frames)
            assert frames == (expected["blank_frames"], expected["no_retina_frames"]), row.source
    reasons = {row.reason for row in rows}
    assert {"", "duplicate", "missing_file", "truncated", "geometry_mixed"} <= reasons
    flags = {flag for row in rows for flag in row.flags}
    assert {"slow_axis_flipped", "blank_frames", "no_retina_frames"} <= flags


@pytest.mark.slow
def test_the_demo_again_goes_on_where_it_was(walked: Path, small_configs: Path) -> None:
    tars = {path: path.stat().st_mtime_ns for path in walked.rglob("*.tar")}
    assert tars
    (walked / "report.html").unlink()
    run.run(str(walked), WANTED, *configs_in(small_configs))
    assert (walked / "report.html").exists()
    assert {path: path.stat().st_mtime_ns for path in walked.rglob("*.tar")} == tars


@pytest.mark.slow
@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_the_verdict_comes_first_and_nothing_is_cut(
    walked: Path, tmp_path: Path, width: int
) -> None:
    with browser(tmp_path) as page:
        page.open(walked / "report.html", width)
        assert page.errors == []
        assert page.value("document.documentElement.scrollWidth") <= width
        too_wide = """[...document.querySelectorAll(".wide, section, nav, pre, figure")]
          .filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent.slice(0, 60))"""
        assert page.value(too_wide) == []
        assert page.value("[...document.images].every(image => image.naturalWidth > 0)")
        heads = page.value("[...document.querySelectorAll('h2')].map(h => h.textContent)")
        assert heads[:2] == ["Verdict", "What to do next"]
        assert page.value("[...document.querySelectorAll('nav a')].map(a => a.textContent)") == heads[1:]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds thesis.tex and no demo"):
        run.run(str(tmp_path), WANTED)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"participants": 3, "seed": 0}')
    with pytest.raises(UsageError, match=r"holds a demo of .* want .*; choose another --out"):
        run.run(str(tmp_path), WANTED)


def test_a_demo_that_is_told_to_stop_probes_nothing(
    walked: Path, small_configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of half a training would be judged as if they were the whole."""
    stopped = Outcome(3, 48, None, signal.SIGTERM, 0)
    monkeypatch.setattr(run, "train", lambda *_: stopped)
    monkeypatch.setattr(run, "linear_probe", lambda *_: pytest.fail("it was probed"))
    with pytest.raises(StoppedError, match="stopped at step 3 of training; run it again to go on"):
        run.run(str(walked), WANTED, *configs_in(small_configs))

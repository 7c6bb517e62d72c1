"""The whole probe on made-up shards and a made-up checkpoint; one line for what cannot be probed."""

import dataclasses
import hashlib
import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from octshard.config.eval import ProbeConfig
from octshard.config.head import AttentiveConfig, MlpConfig
from octshard.config.load import save
from octshard.config.model import ModelConfig
from octshard.config.run import RunConfig
from octshard.config.train import DataConfig, TrainConfig
from octshard.dataset import shard, stored_band, tables
from octshard.dataset.participant_digests import digest_participants
from octshard.errors import OctshardError, UsageError
from octshard.eval import feature_table, linear_probe, scans
from octshard.eval.arms import FeatureArm, Question
from octshard.eval.controls import provenance
from octshard.eval.probe_result import ScoredCheckpoint
from octshard.export import run as export_run
from octshard.export.card import ModelCard
from octshard.imaging.intensity import histogram, moments
from octshard.imaging.retina_band import not_found
from octshard.models import checkpoint
from octshard.models.encoder import read_encoder
from octshard.models.vit import Encoder
from octshard.probes import build, labels
from octshard.probes.targets import Target
from octshard.rng import rng_for

MODEL = ModelConfig([8, 32, 32], [4, 16, 16], width=24, depth=1, heads=2)
GRID = [1e-3, 1e-1, 10.0]
CONTROLS = ["random-init", "raw-intensity", "thickness", "site-and-device"]
SPLIT_PEOPLE = {"train": 24, "val": 12, "test": 24}


def scan(name: str, state: int, i: int) -> np.ndarray:
    """Noise with a band whose height tells the state; sizes differ from scan to scan."""
    rng = rng_for("scan", name, i)
    d, h, w = int(rng.integers(5, 9)), int(rng.integers(28, 33)), int(rng.integers(20, 33))
    voxels = rng.integers(60, 120, size=(d, h, w))
    voxels[:, 4 + 8 * state : 10 + 8 * state] += 90
    return voxels.astype(np.uint8)


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> ProbeConfig:
    """A dataset folder of 60 people x 2 scans, their table, and a run folder with one checkpoint."""
    root = tmp_path_factory.mktemp("eyes")
    rows, infos, lines = [], [], ["participant_id\tstate\tcoin\tage\tclinical_site"]
    for split, people in SPLIT_PEOPLE.items():
        slices, split_rows = [], []
        for person in range(people):
            name, state = f"{split}{person}", person % 3
            coin = "TRUE" if rng_for("coin", name).random() < 0.5 else "FALSE"
            site = ("UW", "UAB")[int(rng_for("site", name).integers(2))]
            words = (name, ("low", "middle", "high")[state], coin, 20 + person + len(lines), site)
            lines.append("\t".join(map(str, words)))
            for i in range(2):
                voxels, key = scan(name, state, i), f"{name}-{i}"
                stats = moments(histogram(voxels))._asdict()
                band = not_found(voxels.shape[0], voxels.shape[2])
                if person % 5:  # everybody's fifth has none
                    band.rows_DQ2[:] = 4 + 8 * state, 10 + 8 * state
                data = shard.pack(key, {**stats, stored_band.NAME: stored_band.to_json(band)}, voxels, 1)
                row = tables.SampleRow(key, name, "made_up", "", "", "", "", "L", split, f"{key}.dcm")
                split_rows.append(
                    dataclasses.replace(
                        row,
                        shape_out=voxels.shape,
                        spacing_out=(0.1, 0.02, 0.02),
                        geometry="raster",
                        dtype="uint8",
                        shard=f"{split}-000000.tar",
                        nbytes=len(data),
                        xxh3=shard.slice_digest(data),
                        sha256=hashlib.sha256(voxels.tobytes()).hexdigest(),
                        **stats,
                    )
                )
                slices.append(data)
        file = BytesIO()
        sums = shard.write(file, slices)
        (root / "shards").mkdir(exist_ok=True)
        (root / "shards" / f"{split}-000000.tar").write_bytes(file.getvalue())
        rows += [dataclasses.replace(r, offset=o) for r, o in zip(split_rows, sums.offsets, strict=True)]
        infos.append(
            tables.ShardInfo(
                f"{split}-000000.tar", "made_up", split, len(split_rows), sums.bytes, sums.sha256
            )
        )
    tables.write_rows(str(root / "shards" / tables.SAMPLES), rows)
    tables.write_shards(str(root / "shards" / tables.SHARDS), infos)
    tables.write_info(str(root / "shards" / tables.INFO), {})
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    write_checkpoint(str(root / "run"), seed=1)
    return ProbeConfig(
        checkpoint=str(root / "run"),
        shards=[str(root / "shards")],
        participants=str(root / "participants.tsv"),
        label="state",
        out=str(root / "probe"),
        regularisation=GRID,
        bootstrap=100,
        shuffles=4,
        batch=7,
        device="cpu",
        random_draws=2,
    )


def write_checkpoint(
    out: str, seed: int, step: int = 1, cache_dir: str = "", model: ModelConfig = MODEL, **more: Any
) -> None:
    """A run folder whose target encoder was never trained; more: of the payload."""
    cfg = TrainConfig(
        data=DataConfig(threads=1, cache_dir=cache_dir),
        model=model,
        run=RunConfig(samples_budget=8, precision="fp32", out=out),
    )
    torch.manual_seed(seed)
    weights = {checkpoint.TARGET_ENCODER + n: t for n, t in Encoder(model).state_dict().items()}
    payload = {
        "format": checkpoint.FORMAT,
        "config": save(cfg),
        "model": weights,
        "step": step,
        "samples_seen": 8 * step,
        **more,
    }
    checkpoint.write(out, payload, None, milestone=False)


@pytest.fixture(scope="module")
def result(eyes) -> linear_probe.ProbeResult:
    return linear_probe.linear_probe(eyes)


def test_all_arms_stand_beside_each_other(result, eyes):
    assert [arm.name for arm in result.arms] == ["pretrained", *CONTROLS]
    assert list(result.differences) == CONTROLS
    assert len(result.verdicts) == 4
    assert [len(arm.score.of_runs) for arm in result.arms] == [1, 2, 1, 1, 1]
    assert result.classes == ("high", "low", "middle")
    assert [(c.scans, c.participants) for c in result.counts] == [(48, 24), (24, 12), (48, 24)]
    for arm in result.arms:
        assert [trial.setting["C"] for trial in arm.trials] == sorted(GRID)
        assert arm.score.participants == 24
    auroc = {arm.name: arm.score.metrics["macro_auroc"].value for arm in result.arms}
    assert auroc["pretrained"] > 0.9  # the height of the band is easy to read
    assert auroc["raw-intensity"] > 0.9
    assert auroc["random-init"] == pytest.approx(np.mean(result.arms[1].score.of_runs))
    assert abs(auroc["site-and-device"] - 0.5) < 0.2
    assert sum(map(sum, result.arms[0].score.confusion)) == 24


def test_labels_that_mean_nothing_score_like_nothing(eyes, tmp_path):
    result = linear_probe.linear_probe(dataclasses.replace(eyes, label="coin", out=str(tmp_path)))
    for arm in result.arms:
        auroc = arm.score.metrics["macro_auroc"]
        assert auroc.low < 0.6
    assert result.shuffled.metrics["macro_auroc"].value == pytest.approx(0.5, abs=0.2)


def test_shuffled_labels_fall_behind(result):
    control = result.shuffled
    assert control.metrics["macro_auroc"].value < 0.8
    assert control.reached == 0
    assert control.p_value == pytest.approx(1 / 5)


def test_the_difference_is_that_of_the_scores(result):
    auroc = {arm.name: arm.score.metrics["macro_auroc"].value for arm in result.arms}
    for name, gains in result.differences.items():
        assert gains["macro_auroc"].value == pytest.approx(auroc["pretrained"] - auroc[name])


@pytest.mark.parametrize(
    ("head", "keys"), [("knn", ["neighbours", "weighting"]), ("mlp", ["lr", "weight_decay", "epoch"])]
)
def test_another_head_is_asked_the_same(result, eyes, head, keys, tmp_path):
    """On the features that are there, with the same controls."""
    shutil.copytree(Path(eyes.out, "features"), tmp_path / "features")
    mlp = MlpConfig(lr=[1e-2], weight_decay=[0.1], epochs=10, width=16)
    other = linear_probe.linear_probe(
        dataclasses.replace(eyes, out=str(tmp_path), head=head, neighbours=[3, 5], mlp=mlp, shuffles=1)
    )
    assert [arm.name for arm in other.arms] == [arm.name for arm in result.arms]
    assert all(list(arm.choice) == keys for arm in other.arms)
    assert other.arms[0].score.metrics["macro_auroc"].value > 0.8
    data = json.loads((tmp_path / "probe.json").read_text())
    assert data["arms"][0]["choice"] == dict(other.arms[0].choice)
    page = (tmp_path / "probe.html").read_text()
    assert build.METHODS[head] in page
    assert "logistic" not in page


def test_the_attentive_head_reads_tokens_and_controls_without_tokens_have_the_linear_one(eyes, tmp_path):
    grid = AttentiveConfig(lr=[1e-2], weight_decay=[0.1], epochs=3)
    cfg = dataclasses.replace(eyes, out=str(tmp_path), head="attentive", attentive=grid)
    result = linear_probe.linear_probe(dataclasses.replace(cfg, shuffles=1, random_draws=1))
    keys = {arm.name: list(arm.choice) for arm in result.arms}
    tokens = {"pretrained", "random-init"}
    assert result.arms[0].name == "pretrained"
    assert all(
        chosen == (["lr", "weight_decay", "epoch"] if name in tokens else ["C"])
        for name, chosen in keys.items()
    )
    assert "learned query" in (tmp_path / "probe.html").read_text()


def test_both_files_are_written_and_agree(result, eyes):
    data = json.loads(Path(eyes.out, "probe.json").read_text())
    assert data["arms"][0]["score"]["metrics"]["macro_auroc"]["value"] == pytest.approx(
        result.arms[0].score.metrics["macro_auroc"].value
    )
    assert data["verdicts"] == list(result.verdicts)
    assert list(data["comparisons"]) == CONTROLS
    assert (data["headline"], data["provenance"]) == (result.headline, list(result.provenance))
    assert [reading["column"] for reading in data["readings"]] == ["site", "device"]
    page = Path(eyes.out, "probe.html").read_text()
    assert all(sentence in page for sentence in (result.headline, *result.provenance))
    assert all(
        reason in page for verdict in result.comparisons.values() for reason in verdict.reasons.values()
    )


def test_eight_people_a_class_and_four_deals_tell_nothing(result):
    """24 test participants in three classes: however high the scores, no winner."""
    assert "No p of 0.05 can come of shuffles=4: want at least 19." in result.notes
    for name, verdict in result.comparisons.items():
        assert verdict.verdict == "cannot tell"
        assert verdict.reasons["few_participants"].endswith("in high (8) and 2 more of the classes")
        assert not any(word in sentence for sentence in result.verdicts for word in ("better", "worse"))
        assert f"Cannot tell pretrained from {name}: " in " ".join(result.verdicts)


def test_the_file_and_step_are_named_everywhere(result, eyes):
    path = f"{eyes.checkpoint}/checkpoints/step-00000001.pt"
    data = json.loads(Path(eyes.out, "probe.json").read_text())
    assert data["scored"] == {"path": path, "step": 1, "samples_seen": 8, "seen_people": None}
    assert data["checkpoint_digest"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    line = f"Checkpoint {path}: step 1, 8 samples seen"
    assert line in Path(eyes.out, "probe.html").read_text()
    assert line in result.text()


def test_a_damaged_newest_checkpoint_is_not_replaced_by_an_older_one(eyes, tmp_path):
    run = tmp_path / "run"
    write_checkpoint(str(run), seed=1, step=1)
    write_checkpoint(str(run), seed=2, step=2)
    newest = run / "checkpoints" / "step-00000002.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    cfg = dataclasses.replace(
        eyes, checkpoint=str(run), out=str(tmp_path / "probe"), bootstrap=10, shuffles=1
    )
    with pytest.raises(OctshardError, match=r"step-00000002.pt: .*damaged; .*older.*step-00000001.pt$"):
        linear_probe.linear_probe(cfg)
    older = str(run / "checkpoints" / "step-00000001.pt")
    assert linear_probe.linear_probe(dataclasses.replace(cfg, checkpoint=older)).scored.step == 1


def test_people_that_were_pretrained_on_are_refused_or_said(eyes, tmp_path):
    """Digests as train writes them: two test participants, a validation one, and strangers."""
    run = str(tmp_path / "run")
    known = digest_participants(["test3", "test0", "val1", "train2", "test30"], "0123456789abcdef")
    write_checkpoint(run, seed=1, participants=known.payload())
    cfg = dataclasses.replace(eyes, checkpoint=run, out=str(tmp_path / "probe"), bootstrap=10, shuffles=1)
    with pytest.raises(
        UsageError, match=r"2 of the 24 test participants, the first is test0; .*allow_seen_people"
    ):
        linear_probe.linear_probe(cfg)
    assert not (tmp_path / "probe").exists()
    result = linear_probe.linear_probe(dataclasses.replace(cfg, allow_seen_people=True))
    assert result.scored.seen_people == 2
    note = "The encoder was pretrained on 2 of the 24 test participants"
    assert note in result.text()
    assert note in (tmp_path / "probe" / "probe.html").read_text()
    data = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert (data["scored"]["seen_people"], data["config"]["allow_seen_people"]) == (2, True)


def test_an_export_is_probed_as_its_checkpoint_is(result, eyes, tmp_path):
    out = str(tmp_path / "export")
    export_run.write(read_encoder(eyes.checkpoint), out, ModelCard())
    again = linear_probe.linear_probe(dataclasses.replace(eyes, checkpoint=out, out=str(tmp_path / "probe")))
    assert again.arms == result.arms
    assert "Unknown whether the encoder was pretrained on test participants" in again.text()


def test_people_that_an_export_names_are_refused(eyes, tmp_path):
    run, out = str(tmp_path / "run"), str(tmp_path / "export")
    write_checkpoint(run, seed=1, participants=digest_participants(["test3"], "0123").payload())
    export_run.write(read_encoder(run), out, ModelCard(people=True))
    with pytest.raises(UsageError, match=r"export: .* on 1 of the 24 test participants, the first is test3"):
        linear_probe.linear_probe(dataclasses.replace(eyes, checkpoint=out, out=str(tmp_path / "probe")))


def test_a_2d_encoder_stands_beside_the_others(result, eyes, tmp_path):
    timm = pytest.importorskip("timm")
    path = str(tmp_path / "weights.pth")
    torch.manual_seed(0)
    torch.save({"model": timm.create_model("test_vit", pretrained=False).state_dict()}, path)
    cfg = dataclasses.replace(
        eyes, encoder="timm:test_vit", encoder_weights=path, encoder_every=8, out=str(tmp_path / "probe")
    )
    again = linear_probe.linear_probe(cfg)
    assert [arm.name for arm in again.arms if arm.name not in CONTROLS] == ["pretrained", "slices-test_vit"]
    assert [arm for arm in again.arms if arm.name != "slices-test_vit"] == list(result.arms)
    assert "slices-test_vit reads one of 8 B-scans by itself, in 160 x 160 pixels" in again.text()
    assert "slices-test_vit" in again.comparisons


@pytest.mark.parametrize(
    ("people", "note"),
    [
        (["train0", "val1"], "The encoder was pretrained on none of the 24 test participants."),
        (None, "Unknown whether the encoder was pretrained on test participants: its file does not say"),
    ],
)
def test_nobody_or_unknown_is_said_too(eyes, tmp_path, people, note):
    run = str(tmp_path / "run")
    payload = digest_participants(people, "").payload() if people else None
    write_checkpoint(run, seed=1, participants=payload)
    cfg = dataclasses.replace(eyes, checkpoint=run, out=str(tmp_path / "probe"), bootstrap=10, shuffles=1)
    result = linear_probe.linear_probe(cfg)
    assert note in result.text()
    assert result.scored.seen_people == (0 if people else None)


def test_the_order_of_the_arms_does_not_depend_on_what_is_stored(result, eyes, tmp_path):
    texts = []
    (table,) = Path(eyes.out, "features").iterdir()
    for kept in ("*", "raw-intensity-*"):
        cfg = dataclasses.replace(eyes, out=str(tmp_path), bootstrap=10, shuffles=1, regularisation=[0.1])
        shutil.rmtree(tmp_path / "features", ignore_errors=True)
        (tmp_path / "features" / table.name).mkdir(parents=True)
        for path in filter(Path.is_file, table.glob(kept)):
            shutil.copy(path, tmp_path / "features" / table.name)
        linear_probe.linear_probe(cfg)
        texts.append((tmp_path / "probe.json").read_text())
    assert texts[0] == texts[1]


def test_a_second_run_reads_no_shard_and_says_the_same(result, eyes, monkeypatch):
    monkeypatch.setattr(scans.loader, "eval_batches", lambda *_: pytest.fail("shards were read again"))
    assert linear_probe.linear_probe(eyes) == result


def test_another_checkpoint_is_encoded_but_baselines_are_not(result, eyes, tmp_path, monkeypatch):
    written = []
    real = feature_table.write_features
    monkeypatch.setattr(
        feature_table,
        "write_features",
        lambda url, values, scans: (written.append(url.rsplit("/", 1)[1]), real(url, values, scans)),
    )
    write_checkpoint(str(tmp_path / "run"), seed=2)
    shutil.copytree(Path(eyes.out, "features"), tmp_path / "probe" / "features")
    other = dataclasses.replace(eyes, checkpoint=str(tmp_path / "run"), out=str(tmp_path / "probe"))
    linear_probe.linear_probe(dataclasses.replace(other, bootstrap=10, shuffles=1))
    assert [name.split("-")[0] for name in written] == ["pretrained"]


def test_an_encoder_without_a_target_encoder_is_scored_alike(result, eyes, tmp_path):
    """As `mae` leaves one: the same weights under the other name."""
    write_checkpoint(str(tmp_path / "run"), seed=1)
    latest = checkpoint.load_newest(str(tmp_path / "run"))[1]
    weights = {
        name.replace(checkpoint.TARGET_ENCODER, checkpoint.ENCODER): t for name, t in latest["model"].items()
    }
    checkpoint.write(str(tmp_path / "mae"), {**latest, "model": weights}, None, milestone=False)
    other = dataclasses.replace(
        eyes, checkpoint=str(tmp_path / "mae"), out=str(tmp_path / "probe"), shuffles=1
    )
    assert linear_probe.linear_probe(other).arms[0].score == result.arms[0].score


def test_batch_size_does_not_change_the_answer(result, eyes, tmp_path):
    other = linear_probe.linear_probe(dataclasses.replace(eyes, batch=16, out=str(tmp_path)))
    for arm, other_arm in zip(result.arms, other.arms, strict=True):
        assert arm.score.metrics["macro_auroc"].value == pytest.approx(
            other_arm.score.metrics["macro_auroc"].value, abs=0.02
        )


def test_no_place_of_the_run_is_used(eyes, tmp_path, monkeypatch):
    """A checkpoint may be somebody else's: nothing is cached where its config says."""
    places = []
    real = scans.loader.eval_batches

    def eval_batches(index, trained, *more):
        places.append((trained.data.cache_dir, tuple(trained.data.shards)))
        return real(index, trained, *more)

    monkeypatch.setattr(scans.loader, "eval_batches", eval_batches)
    write_checkpoint(str(tmp_path / "run"), seed=3, cache_dir="/elsewhere")
    cfg = dataclasses.replace(eyes, checkpoint=str(tmp_path / "run"), out=str(tmp_path / "probe"))
    linear_probe.linear_probe(dataclasses.replace(cfg, bootstrap=10, shuffles=1, regularisation=[0.1]))
    assert set(places) == {("", tuple(eyes.shards))}


def test_a_number_is_probed_and_compared_by_r2(eyes, tmp_path):
    """age is drawn without regard to the scan: nothing tells it."""
    cfg = dataclasses.replace(eyes, label="age", out=str(tmp_path), bootstrap=50, shuffles=3)
    result = linear_probe.linear_probe(cfg)
    assert (result.kind, result.classes, result.metrics) == ("numbers", (), ("r2", "mae"))
    assert result.arms[0].score.metrics["r2"].value < 0.5
    assert "R²" in result.text()
    page = (tmp_path / "probe.html").read_text()
    assert "difference in R²" in page
    assert "One class against the rest" not in page
    assert "Confusion" not in page


def test_progress_counts_every_scan(eyes, tmp_path):
    reports = []
    quick = dataclasses.replace(eyes, out=str(tmp_path), bootstrap=10, shuffles=1)
    linear_probe.linear_probe(quick, lambda *report: reports.append(report))
    assert [report for report in reports if report[2] == "features"][-1] == (120, 120, "features")
    assert (1, 1, "shuffled labels") in reports
    assert all(0 <= done <= total for done, total, _ in reports)


def test_a_test_set_without_a_class_is_scored_on_the_others(eyes):
    y = {"train": [0, 1, 2] * 4, "val": [0, 1, 2] * 4, "test": [0, 1] * 6}
    rows = [
        tables.SampleRow(f"{split}{i}", f"{split}{i}", "", "", "", "", "", "", split, "")
        for split, classes in y.items()
        for i in range(len(classes))
    ]
    class_of = {f"{split}{i}": c for split, classes in y.items() for i, c in enumerate(classes)}
    scans = labels.join(Target("x", ("a", "b", "c"), class_of), rows)
    arms = [
        FeatureArm(name, (rng_for("values", name).normal(size=(len(rows), 5)),))
        for name in ("pretrained", "random-init")
    ]
    question = Question(scans, provenance.provenance(rows, {}), ScoredCheckpoint("a.pt", 1, 8, 0))
    result = linear_probe.compare(arms, question, eyes, lambda *_: None)
    assert result.arms[0].score.scored == ("a", "b")
    assert any("Not scored, because no test participant has it: c" in note for note in result.notes)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"checkpoint": ""}, UsageError, "checkpoint: not set"),
        ({"shards": []}, UsageError, "shards: not set"),
        ({"participants": ""}, UsageError, "participants: not set"),
        ({"label": "stat"}, UsageError, "did you mean state"),
        ({"regularisation": [0.0]}, UsageError, "regularisation=.*want at least 1, each more than 0"),
        ({"bootstrap": 0}, UsageError, "bootstrap=0: want "),
        ({"checkpoint": "/nowhere"}, UsageError, "/nowhere: no checkpoint"),
        ({"shards": ["/nowhere"]}, UsageError, "/nowhere: found nothing"),
    ],
)
def test_wrong_usage_gives_one_line(eyes, change, kind, message):
    with pytest.raises(kind, match=message) as caught:
        linear_probe.linear_probe(dataclasses.replace(eyes, **change))
    assert "\n" not in str(caught.value)


def test_too_few_people_give_one_line_before_anything_is_encoded(eyes, tmp_path):
    participants = tmp_path / "participants.tsv"
    participants.write_text("participant_id\tstate\ntrain0\ta\ntrain1\tb\nval0\ta\ntest0\tb\n")
    cfg = dataclasses.replace(eyes, participants=str(participants), out=str(tmp_path / "probe"))
    with pytest.raises(OctshardError, match=r"train 2, val 1, test 1.*val holds 1 classes") as caught:
        linear_probe.linear_probe(cfg)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "probe").exists()


def test_a_dataset_named_twice_is_an_error(eyes, tmp_path):
    with pytest.raises(OctshardError, match="stand in more than one folder"):
        linear_probe.linear_probe(dataclasses.replace(eyes, shards=eyes.shards * 2, out=str(tmp_path)))

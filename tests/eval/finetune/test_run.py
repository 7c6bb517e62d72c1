"""A whole fine-tuning on made-up eyes: classes, levels and numbers, killed and resumed, beside a control."""

import dataclasses
import html
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from octshard.config.eval import ProbeConfig
from octshard.config.finetune import FinetuneConfig
from octshard.dataset.participant_digests import digest_participants
from octshard.errors import UsageError
from octshard.eval.finetune import fit, report, run
from octshard.eval.finetune.result import FinetuneResult
from octshard.eval.verdict import headline
from octshard.models import checkpoint
from octshard.models.encoder import read_encoder
from octshard.probes import scores
from octshard.probes.targets import NUMBERS, ORDINAL
from tests.eval.test_linear_probe import eyes, write_checkpoint  # noqa: F401 (a fixture)

Make = Callable[..., FinetuneConfig]


@pytest.fixture
def make(eyes: ProbeConfig, tmp_path: Path) -> Make:  # noqa: F811
    def config(**more: object) -> FinetuneConfig:
        values = {"epochs": 4, "unfreeze_epoch": 1, "warmup_epochs": 1.0, "lr": 3e-2, "batch": 8,
                  "layer_decay": 0.75, "bootstrap": 99, "out": str(tmp_path / "out"), **more}  # fmt: skip
        same = ("checkpoint", "shards", "participants", "label", "device")
        return FinetuneConfig(**{**{key: getattr(eyes, key) for key in same}, **values})  # type: ignore[arg-type]

    return config


@pytest.fixture(scope="module")
def classes(eyes: ProbeConfig, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:  # noqa: F811
    out = str(tmp_path_factory.mktemp("finetune"))
    same = {key: getattr(eyes, key) for key in ("checkpoint", "shards", "participants", "label", "device")}
    return run.finetune(FinetuneConfig(**same, out=out, epochs=6, warmup_epochs=1, lr=3e-2, bootstrap=99))


def test_what_stands_in_the_scans_is_learned_and_scored_as_by_a_probe(classes: FinetuneResult) -> None:
    assert [arm.name for arm in classes.arms] == ["pretrained", "random-init"]
    first = classes.arms[0]
    assert first.score.participants == 24
    assert first.score.metrics["macro_auroc"].value > 0.95
    scores_of_val = [trial.score for trial in first.trials]
    assert first.choice["epoch"] == 1 + int(np.argmax(scores_of_val))
    verdict = classes.comparisons["random-init"]
    assert (verdict.verdict, "few_participants" in verdict.reasons) == ("cannot tell", True)
    assert classes.verdicts[0].startswith("Cannot tell pretrained from random-init: fewer than 10 test")
    text = classes.text()
    assert "random-init" in text
    assert "macro AUROC" in text


def test_the_file_has_what_every_participant_was_said_of(classes: FinetuneResult) -> None:
    record = json.loads(Path(str(classes.config["out"]), "finetune.json").read_text())
    said = record["predictions"]["pretrained"]
    assert len(said) == 24
    p_PC = np.array(list(said.values()))
    assert p_PC.sum(1) == pytest.approx(np.ones(24))
    state_P = [("low", "middle", "high")[int(name.removeprefix("test")) % 3] for name in said]
    auroc = roc_auc_score(state_P, p_PC, multi_class="ovr", labels=record["classes"])
    assert record["arms"][0]["score"]["metrics"]["macro_auroc"]["value"] == pytest.approx(auroc)


def test_the_page_begins_with_the_verdict_and_shows_every_epoch(classes: FinetuneResult) -> None:
    folder = Path(str(classes.config["out"]))
    page = (folder / "finetune.html").read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page)[:4] == [
        "Verdict", "Scores on test participants", "By the epoch", "Notes",
    ]  # fmt: skip
    assert page.index(html.escape(classes.headline)) < page.index("Scores on test participants</h2>")
    assert "Each of the 48 scans counts once" in page
    assert "shuffled labels of the verdict are those of test" in page
    for stem in ("score", "val", "loss"):
        assert {(folder / f"{stem}.{end}").exists() for end in ("svg", "png", "csv")} == {True}
    rows = (folder / "loss.csv").read_text().splitlines()[1:]
    assert len(rows) == sum(map(len, classes.losses.values())) == sum(len(a.trials) for a in classes.arms)
    losses = classes.losses["pretrained"]
    assert losses[0] == pytest.approx(math.log(3), abs=0.2)  # a head that begins at nothing
    assert losses[-1] < 0.5 * losses[0]
    record = json.loads((folder / "finetune.json").read_text())
    assert record["losses"]["pretrained"] == pytest.approx(losses)
    assert record["arms"][0]["score"]["by_scan"]["macro_auroc"]["value"] > 0.9
    assert "macro AUROC by scan" in classes.text()


def test_a_page_without_a_control_says_so(classes: FinetuneResult) -> None:
    alone = dataclasses.replace(
        classes, arms=classes.arms[:1], comparisons={}, differences={}, headline=headline({})
    )
    page = report.render(alone)
    assert "Nothing to compare with." in page
    assert "pretrained −" not in page


def test_the_fine_tuned_encoder_is_read_as_any_other(classes: FinetuneResult) -> None:
    folder = Path(str(classes.config["out"]), "pretrained")
    encoder = read_encoder(str(folder))
    assert encoder.config.model.width == 24
    kept = [info.step for info in checkpoint.list_checkpoints(str(folder))]
    assert kept == sorted({classes.arms[0].choice["epoch"], len(classes.arms[0].trials)})


def test_the_weights_say_whom_they_were_trained_on(make: Make, tmp_path: Path) -> None:
    """Those of the pretraining and of train; where the first are not known, neither are all."""
    known = digest_participants(["somebody"], "salt")
    write_checkpoint(str(tmp_path / "run"), seed=1, participants=known.payload())
    run.finetune(make(checkpoint=str(tmp_path / "run"), epochs=2, unfreeze_epoch=0, random_draws=1))
    train = [f"train{n}" for n in range(24)]
    for name, before in (("pretrained", ["somebody"]), ("random-init", [])):
        people = read_encoder(str(tmp_path / "out" / name)).participants
        assert people is not None
        assert people.members([*train, "test0", "val0", "somebody"]) == {*train, *before}


def test_people_of_an_older_pretraining_stay_unknown(classes: FinetuneResult) -> None:
    assert read_encoder(f"{classes.config['out']}/pretrained").participants is None


def test_a_killed_fine_tuning_goes_on_bit_for_bit(make: Make, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(number: int, total: int, note: str) -> None:
        if number == 15:  # of 24: in the third epoch
            raise Killed

    whole = make(out=str(tmp_path / "whole"), random_draws=0)
    parts = make(out=str(tmp_path / "parts"), random_draws=0)
    run.finetune(whole)
    with pytest.raises(Killed):
        run.finetune(parts, kill)
    assert [info.step for info in checkpoint.list_checkpoints(f"{parts.out}/pretrained")][-1] == 2
    result = run.finetune(parts)
    states = [checkpoint.load_newest(f"{cfg.out}/pretrained")[1] for cfg in (whole, parts)]
    assert states[0]["finetune"]["scores"] == states[1]["finetune"]["scores"]
    for name, weight in states[0]["model"].items():
        assert torch.equal(weight, states[1]["model"][name]), name
    before = Path(parts.out, "finetune.json").read_text()
    assert run.finetune(parts).arms == result.arms  # at its end: nothing is trained anew
    assert Path(parts.out, "finetune.json").read_text() == before
    with pytest.raises(UsageError, match=r"holds a fine-tuning with lr=0\.03, this one has 0\.01; want anot"):
        run.finetune(dataclasses.replace(parts, lr=0.01))


@pytest.mark.parametrize(
    ("kind", "more"),
    [(ORDINAL, {"target": "ordinal", "order": ["low", "middle", "high"]}), (NUMBERS, {"label": "age"})],
)
def test_levels_and_numbers(make: Make, kind: str, more: dict[str, object]) -> None:
    """The levels stand in the scans; of the age, which does not, little can be said."""
    result = run.finetune(make(epochs=6, random_draws=0, **more))
    metrics = result.arms[0].score.metrics
    assert result.kind == kind
    assert set(metrics) == set(scores.METRICS[kind])
    if kind == ORDINAL:
        assert metrics["quadratic_kappa"].value > 0.8
    else:
        assert metrics["r2"].value < 0.5
        assert all(20 < value < 300 for (value,) in result.predictions["pretrained"].values())


def test_the_head_alone_is_trained_before_the_encoder(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = make(epochs=3, unfreeze_epoch=2, random_draws=0, views="plain", patience=9)
    weights: list[torch.Tensor] = []
    score_on_val = fit._score_on_val

    def kept(job: fit.Job) -> float:
        weights.append(job.model.encoder.embed.weight.detach().clone())
        return score_on_val(job)

    monkeypatch.setattr(fit, "_score_on_val", kept)
    run.finetune(cfg)
    encoder = read_encoder(cfg.checkpoint).encoder.embed.weight
    assert [torch.equal(weight, encoder) for weight in weights] == [True, True, False]


@pytest.mark.slow
def test_a_filter_of_other_blanks_goes_on_and_one_that_leaves_other_scans_does_not(make: Make) -> None:
    cfg = make(epochs=1, unfreeze_epoch=0, random_draws=0, filter="participant != 'train1'")
    first = run.finetune(cfg)
    assert first.notes[0].endswith("leaves out 2 of 120 scans: train 2, val 0, test 0.")
    again = run.finetune(dataclasses.replace(cfg, filter='participant   != "train1"'))
    assert again.losses == first.losses
    with pytest.raises(UsageError, match="holds a fine-tuning with labels=") as error:
        run.finetune(dataclasses.replace(cfg, filter="participant != 'train2'"))
    assert len(str(error.value)) < 500


def test_patience_ends_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter((0.6, 0.7, 0.65, 0.7, 0.9))
    monkeypatch.setattr(fit, "_score_on_val", lambda job: next(values))
    result = run.finetune(make(epochs=9, patience=2, random_draws=0))
    assert [trial.score for trial in result.arms[0].trials] == [0.6, 0.7, 0.65, 0.7]
    assert result.arms[0].choice == {"epoch": 2}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"checkpoint": ""}, r"^checkpoint: not set, want checkpoint=RUN"),
        ({"shards": []}, r"^shards: not set"),
        ({"layer_decay": 1.5}, r"^layer_decay=1\.5: want"),
        ({"epochs": 2, "unfreeze_epoch": 2}, r"^unfreeze_epoch=2: the head alone .* want fewer, or octshard"),
    ],
)
def test_settings_that_cannot_be_are_one_line(make: Make, more: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=line) as error:
        run.finetune(make(**more))
    assert "\n" not in str(error.value)

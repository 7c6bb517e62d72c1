"""The model card: every number is where it belongs, what is unknown is said to be, and nothing steers it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from octshard.errors import UsageError
from octshard.eval.probe_result import TITLES, Arm, ProbeResult
from octshard.export import card
from octshard.export.card import ModelCard
from octshard.models.encoder import read_encoder
from octshard.models.trained_encoder import TrainedEncoder
from octshard.probes.metrics import METRICS
from tests.support.tiny_run import config_for, write_checkpoint

PREPARATION = {"target_spacing": [0.05, 0.02, 0.03], "image_size": [8, 32, 16], "fit": "crop_pad"}
MORE = {
    "devices": {
        "triton|<b>\n# x": {"volumes": 1200, "people": 1001},
        "maestro": {"volumes": 34, "people": 5},
    },
    "data": {"data.digest": "0123456789abcdef", "data.samples": 1234},
}
PROBE = {
    "label": "study_group",
    "arms": [
        {
            "name": "pretrained",
            "score": {"metrics": {"macro_auroc": {"value": 0.81, "low": 0.7, "high": 0.9}}},
        },
        {"name": "random-init", "score": {"metrics": {"macro_auroc": {"value": None, "low": 0, "high": 1}}}},
    ],
    "verdicts": ["Pretrained is better than random-init by 0.2."],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    folder = tmp_path_factory.mktemp("card")
    return read_encoder(write_checkpoint(folder, config_for("none", "none"), PREPARATION, **MORE))


def with_digest(trained: TrainedEncoder, **more: Any) -> dict[str, Any]:
    return {"checkpoint_digest": trained.digest, **more}


def test_it_says_what_is_known(trained: TrainedEncoder) -> None:
    model_card = ModelCard("cc-by-4.0", (("probe.json", with_digest(trained, **PROBE)),))
    model_card.check(trained)
    text = card.render(model_card, trained)
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "octshard")
    for line in (
        "| volumes | 1,234 |",
        "| digest | 0123456789abcdef |",
        "| maestro | 34 | 5 |",
        "| spacing of voxels (D, H, W) | \\[0.05, 0.02, 0.03\\] mm |",
        "| `optim.base_lr` | 0.0015 |",
        "| `run.global_batch` | 4 |",
        f"| checkpoint | sha256 {trained.digest} |",
        "| people | not recorded |",
        "Label: study\\_group.",
        "| features | macro AUROC |",
        "| pretrained | 0.810 [0.700, 0.900] |",
        "| random-init | none |",
        "* Pretrained is better than random-init by 0.2.",
    ):
        assert line in text.splitlines() or line.replace("[0.700, 0.900]", "\\[0.700, 0.900\\]") in text, line
    assert "$" not in text
    assert "not stated" not in text


def test_a_probe_has_what_the_card_shows() -> None:
    assert {*PROBE, "checkpoint_digest"} <= {field.name for field in dataclasses.fields(ProbeResult)}
    assert {"name", "score"} <= {field.name for field in dataclasses.fields(Arm)}


@pytest.mark.parametrize("kind", sorted(METRICS))
def test_scores_of_every_kind_of_label_are_shown(trained: TrainedEncoder, kind: str) -> None:
    metrics = {name: {"value": 0.25, "low": 0.125, "high": 0.5} for name in METRICS[kind]}
    probe = with_digest(
        trained, label="x", arms=[{"name": "pretrained", "score": {"metrics": metrics}}], verdicts=[]
    )
    text = card.render(ModelCard("", (("probe.json", probe),)), trained).replace("\\", "")
    assert f"| features | {' | '.join(TITLES[name] for name in METRICS[kind])} |" in text
    assert f"| pretrained |{' 0.250 [0.125, 0.500] |' * len(metrics)}" in text


def test_foreign_names_are_text_on_one_line(trained: TrainedEncoder) -> None:
    lines = card.render(ModelCard(), trained).splitlines()
    assert "| triton\\|\\<b\\> \\# x | 1,200 | 1,001 |" in lines


def test_what_is_unknown_is_said_to_be(tmp_path: Path) -> None:
    text = card.render(ModelCard(), read_encoder(write_checkpoint(tmp_path, config_for("none", "none"))))
    assert yaml.safe_load(text.split("---")[1])["license"] == "unknown"
    for words in ("| digest | not recorded |", "| volumes | not recorded |", "Devices: not recorded."):
        assert words in text
    assert "None were given." in text
    assert "give `load_encoder` a `target_spacing`" in text.replace("\\", "")


@pytest.mark.parametrize(
    "probe",
    [{}, {"arms": None}, {"arms": [3]}, {"arms": [{"score": 3}]}, {"verdicts": 3}, {"arms": {"a": 1}}],
)
def test_a_probe_of_another_form_is_one_line(trained: TrainedEncoder, probe: dict[str, Any]) -> None:
    model_card = ModelCard("", (("some/probe.json", with_digest(trained, **probe)),))
    with pytest.raises(UsageError, match=r"some/probe.json: .*want"):
        model_card.check(trained)


def test_licences_are_ids(trained: TrainedEncoder) -> None:
    for licence in ("Apache 2.0", "x" * 41, "mit\n---", "-x"):
        with pytest.raises(UsageError, match="want an id such as"):
            ModelCard(licence).check(trained)
    ModelCard("cc-by-nc-sa-4.0").check(trained)

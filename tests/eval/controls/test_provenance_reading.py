"""Devices that features tell are found, others are at chance, and what cannot be asked says why."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from octshard.eval.controls import provenance_reading
from octshard.eval.controls.provenance import Provenance
from octshard.probes import linear, scores
from octshard.probes.labels import LabelledScans, Subset
from octshard.rng import rng_for

SPLITS = {"train": 60, "val": 40, "test": 80}
DEVICES = ("cirrus", "triton")


def cohort() -> tuple[LabelledScans, list[str], list[str]]:
    """Everybody is scanned by both devices; the site is a coin."""
    subsets, device, site, start = {}, [], [], 0
    for split, people in SPLITS.items():
        names = [f"{split}{i}" for i in range(people) for _ in DEVICES]
        places = np.arange(start, start + len(names))
        subsets[split] = Subset(places, np.zeros(len(names), np.int64), tuple(names))
        device += [name for _ in range(people) for name in DEVICES]
        site += [("UW", "UAB")[int(rng_for("site", name).integers(2))] for name in names]
        start += len(names)
    return LabelledScans(("a", "b"), subsets, (), {}), device, site


def probe(train, val, test):
    head = linear.fit(train, val, [0.01, 1.0])
    return scores.by_participant(linear.predict(head, test.x_NF), test.y_N, test.participants)


def draw(people: int) -> np.ndarray:
    return scores.draw_resamples(np.zeros(people, np.int64), 200, rng_for("people"))


def features(device: list[str], strength: float) -> np.ndarray:
    x_NF = rng_for("features").normal(size=(len(device), 6))
    x_NF[:, 2] += strength * (np.array(device) == "triton")
    return x_NF


def read(values_NF, device, site):
    scans = cohort()[0]
    known = Provenance({"site": tuple(site), "device": tuple(device)})
    return {r.column: r for r in provenance_reading.read(values_NF, known, scans, probe, draw)}


def test_a_device_in_the_features_is_told_and_warned_of():
    _, device, site = cohort()
    readings = read(features(device, 4.0), device, site)
    assert readings["device"].auroc.value > 0.95
    assert readings["device"].people == 80  # who count once for each of their two devices
    assert readings["device"].values == ("cirrus", "triton")
    assert readings["device"].sentence("pretrained").startswith("Warning: the device can be read off")
    chance = readings["site"]
    assert chance.auroc.low < 0.5 < chance.auroc.high
    assert "Warning" not in chance.sentence("pretrained")
    assert chance.sentence("pretrained").startswith(
        "The site as read off the pretrained features: macro AUROC 0."
    )


def test_the_score_is_that_of_scikit_learn_and_resamples_draw_people_with_all_their_scans():
    """Two scans of a person vary together: their pairs cancel, so the interval is narrower than of units."""
    _, device, site = cohort()
    values_NF = features(device, 1.0)
    reading = read(values_NF, device, site)["device"]
    head = linear.fit(
        linear.Examples(values_NF[:120], np.arange(120) % 2, tuple(map(str, range(120)))),
        linear.Examples(values_NF[120:200], np.arange(80) % 2, tuple(map(str, range(80)))),
        [0.01, 1.0],
    )
    p_N = linear.predict(head, values_NF[200:])[:, 1]
    assert reading.auroc.value == pytest.approx(roc_auc_score(np.arange(160) % 2, p_N))
    assert reading.auroc.low < reading.auroc.value < reading.auroc.high


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda device: ["triton"] * len(device),
            "train has 1 device with at least 2 people in train, want 2",
        ),
        (lambda device: [""] * len(device), "train has no devices with"),
        (lambda device: [*device[:120], *["triton"] * 80, *device[200:]], "val has 1 device with"),
        (lambda device: [*device[:200], *["else"] * 160], "test has no devices with"),
    ],
    ids=["one device", "unknown", "val", "test"],
)
def test_what_cannot_be_asked_says_why(change, problem):
    _, device, site = cohort()
    reading = read(features(device, 1.0), change(device), site)["device"]
    assert problem in reading.sentence("pretrained")
    assert not reading.is_high
    assert np.isnan(reading.auroc.value)

"""Which arms there are of given features, and the whole comparison on made-up features with a known truth."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from octshard.config.eval import ProbeConfig
from octshard.dataset.tables import SampleRow
from octshard.eval import arms as arms_module
from octshard.eval import probe_report
from octshard.eval.arms import FeatureArm, Question, with_controls
from octshard.eval.controls import provenance, thickness
from octshard.eval.linear_probe import compare
from octshard.eval.probe_result import ProbeResult, ScoredCheckpoint
from octshard.probes import labels
from octshard.probes.targets import Target
from octshard.rng import rng_for

SPLITS = {"train": 80, "val": 40, "test": 60}
CFG = ProbeConfig(regularisation=[1e-2, 1.0], bootstrap=200, shuffles=19, label="state")


@dataclasses.dataclass(frozen=True)
class Cohort:
    """One scan each. lesion_N: what makes the state, with noise."""

    rows: tuple[SampleRow, ...]
    scans: labels.LabelledScans
    lesion_N: np.ndarray
    is_triton_N: np.ndarray

    @property
    def train(self) -> np.ndarray:
        return self.scans.subsets["train"].places_N


def cohort(confounded: float) -> Cohort:
    """confounded: the share of sick people that triton scans; healthy ones the other way round."""
    rows, class_of, lesions = [], {}, []
    for split, people in SPLITS.items():
        for i in range(people):
            name, sick = f"{split}{i}", i % 2
            rng = rng_for("cohort", name, confounded)
            device = "triton" if (rng.random() < confounded) == bool(sick) else "cirrus"
            rows.append(SampleRow(name, name, device, "", "", "", "", "R", split, f"{name}.dcm"))
            class_of[name] = sick
            lesions.append(sick * 0.5 + 0.05 * rng.random())
    scans = labels.join(Target("state", ("healthy", "sick"), class_of), rows)
    is_triton = np.array([row.device == "triton" for row in rows])
    return Cohort(tuple(rows), scans, np.array(lesions), is_triton)


def noise(people: int, *name: object) -> np.ndarray:
    return rng_for("noise", *name).normal(size=(people, 6)).astype(np.float32)


def by_arm(values: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, ...]]:
    """random-init and random-init-2 are draws of one arm."""
    draws: dict[str, tuple[np.ndarray, ...]] = {}
    for name, values_NF in values.items():
        arm = "random-init" if name.startswith("random-init") else name
        draws[arm] = (*draws.get(arm, ()), values_NF)
    return draws


def compared(
    made: Cohort, values: Mapping[str, np.ndarray], sites: Mapping[str, str] | None = None
) -> ProbeResult:
    known = provenance.provenance(made.rows, sites or {})
    arms, notes = with_controls(by_arm(values), known, made.train)
    question = Question(made.scans, known, ScoredCheckpoint("a.pt", 1, 8, 0), notes)
    return compare(arms, question, CFG, lambda *_: None)


def auroc_of(result: ProbeResult) -> dict[str, float]:
    return {arm.name: arm.score.metrics["macro_auroc"].value for arm in result.arms}


@pytest.fixture(scope="module")
def truth() -> ProbeResult:
    """Pretrained features that hold the lesion load, in a cohort where the device is a coin."""
    made = cohort(0.5)
    people = len(made.rows)
    values = {
        "pretrained": np.concatenate([noise(people, 0), made.lesion_N[:, None]], axis=1),
        **{name: noise(people, name) for name in ("random-init", "random-init-2", "raw-intensity")},
    }
    return compared(made, values)


def test_the_true_lesion_load_is_read_and_beats_every_control(truth):
    aurocs = auroc_of(truth)
    assert aurocs["pretrained"] > 0.99
    assert {verdict.verdict for verdict in truth.comparisons.values()} == {"better"}
    assert truth.headline == (
        "Pretrained is better than every control: random-init, raw-intensity and site-and-device."
    )
    assert '<p class="banner good">' in probe_report.render(truth)


def test_shuffled_labels_are_at_chance_within_the_interval(truth):
    auroc = truth.shuffled.metrics["macro_auroc"]
    assert auroc.low < 0.5 < auroc.high
    assert truth.shuffled.p_value == pytest.approx(1 / 20)


def test_a_device_that_is_a_coin_tells_nothing(truth):
    assert truth.provenance[0].startswith("Site and device alone do not tell state (macro AUROC 0.")
    assert not any(sentence.startswith("Warning") for sentence in truth.provenance)


def test_a_planted_shortcut_is_named_on_the_page():
    """The label goes with the device, and the features hold the device and nothing else."""
    made = cohort(0.9)
    people = len(made.rows)
    seen = noise(people, 0) + 4 * made.is_triton_N[:, None]
    result = compared(made, {"pretrained": seen, "raw-intensity": noise(people, 1)})
    assert auroc_of(result)["pretrained"] > 0.8
    assert result.comparisons["site-and-device"].verdict == "cannot tell"
    device = next(reading for reading in result.readings if reading.column == "device")
    assert device.auroc.value > 0.95
    page = probe_report.render(result)
    assert "Warning: a shortcut. Site and device alone tell state (macro AUROC 0." in page
    assert "Warning: the device can be read off the pretrained features" in page
    assert '<p class="banner good">' not in page
    assert "Warning: a shortcut." in result.text()


def test_features_of_more_than_the_device_are_no_shortcut():
    made = cohort(0.75)
    seen = np.concatenate([noise(len(made.rows), 0), made.lesion_N[:, None]], axis=1)
    result = compared(made, {"pretrained": seen})
    assert result.comparisons["site-and-device"].verdict == "better"
    assert result.provenance[0].endswith("; the pretrained features tell more.")


def test_six_random_draws_are_one_arm_whose_interval_holds_their_spread():
    """Draws that see the lesion more or less, as random encoders do. Of a mean of six draws Student's t alone
    gives 2.57 / sqrt(6) = 1.05 SD on each side, before anybody is resampled.
    """
    made = cohort(0.5)
    people = len(made.rows)
    names = ["random-init", *(f"random-init-{i}" for i in range(2, 7))]
    values: dict[str, np.ndarray] = {"pretrained": noise(people, 0)}
    for i, name in enumerate(names):
        values[name] = noise(people, name)
        values[name][:, 0] += 0.5 * i * made.lesion_N
    result = compared(made, values)
    assert [arm.name for arm in result.arms] == ["pretrained", "random-init", "site-and-device"]
    arm = result.arms[1]
    auroc = arm.score.metrics["macro_auroc"]
    assert len(arm.score.of_runs) == 6
    assert max(arm.score.of_runs) - min(arm.score.of_runs) > 0.05
    spread = np.std(arm.score.of_runs, ddof=1)
    assert auroc.low < auroc.value - 0.9 * spread  # the scale is the logit's, so not to the digit
    assert auroc.high > auroc.value + 0.9 * spread
    assert auroc.value == pytest.approx(np.mean(arm.score.of_runs))


def test_a_number_and_ordered_classes_are_compared_alike():
    """The lesion load as a number, and cut into three grades; features that hold it tell both."""
    made = cohort(0.5)
    names = [row.key for row in made.rows]
    grade_N = np.digitize(made.lesion_N, [0.04, 0.52])
    seen = np.concatenate([noise(len(names), 0), made.lesion_N[:, None]], axis=1)
    values = {"pretrained": seen, "raw-intensity": noise(len(names), 1)}
    for target, metric in (
        (Target("load", (), dict(zip(names, made.lesion_N.tolist(), strict=True))), "R²"),
        (
            Target(
                "grade",
                ("none", "some", "much"),
                dict(zip(names, map(float, grade_N), strict=True)),
                ordered=True,
            ),
            "quadratic kappa",
        ),
    ):
        scans = labels.join(target, made.rows)
        result = compared(dataclasses.replace(made, scans=scans), values)
        first = next(iter(result.arms[0].score.metrics.values()))
        assert first.value > 0.7
        assert result.comparisons["raw-intensity"].verdict == "better"
        assert result.comparisons["raw-intensity"].metric == metric
        assert f"do not tell state ({metric} " in result.provenance[0]
        assert f"difference in {metric}" in probe_report.render(result)


def arms_of(values: Mapping[str, np.ndarray], rows: Sequence[SampleRow], sites: Mapping[str, str]):
    train = np.arange(2)
    arms, notes = with_controls(by_arm(values), provenance.provenance(rows, sites), train)
    return {arm.name: arm for arm in arms}, " ".join(notes)


def rows_of(*devices: str) -> list[SampleRow]:
    return [
        SampleRow(str(i), str(i), device, "", "", "", "", "R", "", "") for i, device in enumerate(devices)
    ]


def test_scans_without_a_band_are_filled_counted_and_said():
    rows = rows_of("a", "b", "a")
    measured = np.stack(
        [thickness.values_and_presence(np.array(v)) for v in ([1.0, 2.0], [3.0, np.nan], [np.nan] * 2)]
    )
    arms, notes = arms_of({"pretrained": np.zeros((3, 1)), "thickness": measured}, rows, {})
    np.testing.assert_array_equal(arms["thickness"].draws[0], [[1, 2], [3, 2], [2, 2]])
    assert "thickness: 1 of 3 scans have no retinal band; theirs is the mean of train." in notes
    arms, notes = arms_of({"pretrained": np.zeros((3, 1)), "thickness": measured * [[0], [0], [1]]}, rows, {})
    assert "thickness" not in arms
    assert "No thickness control: no scan of train has a retinal band" in notes


def test_one_site_and_device_cannot_be_a_control():
    arms, notes = arms_of({"pretrained": np.zeros((3, 1))}, rows_of("a", "a", "b"), {})
    assert list(arms) == ["pretrained"]
    assert "No site-and-device control: all scans of train are of one site" in notes
    arms, notes = arms_of({"pretrained": np.zeros((3, 1))}, rows_of("a", "a", "b"), {"0": "UW", "1": "UAB"})
    assert arms["site-and-device"].draws[0].shape == (3, 2)
    assert "site-and-device knows site." in notes


def test_the_first_arm_stays_the_first():
    values = {
        "pretrained": np.zeros((2, 1)),
        "random-init": np.ones((2, 1)),
        "random-init-2": np.full((2, 1), 2),
    }
    arms, _ = arms_of(values, rows_of("a", "b"), {})
    assert list(arms) == ["pretrained", "random-init", "site-and-device"]
    assert arms_module.PRETRAINED == "pretrained"
    assert isinstance(arms["random-init"], FeatureArm)
    assert [draw[0, 0] for draw in arms["random-init"].draws] == [1, 2]

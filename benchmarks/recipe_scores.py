"""How the features of a row are judged: a head for the class, one for the thickness, on test people once."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from recipe_data import ScoredSplit

from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.eval.controls.intensity import intensity_source
from octshard.models.vit import Encoder
from octshard.probes import embedding, linear, ridge, scores
from octshard.probes.examples import Examples
from octshard.probes.judge import LOGISTIC, RIDGE
from octshard.probes.resamples import draw_resamples
from octshard.probes.task import ProbeVolumes
from octshard.rng import rng_for
from octshard.stream import loader
from octshard.stream.batch import BatchTransform, RankSlice

VERSION = 1  # of features and scores: rows of another one are made anew
BATCH = 8


class Outcome(NamedTuple):
    """Of the test people, in one order for all rows: true class and thickness, and what features say."""

    class_P: list[int]
    thickness_P: list[float]
    chance_PC: list[list[float]]  # of each class
    predicted_P: list[float]  # thickness


def encoder_values(encoder: Encoder, split: ScoredSplit, cfg: TrainConfig) -> np.ndarray:
    """values_NF: mean and standard deviation of each feature over the tokens of each scan."""
    volumes = ProbeVolumes(split.index, split.class_N, split.participants)
    backend = select.open_backend(cfg.run)
    return embedding.embed(encoder.eval(), volumes, cfg, backend, lambda: None)


def intensity_values(split: ScoredSplit, cfg: TrainConfig) -> np.ndarray:
    """values_NF: what `eval.features` takes of raw intensities."""
    backend, source = select.open_backend(cfg.run), intensity_source("raw")
    transform = BatchTransform(backend.pin, backend.empty)
    batches = loader.eval_batches(split.index, cfg, RankSlice(BATCH, 0, 1), 0, transform)
    return np.concatenate([source.values_of(batch)[: batch.count] for batch in batches])


def judge(splits: Mapping[str, ScoredSplit], values: Mapping[str, np.ndarray]) -> Outcome:
    """Heads are fitted on train, their regularisation is chosen on val."""
    classes, numbers = (
        {
            name: Examples(values[name], getattr(split, f"{kind}_N"), split.participants)
            for name, split in splits.items()
        }
        for kind in ("class", "thickness")
    )
    head = linear.fit(classes["train"], classes["val"], LOGISTIC)
    line = ridge.fit(numbers["train"], numbers["val"], RIDGE)
    test = splits["test"]
    order = np.argsort(np.asarray(test.participants))
    chance_PC = linear.predict(head, values["test"])[order]
    predicted_P = ridge.predict(line, values["test"])[order]
    return Outcome(
        test.class_N[order].tolist(),
        test.thickness_N[order].round(4).tolist(),
        chance_PC.round(6).tolist(),
        predicted_P.round(4).tolist(),
    )


def resamples(outcome: Outcome, count: int) -> np.ndarray:
    """weight_RP: row 0 counts everybody once, the others are bootstrap resamples within classes."""
    y_P = np.array(outcome.class_P)
    drawn_RP = draw_resamples(y_P, count, rng_for("recipes", "bootstrap"))
    return np.concatenate([np.ones((1, len(y_P)), np.int64), drawn_RP])


def aurocs(outcome: Outcome, weight_RP: np.ndarray) -> np.ndarray:
    """Macro AUROC in each resample (R,)."""
    y_P, p_PC = np.array(outcome.class_P), np.array(outcome.chance_PC)
    present = [c for c in range(p_PC.shape[1]) if 0 < (y_P == c).sum() < len(y_P)]
    return np.mean([scores.auroc(y_P == c, p_PC[:, c], weight_RP) for c in present], axis=0)  # type: ignore[no-any-return]


def r2s(outcome: Outcome, weight_RP: np.ndarray) -> np.ndarray:
    """1 - squared error / squared distance from the mean, in each resample (R,)."""
    y_P, z_P = np.array(outcome.thickness_P), np.array(outcome.predicted_P)
    mean_R = weight_RP @ y_P / weight_RP.sum(1)
    error_R = weight_RP @ (z_P - y_P) ** 2
    spread_R = (weight_RP * (y_P - mean_R[:, None]) ** 2).sum(1)
    return 1 - error_R / np.maximum(spread_R, 1e-12)  # type: ignore[no-any-return]

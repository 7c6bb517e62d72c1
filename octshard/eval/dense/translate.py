"""`octshard eval translate`: checkpoint, shards and en face pictures of flow -> heads that make such.

OCT -> OCTA: the same heads as of `segment`, with one output, seen from above. Writes translate.json and
translate.html.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from octshard.config.dense import TranslateConfig
from octshard.dataset.tables import SampleRow
from octshard.eval.dense import comparison, en_face_scores, losses, report, stored_map, study
from octshard.eval.dense.report import DenseResult, Strip
from octshard.eval.dense.study import Study
from octshard.eval.dense.target_store import TargetStore
from octshard.progress import OnProgress, no_progress

MAIN = "ssim"


def translate(cfg: TranslateConfig, on_progress: OnProgress = no_progress) -> DenseResult:
    """Fits every head on train, and scores the pictures that it makes of test."""
    work = study.open_study(cfg, cfg.targets, "translate")

    def read(url: str, row: SampleRow) -> np.ndarray:
        return stored_map.en_face_of(url, row, cfg.targets)

    targets = study.read_targets(work, read, "float32", on_progress)
    fitted = study.fit_arms(work, targets, 1, losses.translation, cfg, on_progress)
    scans: dict[tuple[str, str], list[dict[str, float]]] = {}
    refs, strip = work.indexes["test"].samples, None
    for done, ref in enumerate(refs):
        on_progress(done, len(refs), "test")
        true_DW, pictures = targets.whole(ref.row.key), {}
        for (source, head), flow in fitted.outputs(work, ref, cfg.overlap).items():
            predicted_DW = losses.en_face(torch.from_numpy(flow[0])).clamp(0, 1).numpy()
            scans.setdefault((source, head), []).append(en_face_scores.score(true_DW, predicted_DW))
            pictures[f"{head} on {source}"] = predicted_DW
        strip = strip or Strip(ref.row.key, {"target": true_DW, **pictures}, _from_above(ref.row))
    on_progress(len(refs), len(refs), "test")
    flat = flat_scores(work, targets)
    scores_of_arms = comparison.compare(scans, work.test_people, MAIN, cfg, flat[MAIN])
    result = report.result("translate", work, fitted, scores_of_arms, cfg, {})
    result = dataclasses.replace(result, notes=(_flat_note(flat), *result.notes))
    report.write(result, cfg.out, strip)
    return result


def flat_scores(work: Study, targets: TargetStore) -> dict[str, float]:
    """ssim and psnr_db of a picture of one grey, black or the mean of train, whichever is better.

    Where most of a picture is dark, that is not little.
    """
    true = {
        split: [targets.whole(ref.row.key) for ref in work.indexes[split].samples]
        for split in ("train", "test")
    }
    grey = float(np.mean([true_DW.mean() for true_DW in true["train"]]))
    means = []
    for value in (0.0, grey):
        scores = [en_face_scores.score(true_DW, np.full_like(true_DW, value)) for true_DW in true["test"]]
        means.append({name: float(np.mean([score[name] for score in scores])) for name in (MAIN, "psnr_db")})
    return max(means, key=lambda scores: scores[MAIN])


def _flat_note(flat: Mapping[str, float]) -> str:
    return (
        f"A picture of one grey (black, or the mean of train) has {MAIN} {flat[MAIN]:.3f} and psnr_db "
        f"{flat['psnr_db']:.1f}: a head below that has learned nothing."
    )


def _from_above(row: SampleRow) -> tuple[float, float]:
    """Of the rows and columns of a picture from above."""
    dz, _, dx = row.lengths(row.spacing_out)
    return dz, dx

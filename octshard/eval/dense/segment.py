"""`octshard eval segment`: checkpoint, shards and masks -> heads on frozen tokens, scored over test people.

Writes segment.json and segment.html. Labels of the masks become classes by cfg.classes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from octshard.config.dense import MaskClass, SegmentConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.eval.dense import comparison, losses, report, segment_scores, stored_map, study
from octshard.eval.dense.report import DenseResult, Strip
from octshard.eval.dense.segment_scores import Anatomy
from octshard.eval.dense.study import Study
from octshard.eval.dense.target_store import PADDING, TargetStore
from octshard.progress import OnProgress, no_progress

NO_CLASS = -1
MAIN = "dice"


def segment(cfg: SegmentConfig, on_progress: OnProgress = no_progress) -> DenseResult:
    """Fits every head on train, and scores it on the whole volumes of test."""
    anatomy = anatomy_of(cfg.classes)
    class_of = _class_of(cfg)
    work = study.open_study(cfg, cfg.masks, "segment")

    def read(url: str, row: SampleRow) -> np.ndarray:
        return classes_of(stored_map.labels_of(url, row, cfg.masks), class_of, url)

    targets = study.read_targets(work, read, "uint8", on_progress)
    weight_C = class_weights(work, targets, anatomy, cfg.class_weights)
    loss = losses.segmentation(torch.from_numpy(weight_C).float())
    fitted = study.fit_arms(work, targets, len(anatomy.names), loss, cfg, on_progress)
    scans: dict[tuple[str, str], list[dict[str, float]]] = {}
    refs, strip = work.indexes["test"].samples, None
    for done, ref in enumerate(refs):
        on_progress(done, len(refs), "test")
        true_DHW = targets.whole(ref.row.key)
        labels = {
            arm: x.argmax(axis=0).astype(np.uint8)
            for arm, x in fitted.outputs(work, ref, cfg.overlap).items()
        }
        for arm, predicted_DHW in labels.items():
            scores = segment_scores.score(
                true_DHW, predicted_DHW, anatomy, ref.row.lengths(ref.row.spacing_out)
            )
            scans.setdefault(arm, []).append(scores)
        strip = strip or _strip(ref.row, true_DHW, labels)
    on_progress(len(refs), len(refs), "test")
    scores_of_arms = comparison.compare(scans, work.test_people, MAIN, cfg)
    weights = {name: float(weight) for name, weight in zip(anatomy.names, weight_C, strict=True)}
    result = report.result("segment", work, fitted, scores_of_arms, cfg, weights)
    report.write(result, cfg.out, strip)
    return result


def anatomy_of(classes: Sequence[MaskClass]) -> Anatomy:
    """UsageError for classes that cannot be."""
    names = [each.name for each in classes]
    if len(names) < 2:
        example = "classes=[{name: background, values: [0]}, {name: fluid, values: [10]}]"
        raise UsageError(f"classes: {len(names)} of them, want at least two, for example {example}")
    for i, each in enumerate(classes):
        if not each.name or names.count(each.name) > 1:
            raise UsageError(f"classes[{i}].name={each.name!r}: want a name of its own for each class")
        if not each.values:
            raise UsageError(f"classes[{i}]: {each.name} has no values, want those that it has in the masks")
    layers = tuple(i for i, each in enumerate(classes) if each.layer)
    if len(layers) == 1:
        raise UsageError(f"classes: {names[layers[0]]} is the only layer, want at least two, or none")
    return Anatomy(tuple(names), layers)


def classes_of(labels_DHW: np.ndarray, class_of: np.ndarray, url: str) -> np.ndarray:
    """uint8 (D, H, W) of class numbers, PADDING where labels are ignored; OctshardError for an unknown."""
    classes_DHW = class_of[labels_DHW]
    if (classes_DHW == NO_CLASS).any():
        counts = Counter(labels_DHW[classes_DHW == NO_CLASS].tolist())
        value, voxels = counts.most_common(1)[0]
        raise OctshardError(f"map {url}: {voxels} voxels are {value}, want values of classes or of ignore")
    if (classes_DHW == PADDING).all():
        raise OctshardError(f"map {url}: every voxel is ignored, want some of a class")
    return classes_DHW.astype(np.uint8)


def class_weights(work: Study, targets: TargetStore, anatomy: Anatomy, rule: str) -> np.ndarray:
    """(C,) of the cross-entropy, by the shares of classes in train; their mean is 1.

    OctshardError for a class that no voxel of train has.
    """
    counts_C = np.zeros(len(anatomy.names))
    for ref in work.indexes["train"].samples:
        counts_C += np.bincount(targets.whole(ref.row.key).ravel(), minlength=256)[: len(counts_C)]
    if missing := [name for name, count in zip(anatomy.names, counts_C, strict=True) if not count]:
        raise OctshardError(f"classes: no voxel of train is {missing[0]}, want some of every class")
    power = {"root": -0.5, "share": -1.0, "one": 0.0}[rule]
    weight_C: np.ndarray = (counts_C / counts_C.sum()) ** power
    return weight_C / weight_C.mean()


def _class_of(cfg: SegmentConfig) -> np.ndarray:
    """(256,): value of a mask -> number of its class, PADDING if it is ignored, else NO_CLASS."""
    class_of = np.full(256, NO_CLASS, np.int16)
    for number, values in [*enumerate(each.values for each in cfg.classes), (PADDING, cfg.ignore)]:
        for value in values:
            if class_of[value] != NO_CLASS:
                raise UsageError(f"classes: value {value} stands twice, want it in one class, or in ignore")
            class_of[value] = number
    return class_of


def _strip(row: SampleRow, true_DHW: np.ndarray, labels: dict[tuple[str, str], np.ndarray]) -> Strip:
    """The middle B-scan of the first test scan, as it is and as each head sees it."""
    middle = len(true_DHW) // 2
    pictures = {"mask": true_DHW[middle]}
    pictures |= {f"{head} on {source}": x[middle] for (source, head), x in labels.items()}
    _, *pixel_mm = row.lengths(row.spacing_out)
    return Strip(row.key, pictures, pixel_mm)

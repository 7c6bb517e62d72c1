"""The target read from site, device and protocol alone: the bar that a confounded cohort must beat.

No voxel is seen. What is told so has nothing to do with an eye.
"""

from collections.abc import Mapping

import numpy as np

from octshard.eval.controls.provenance import Provenance
from octshard.eval.controls.provenance_reading import WARNING
from octshard.eval.verdict import BETTER, CHANCE, Verdict, bracketed
from octshard.probes.scores import Estimate


def onehot(
    provenance: Provenance, train_places: np.ndarray
) -> tuple[np.ndarray, Mapping[str, tuple[str, ...]]]:
    """(N, F) float32: a column for each value that train has, 1 where a scan has it; and these values.

    Columns of one value are left out, so F may be 0; a value that train lacks has zeros.
    """
    columns, values = [], {}
    for name, text_N in provenance.values.items():
        known = sorted({text_N[place] for place in train_places.tolist()})
        if len(known) < 2:
            continue
        values[name] = tuple(known)
        text = np.array(text_N, dtype=object)
        columns += [text == value for value in known]
    onehot_NF = np.stack(columns, axis=1) if columns else np.zeros((_scans(provenance), 0))
    return onehot_NF.astype(np.float32), values


def tells(score: Estimate, metric: str) -> bool:
    """Site and device alone tell the label: the interval of their score is above chance."""
    return bool(score.low > CHANCE[metric])


def sentence(label: str, score: Estimate, verdict: Verdict, subject: str) -> str:
    """For people. score: of site and device alone; verdict: on the features of `subject` against them."""
    alone = f"{verdict.metric} {bracketed(score)}"
    if not tells(score, verdict.metric):
        return f"Site and device alone do not tell {label} ({alone})."
    if verdict.verdict == BETTER:
        return f"Site and device alone tell {label} ({alone}); the {subject} features tell more."
    return (
        f"{WARNING}: a shortcut. Site and device alone tell {label} ({alone}), and the {subject} features "
        "are not better than that: they may read the scanner and not the eye."
    )


def _scans(provenance: Provenance) -> int:
    return len(next(iter(provenance.values.values())))

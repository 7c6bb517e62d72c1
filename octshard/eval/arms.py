"""The arms of a comparison: sets of features that are probed alike, each of one or several draws."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from octshard.eval.controls import PROVENANCE, THICKNESS, provenance_alone, thickness
from octshard.eval.controls.provenance import Provenance
from octshard.eval.probe_result import ScoredCheckpoint
from octshard.probes.labels import LabelledScans

PRETRAINED = "pretrained"


class Draws(Protocol):
    """values_NF of all scans, or tokens x_NTF, for each draw; a tuple of arrays is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> np.ndarray: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class FeatureArm:
    """One set of features."""

    name: str
    draws: Draws


@dataclass(frozen=True, eq=False)
class Question:
    """What every arm is asked: the labels of scans. scored: the checkpoint of the first arm; notes: what is
    to be said of the arms.
    """

    scans: LabelledScans
    provenance: Provenance
    scored: ScoredCheckpoint
    notes: tuple[str, ...] = ()


def with_controls(
    draws_of: Mapping[str, Draws], provenance: Provenance, train_places: np.ndarray
) -> tuple[tuple[FeatureArm, ...], tuple[str, ...]]:
    """(arms, notes) of draws by the name of their arm, and the control that needs no features.

    A control that cannot be made is left out, and a note says so.
    """
    arms: list[FeatureArm] = []
    notes: list[str] = []
    for name, draws in draws_of.items():
        if name == THICKNESS:
            measured_N = thickness.measured(draws[0])
            notes += _thickness_notes(measured_N, train_places)
            if measured_N[train_places].any():
                arms.append(FeatureArm(name, (thickness.filled(draws[0], train_places),)))
        else:
            arms.append(FeatureArm(name, draws))
    onehot_NF, columns = provenance_alone.onehot(provenance, train_places)
    if columns:
        arms.append(FeatureArm(PROVENANCE, (onehot_NF,)))
        notes.append(f"{PROVENANCE} knows {', '.join(columns)}.")
    else:
        notes.append(f"No {PROVENANCE} control: all scans of train are of one site, device and protocol.")
    return tuple(arms), tuple(notes)


def _thickness_notes(measured_N: np.ndarray, train_places: np.ndarray) -> Sequence[str]:
    if not measured_N[train_places].any():
        return [
            f"No {THICKNESS} control: no scan of train has a retinal band; octshard prep shard finds it, but "
            "that of 0.1.0."
        ]
    if missing := int((~measured_N).sum()):
        return [
            f"{THICKNESS}: {missing} of {len(measured_N)} scans have no retinal band; theirs is the mean of "
            "train."
        ]
    return []

"""What pictures of an evaluation are made from (PictureRequest), and what they become (Pictures)."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from octshard.eval.encoders import Asked, Devices, NamedEncoder
from octshard.eval.scans import Scans
from octshard.probes.head import FittedHead
from octshard.probes.labels import LabelledScans
from octshard.probes.predictions import Predictions
from octshard.report.page import Section


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """predictions: of test by trained arm, one for each head and checkpoint; no controls.
    values: pooled values_NF of all scans by arm; the first is drawn. encoders: the trained ones.

    attentive: heads that were fitted on the tokens of an encoder, by its name; attended: what they say of
    test. asked: the view, the layers and the batch by which tokens are read.
    """

    scans: Scans
    labelled: LabelledScans
    predictions: Mapping[str, tuple[Predictions, ...]]
    values: Mapping[str, np.ndarray]
    encoders: tuple[NamedEncoder, ...]
    asked: Asked
    devices: Devices
    seed: int
    attentive: Mapping[str, FittedHead] = field(default_factory=dict)
    attended: Mapping[str, Predictions] = field(default_factory=dict)

    def places_of_test(self) -> dict[str, list[int]]:
        """The places of the scans of each unit of test (a person, eye or scan), by key."""
        subset, rows = self.labelled.subsets["test"], self.scans.rows
        places: dict[str, list[int]] = {}
        for place, unit in zip(subset.places_N.tolist(), subset.units or subset.participants, strict=True):
            places.setdefault(unit, []).append(place)
        return {unit: sorted(own, key=lambda place: rows[place].key) for unit, own in places.items()}


@dataclass(frozen=True, eq=False)
class Pictures:
    """Sections of a page, and the files that lie beside it: name -> content."""

    sections: tuple[Section, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __add__(self, other: "Pictures") -> "Pictures":
        return Pictures(self.sections + other.sections, {**self.files, **other.files})


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """A table beside the page."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode()

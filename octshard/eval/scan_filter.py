"""`filter` of the commands: which scans they read, how many it leaves out, and that it is named in errors."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from octshard.dataset import row_filter
from octshard.dataset.row_filter import KIND_OF
from octshard.dataset.splits import SPLITS
from octshard.errors import OctshardError, UsageError
from octshard.eval.feature_table import Scan

logger = logging.getLogger(__name__)

NAME = "filter"
SHOWN = 200  # characters of the expression in a sentence
COLUMNS = tuple(name for name in KIND_OF if name in Scan.__dataclass_fields__)  # of a feature table
ELSEWHERE = "no {} in a feature table; there are {}; filter of octshard eval embed takes all columns"


@dataclass(frozen=True)
class LeftOut:
    """What a filter leaves out. text: of the expression, or empty; counts: scans of each split; of: all."""

    text: str = ""
    counts: Mapping[str, int] | None = None
    of: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """In a sentence; nothing without a filter."""
        if not self.text:
            return ()
        counts = self.counts or {}
        parts = ", ".join(f"{split} {counts.get(split, 0)}" for split in SPLITS)
        return (f"{self._shown} leaves out {sum(counts.values())} of {self.of} scans: {parts}.",)

    @property
    def _shown(self) -> str:
        text = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}..."
        return f"{NAME}={text!r}"

    def check_left(self, place: str) -> None:
        """UsageError if nothing is left; place: where scans lie. Says in the log what is left out."""
        if self.text and sum((self.counts or {}).values()) >= self.of:
            raise UsageError(
                f"{self._shown}: true for none of the {self.of} scans of {place}; want an expression that is "
                "true for some, with the values as the table spells them"
            )
        for note in self.notes:
            logger.info("%s", note.removesuffix("."))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors within say that scans are left out: there may be too few for that reason."""
        try:
            yield
        except OctshardError as error:
            if not any((self.counts or {}).values()):
                raise
            kind = UsageError if isinstance(error, UsageError) else OctshardError
            raise kind(f"{error}; {self.notes[0].removesuffix('.')}") from error


def of_table(text: str, scans: Sequence[Scan], place: str) -> tuple[np.ndarray, LeftOut]:
    """The places of the scans of a feature table for which `text` is true; UsageError if there are none."""
    fits = row_filter.parse(text, NAME, COLUMNS, ELSEWHERE)
    places = [n for n, scan in enumerate(scans) if fits(scan)]
    kept = set(places)
    counts = Counter(scan.split for n, scan in enumerate(scans) if n not in kept)
    left_out = LeftOut(fits.text, counts, len(scans))
    left_out.check_left(place)
    return np.array(places, np.int64), left_out

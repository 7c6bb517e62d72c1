"""Which refused files and flagged volumes are shown: few, the gravest first, of as many kinds as can be.

Pure: the rows decide alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from octshard.dataset.tables import SampleRow
from octshard.prep.report import remedies

# nothing to decode, or a file that a decoder did not survive
NO_FRAME = frozenset(
    {
        "missing_file",
        "missing_library",
        "unreadable_member",
        "not_dicom",
        "no_pixel_data",
        "empty",
        "not_oct",
        "unsupported_syntax",
        "decoder_crash",
        "decoder_timeout",
    }
)


def refused(rows: Iterable[SampleRow], most: int) -> list[SampleRow]:
    """Refused files of which a frame may be decoded, one of each reason, then a second of each."""
    candidates = [row for row in rows if row.status != "ok" and row.reason not in NO_FRAME]
    count = Counter(row.reason for row in candidates)

    def gravity(row: SampleRow) -> tuple[object, ...]:
        kind = remedies.KINDS.index(remedies.kind_of(row.reason))
        return (kind, -count[row.reason], row.reason, row.source, row.key)

    first, others = _in_turn(sorted(candidates, key=gravity), lambda row: (row.reason,))
    second, _ = _in_turn(others, lambda row: (row.reason,))
    return [*first, *second][:most]


def flagged(rows: Iterable[SampleRow], most: int) -> list[SampleRow]:
    """Stored volumes with flags that ask for a look, those with most of them first, then the emptiest; one of
    each flag before a second of any.
    """
    candidates = [row for row in rows if row.status == "ok" and remedies.to_look_at(row)]

    def gravity(row: SampleRow) -> tuple[object, ...]:
        lost = (row.blank_frames or 0) + (row.no_retina_frames or 0)
        retina = 1.0 if row.retina_found is None else row.retina_found
        return (-len(remedies.to_look_at(row)), -lost / max(1, row.frames or 1), retina, row.key)

    first, others = _in_turn(sorted(candidates, key=gravity), remedies.to_look_at)
    return [*first, *others][:most]


def _in_turn(
    rows: Sequence[SampleRow], names: Callable[[SampleRow], Sequence[str]]
) -> tuple[list[SampleRow], list[SampleRow]]:
    """(the rows that bring a name that none before has, the others), each in order."""
    seen: set[str] = set()
    first: list[SampleRow] = []
    others: list[SampleRow] = []
    for row in rows:
        (others if seen.issuperset(names(row)) else first).append(row)
        seen.update(names(row))
    return first, others

"""Headers of the files of one scan -> the header of the whole: parts of a concatenation, or single frames.

A concatenation (PS3.3 C.7.6.16.2.2.4) says which part each file is; single frames of a series are in the
order of InstanceNumber. Files that contradict each other, or are not all there, are Refused.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, islice

import numpy as np

from octshard.prep.dicom.frame_groups import FrameGroups
from octshard.prep.dicom.header import Header
from octshard.prep.dicom.pixel_measures import SAME
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, PixelMeasures, Placement

ALIKE: dict[str, Callable[[Header], object]] = {
    "ConcatenationUID": lambda header: header.concatenation.uid,
    "InConcatenationTotalNumber": lambda header: header.concatenation.parts,
    "SeriesInstanceUID": lambda header: header.series.uid,
    "FrameOfReferenceUID": lambda header: header.series.frame_of_reference,
    "SOPClassUID": lambda header: header.declared.sop_class,
    "Rows": lambda header: header.rows,
    "Columns": lambda header: header.cols,
    "BitsAllocated": lambda header: header.pixel_transform.bits_allocated,
    "BitsStored": lambda header: header.bits,
    "PixelRepresentation": lambda header: int(header.pixel_transform.signed),
    "PhotometricInterpretation": lambda header: header.declared.photometric,
    "the eye": lambda header: header.eye,
    "ManufacturerModelName": lambda header: header.model,
}
LISTED = 8  # parts that a message names


def order_of(headers: Sequence[Header]) -> list[int]:
    """The place of each part in the scan: the index of the first one, then of the next.

    Refused `parts_differ`, or `part_of_scan` if one is missing or twice there.
    """
    uids = Counter(header.sop_instance_uid for header in headers)
    if twice := [uid for uid, count in uids.items() if uid and count > 1]:
        detail = f"SOPInstanceUID {twice[0]} is there twice, want each part once"
        raise Refused("part_of_scan", detail, (twice[0],))
    for name, value_of in ALIKE.items():
        _check_alike(name, [value_of(header) for header in headers])
    _check_spacing(headers)
    is_concatenation = any(header.concatenation.is_part for header in headers)
    return _by_concatenation(headers) if is_concatenation else _by_instance(headers)


def join(headers: Sequence[Header]) -> Header:
    """Of the whole, from its parts in order. Where its pixels lie is only known of the parts."""
    first = headers[0]
    frames = [frame for header in headers for frame in header.groups.filled(header.frames)]
    groups = FrameGroups(tuple(frames), first.groups.common)
    placement = groups.placement
    if all(header.frames == 1 for header in headers):
        placement = _numbered(placement, [header.series.instance for header in headers])
    return replace(
        first,
        frames=sum(header.frames for header in headers),
        measures=(groups.measures, *first.measures[1:]),
        locations=placement.locations,
        placement=placement,
        groups=groups,
        concatenation=Concatenation(),
    )


def _check_alike(name: str, values: Sequence[object]) -> None:
    for i, value in enumerate(values):
        if value != values[0]:
            told = ["none" if v in (None, "") else repr(v) for v in (value, values[0])]
            detail = f"{name} of file {i + 1} is {told[0]}, that of the first {told[1]}"
            raise Refused("parts_differ", detail, tuple(told) if isinstance(value, str) else ())


def _check_spacing(headers: Sequence[Header]) -> None:
    """What is said of all frames of a part; frames are compared with each other as those of one file."""
    for i, header in enumerate(headers):
        for measures, first in zip(header.measures[1:], headers[0].measures[1:], strict=True):
            if not _same(_lengths(measures), _lengths(first)):
                text = f"PixelMeasures ({measures.source}) of file {i + 1}"
                raise Refused(
                    "parts_differ", f"{text} are {_text(measures)} mm, of the first {_text(first)} mm"
                )


def _lengths(measures: PixelMeasures) -> list[float | None]:
    plane = measures.pixel_mm or (None, None)
    return [*plane, measures.thickness_mm, measures.spacing_between_slices_mm]


def _same(lengths: Sequence[float | None], others: Sequence[float | None]) -> bool:
    pairs = zip(lengths, others, strict=True)
    return all(a == b or (a is not None and b is not None and abs(a - b) <= SAME * b) for a, b in pairs)


def _text(measures: PixelMeasures) -> str:
    return " x ".join("?" if mm is None else f"{mm:.5g}" for mm in _lengths(measures))


def _by_concatenation(headers: Sequence[Header]) -> list[int]:
    """By InConcatenationNumber, else by ConcatenationFrameOffsetNumber; both, where they are told, agree."""
    parts = [header.concatenation.part for header in headers]
    numbers = [part for part in parts if part is not None]
    offsets = [header.concatenation.first_frame for header in headers]
    if len(numbers) == len(headers):
        _check_all_there(numbers, headers[0].concatenation.parts)
        order = sorted(range(len(headers)), key=lambda i: parts[i] or 0)
    elif None not in offsets:
        order = sorted(range(len(headers)), key=lambda i: offsets[i] or 0)
    else:
        raise Refused("part_of_scan", "not all parts of the concatenation say which they are")
    starts = accumulate((headers[i].frames for i in order), initial=0)
    for i, start in zip(order, starts, strict=False):
        if offsets[i] not in (None, start):
            told = f"file {i + 1} begins at frame {offsets[i]} by ConcatenationFrameOffsetNumber"
            raise Refused("part_of_scan", f"{told}, and the parts before it hold {start}")
    return order


def _check_all_there(numbers: Sequence[int], total: int | None) -> None:
    twice = [number for number, count in Counter(numbers).items() if count > 1]
    if twice:
        raise Refused("part_of_scan", f"part {twice[0]} of the concatenation is there twice, want it once")
    if min(numbers) < 1:
        raise Refused("part_of_scan", f"part {min(numbers)} of a concatenation, want 1 and up")
    expected = max(total or 0, *numbers)  # a number of a damaged file may be as great as it likes
    if count := expected - len(numbers):
        there = set(numbers)
        missing = list(islice((n for n in range(1, expected + 1) if n not in there), LISTED))
        more = f" and {count - LISTED} more" if count > LISTED else ""
        named = ", ".join(map(str, missing))
        raise Refused("part_of_scan", f"of {expected} parts {named}{more} are not there")


def _by_instance(headers: Sequence[Header]) -> list[int]:
    """Single frames by InstanceNumber, where all have one."""
    if not headers[0].series.uid or any(header.frames != 1 for header in headers):
        frames = " + ".join(str(header.frames) for header in headers[:LISTED])
        text = f"{len(headers)} files of {frames} frames are no concatenation"
        raise Refused("parts_differ", f"{text}, want its parts, or single frames of one series")
    numbers = [header.series.instance for header in headers]
    if None in numbers:
        return list(range(len(headers)))
    if twice := [number for number, count in Counter(numbers).items() if count > 1]:
        raise Refused("part_of_scan", f"InstanceNumber {twice[0]} is there twice, want each frame once")
    return sorted(range(len(headers)), key=lambda i: numbers[i] or 0)


def _numbered(placement: Placement, instances: Sequence[int | None]) -> Placement:
    """With InstanceNumber for the number in the stack, if that is the same in each file."""
    number_F = placement.numbers_F
    if len(np.unique(number_F[np.isfinite(number_F)])) > 1 or None in instances:
        return placement
    return replace(placement, numbers_F=np.array(instances, np.float64), numbered_by="InstanceNumber")

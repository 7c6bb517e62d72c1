"""Two boxes of the report page: what was refused, and what is stored but odd, each with what that means."""

import statistics
from collections.abc import Mapping, Sequence

from octshard.dataset.tables import SampleRow
from octshard.prep.refusals import FLAG_MEANS, REASON_MEANS
from octshard.prep.report.statistics import ReasonCount, causes
from octshard.report import page
from octshard.report.numbers import Rounded, pluralize
from octshard.report.page import Cell, Content, Html, table


def refusals(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    """The reasons by how often they were met, and of each its meaning and first few files."""
    found = causes((row for row in rows if row.status != "ok"), lambda row: (row.reason,))
    if not found:
        return ("Nothing was refused.",)
    cells: list[list[Cell]] = [
        [page.breakable(one.name), one.refused, _percent(one.refused, len(rows)), _devices(one)]
        for one in found
    ]
    heads = ["reason", "files", "% of all", "devices"]
    lists = [_details(one, REASON_MEANS) for one in found]
    return (table(heads, cells, "", sortable=True), "What they mean, and the first few files:", *lists)


def flags(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    """The flags by how often they were raised; then blank frames, assumed spacings, reduced decoding."""
    found = causes(rows, lambda row: row.flags)
    stored = [row for row in rows if row.status == "ok"]
    cells: list[list[Cell]] = [
        [page.breakable(one.name), one.stored, _percent(one.stored, len(stored)), one.refused, _devices(one)]
        for one in found
    ]
    heads = ["flag", "volumes", "% of volumes", "refused files", "devices"]
    parts: list[Content] = ["A flag refuses nothing: the volume is stored, and its row says what is odd."]
    if found:
        lists = [_details(one, FLAG_MEANS) for one in found]
        parts += [table(heads, cells, "", sortable=True), "What they mean, and the first few files:", *lists]
    else:
        parts.append("No flag was raised.")
    return (*parts, _frames(stored), *_assumed(stored), *_reduced(stored))


def _frames(stored: Sequence[SampleRow]) -> Content:
    """Blank frames, and frames without a retina, of the volumes in which they were counted."""
    counts = {
        "blank": [row.blank_frames for row in stored if row.blank_frames is not None],
        "without a retina": [row.no_retina_frames for row in stored if row.no_retina_frames is not None],
    }
    lines: list[list[Cell]] = [
        [name, sum(n > 0 for n in found), len(found), sum(found), max(found)]
        for name, found in counts.items()
        if found
    ]
    if not lines:
        return "Blank frames and frames without a retina were not counted in these shards."
    heads = ["frames", "volumes with any", "volumes looked at", "such frames", "most in one volume"]
    return table(heads, lines, "Input frames that are blank or show no retina.")


def _assumed(stored: Sequence[SampleRow]) -> list[Content]:
    count = sum(bool(row.assumed_spacing) for row in stored)
    if not count:
        return []
    text = "without a usable spacing, stretched to the image size; millimetres mean nothing there."
    return [f"{pluralize(count, 'volume')} {text}"]


def _reduced(stored: Sequence[SampleRow]) -> list[Content]:
    """What decode=fast did."""
    levels = [row for row in stored if row.decoded_level]
    if not levels:
        return []
    text = f"{pluralize(len(levels), 'volume')} decoded from JPEG 2000 at reduced resolution."
    if known := [row.fast_psnr_db for row in levels if row.fast_psnr_db is not None]:
        middle, least = statistics.median(known), min(known)
        text += f" PSNR against the exact result, on {len(known)} of them: median {middle:.1f} dB, "
        text += f"least {least:.1f} dB."
    return [text]


def _details(cause: ReasonCount, meanings: Mapping[str, str]) -> Html:
    total = pluralize(cause.stored + cause.refused, "file")
    means = meanings.get(cause.name, "Not known to this version of octshard.")
    return page.details(cause.name, f"({total}) {means}", cause.examples)


def _devices(cause: ReasonCount) -> Html:
    return page.breakable(", ".join(cause.devices))


def _percent(part: int, whole: int) -> Rounded:
    return Rounded(100 * part / max(1, whole), 1)

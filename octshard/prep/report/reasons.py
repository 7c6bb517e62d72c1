"""Two sections of the report page: what was refused, and what is stored but odd, with the meaning of each."""

import statistics
from collections.abc import Mapping, Sequence

from octshard.dataset.tables import SampleRow
from octshard.prep.refusals import FLAG_MEANS, REASON_MEANS
from octshard.prep.report import remedies
from octshard.prep.report.statistics import ReasonCount, reason_counts
from octshard.report import page
from octshard.report.numbers import Rounded, pluralize
from octshard.report.page import Cell, Content, Html, table

LISTED = 500  # refused files on the page


def refusals(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    """The reasons, the most frequent first, each with its meaning; then the files, the gravest first."""
    refused = [row for row in rows if row.status != "ok"]
    reasons = reason_counts(refused, lambda row: (row.reason,))
    if not reasons:
        return ("Nothing was refused.",)
    cells: list[list[Cell]] = [
        [
            page.breakable(reason.name),
            reason.refused,
            _percent(reason.refused, len(rows)),
            remedies.kind_of(reason.name),
            _devices(reason),
        ]
        for reason in reasons
    ]
    header = ["reason", "files", "% of all", "which is", "devices"]
    details = [_details(reason, REASON_MEANS) for reason in reasons]
    means = "What they mean, and the first few files:"
    return (table(header, cells, "", sortable=True, stacked=True), means, *details, _files(refused))


def _files(refused: Sequence[SampleRow]) -> Html:
    """The refused files one by one, up to LISTED."""
    gravest = sorted(
        refused,
        key=lambda row: (remedies.KINDS.index(remedies.kind_of(row.reason)), row.reason, row.source, row.key),
    )
    lines: list[list[Cell]] = [
        [
            page.breakable(row.source or row.key),
            page.breakable(row.reason),
            page.breakable(row.device),
            row.detail,
        ]
        for row in gravest[:LISTED]
    ]
    more = len(refused) - len(lines)
    note = f"The gravest {LISTED}; {pluralize(more, 'more row')} in samples.parquet." if more else ""
    return table(["refused file", "reason", "device", "detail"], lines, note, sortable=True, stacked=True)


def flags(rows: Sequence[SampleRow]) -> tuple[Content, ...]:
    """The flags, the most frequent first; then blank frames, assumed spacings, reduced decoding."""
    flag_counts = reason_counts(rows, lambda row: row.flags)
    stored = [row for row in rows if row.status == "ok"]
    cells: list[list[Cell]] = [
        [
            page.breakable(flag.name),
            flag.stored,
            _percent(flag.stored, len(stored)),
            flag.refused,
            "nothing" if flag.name in remedies.HARMLESS else "a look",
            _devices(flag),
        ]
        for flag in flag_counts
    ]
    header = ["flag", "volumes", "% of volumes", "refused files", "asks for", "devices"]
    parts: list[Content] = ["A flag refuses nothing: the volume is stored, and its row says what is odd."]
    if flag_counts:
        details = [_details(flag, FLAG_MEANS) for flag in flag_counts]
        parts += [
            table(header, cells, "", sortable=True, stacked=True),
            "What they mean, and the first few files:",
            *details,
        ]
    else:
        parts.append("No flag was raised.")
    return (*parts, _frames(stored), *_assumed(stored), *_reduced(stored))


def _frames(stored: Sequence[SampleRow]) -> Content:
    """Blank frames and frames without a retina, in the volumes that have these counts."""
    counts = {
        "blank": [row.blank_frames for row in stored if row.blank_frames is not None],
        "without a retina": [row.no_retina_frames for row in stored if row.no_retina_frames is not None],
    }
    lines: list[list[Cell]] = [
        [name, sum(n > 0 for n in numbers), len(numbers), sum(numbers), max(numbers)]
        for name, numbers in counts.items()
        if numbers
    ]
    if not lines:
        return "Blank frames and frames without a retina were not counted in these shards."
    header = ["frames", "volumes with any", "volumes looked at", "such frames", "most in one volume"]
    return table(header, lines, "Input frames that are blank or show no retina.", stacked=True)


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
    if psnr_db := [row.fast_psnr_db for row in levels if row.fast_psnr_db is not None]:
        median, lowest = statistics.median(psnr_db), min(psnr_db)
        text += f" PSNR against the exact result, on {len(psnr_db)} of them: median {median:.1f} dB, "
        text += f"least {lowest:.1f} dB."
    return [text]


def _details(reason: ReasonCount, meanings: Mapping[str, str]) -> Html:
    total = pluralize(reason.stored + reason.refused, "file")
    means = meanings.get(reason.name, "Not known to this version of octshard.")
    return page.details(reason.name, f"({total}) {means}", reason.examples)


def _devices(reason: ReasonCount) -> Html:
    return page.breakable(", ".join(reason.devices))


def _percent(part: int, whole: int) -> Rounded:
    return Rounded(100 * part / max(1, whole), 1)

"""When a scan was acquired, to the day: a date, or days since the person's first visit.

Both are kept as text, in the column `acquired` of samples.parquet. Scans of one eye in the order of `ordinal`
are a sequence.
"""

import datetime
import re

from octshard.errors import UsageError

MOST_DAYS = 99_999  # a number of more digits is no number of days
_DAYS = re.compile(r"(-?\d{1,5})(\.0*)?", re.ASCII)
# ISO 8601, or DICOM's DA and DT, and whatever stands behind the day: a time, a zone
_DATE = re.compile(r"(\d{4})([-_./]?)(\d{2})\2(\d{2})(?:[T ].*|\d{4,6}(?:\D.*)?)?", re.ASCII)


def date(text: str) -> str:
    """A date as YYYY-MM-DD, without any time that follows it; empty if the text is no date.

    The year comes first: 07/08/2023 is one day in Europe and another in America.
    """
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return ""
    year, month, day = map(int, match.group(1, 3, 4))
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return ""


def days(text: str) -> str:
    """A whole number of days in plain digits; empty if the text is none, or none that can be meant."""
    match = _DAYS.fullmatch(text.strip())
    return str(int(match[1])) if match else ""


def ordinal(acquired: str) -> int | None:
    """A number that rises with time, for dates or for days; None where nothing is told."""
    if not acquired:
        return None
    return datetime.date.fromisoformat(acquired).toordinal() if acquired.count("-") == 2 else int(acquired)


def of_cells(date_cell: str, day_cell: str, location: str) -> str:
    """`acquired` by the columns `date` and `day` of a table; UsageError for what is neither."""
    if date_cell and not date(date_cell):
        want = "YYYY-MM-DD, or a column `day` with days since the first visit"
        raise UsageError(f"{location}: date {date_cell!r:.99}, want {want}")
    if not date_cell and day_cell and not days(day_cell):
        want = f"a whole number of days of at most {MOST_DAYS}, or a column `date`"
        raise UsageError(f"{location}: day {day_cell!r:.99}, want {want}")
    return date(date_cell) or days(day_cell)

"""The detail of a refusal for everybody, where paths are private: without what may name a person."""

import re

from octshard.prep.refusals import Refused
from octshard.prep.release import scan_path
from octshard.prep.release.aireadi import Entry

LEFT_OUT = "..."
LEAST = 3  # letters of a part of a path that is looked for


def without(refusal: Refused, entry: Entry) -> str:
    """The detail without texts that come from the file, and without the path and its parts."""
    detail = refusal.public
    detail = detail.replace(entry.path, entry.source_id) if entry.path else detail
    *folders, name = scan_path.file_of(entry.path).split("/")
    parts = {*folders, name, name.partition(".")[0], *re.split(r"[\W_]+", entry.path)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= LEAST and not part.isdigit():
            detail = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", LEFT_OUT, detail)
    return detail

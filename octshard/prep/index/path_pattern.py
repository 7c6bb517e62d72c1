"""A pattern of paths, such as {person}/{date}/{eye}_{protocol}.dcm: what names of folders and files tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from octshard.errors import UsageError

FIELDS = ("person", "date", "eye", "protocol", "device", "region")
EXAMPLE = "{person}/{date}/{eye}_{protocol}.dcm"
_PIECE = re.compile(r"\{([^{}]*)\}|(\*\*/)|(\*)|([^{}*]+)|([{}])")


@dataclass(frozen=True)
class PathPattern:
    """text: as it was given. A field, and `*`, stand for any letters but `/`; `**/` for folders or none.

    Letters match in both cases: one export writes .E2E, another .e2e.
    """

    text: str
    regex: re.Pattern[str]

    def match(self, path: str) -> Mapping[str, str] | None:
        """Field -> its part of a path, without blanks around it; None if the path is not of this form."""
        match = self.regex.fullmatch(path.rstrip("/"))
        return None if match is None else {name: part.strip() for name, part in match.groupdict().items()}


def parse(text: str) -> PathPattern:
    """UsageError for another field than FIELDS, a lone brace, or two fields with nothing between them."""
    named: set[str] = set()
    regex, after_field = "", False
    for field, folders, star, literal, brace in _PIECE.findall(text.strip("/")):
        if brace or (not literal and not folders and not star and field not in FIELDS):
            problem = f"a lone {brace}" if brace else f"the field {{{field}}}"
            fields = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"pattern {text!r}: {problem}, want {fields}, * or **/, as in {EXAMPLE}")
        if (field or star) and after_field:
            raise UsageError(f"pattern {text!r}: two fields with nothing between them, want as in {EXAMPLE}")
        after_field = bool(field or star)
        if field:
            regex += f"(?P={field})" if field in named else f"(?P<{field}>[^/]+?)"
            named.add(field)
        else:
            regex += "(?:[^/]+/)*" if folders else "[^/]*" if star else re.escape(literal)
    return PathPattern(text, re.compile(regex, re.DOTALL | re.IGNORECASE))

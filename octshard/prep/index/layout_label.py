"""Labels of Harvard's data sets in one spelling: their tables have words where their files have numbers.

What the numbers mean is as the data sets' own pages say (see `layout`), and so is which conditions make a
person one with AMD or with vision-threatening DR.
"""

from collections.abc import Mapping

WORDS_OF = {  # column -> what its numbers mean; -1 is unknown
    "race": ("asian", "black", "white"),
    "gender": ("female", "male"),
    "ethnicity": ("non-hispanic", "hispanic"),
    "maritalstatus": ("married", "single", "divorced", "widowed", "legally separated"),
    "language": ("english", "spanish", "other"),
}
RENAMED = {"male": "gender", "hispanic": "ethnicity"}
UNKNOWN = "-1"
CLASSES = {  # of what is predicted: numbers, as in the files
    "glaucoma": {"no": "0", "yes": "1"},
    "amd": {"normal": "0", "early amd": "1", "intermediate amd": "2", "late amd": "3"},
    "dr": {"non-vision threatening dr": "0", "vision threatening dr": "1"},
}
CONDITIONS = {
    "amd": {
        "not.in.icd.table": "0",
        "no.amd.diagnosis": "0",
        "early.dry": "1",
        "intermediate.dry": "2",
        "advanced.atrophic.dry.with.subfoveal.involvement": "3",
        "advanced.atrophic.dry.without.subfoveal.involvement": "3",
        "wet.amd.active.choroidal.neovascularization": "3",
        "wet.amd.inactive.choroidal.neovascularization": "3",
        "wet.amd.inactive.scar": "3",
    },
    "dr": {
        "not.in.icd.table": "0",
        "no.dr.diagnosis": "0",
        "mild.npdr": "0",
        "moderate.npdr": "0",
        "severe.npdr": "1",
        "pdr": "1",
    },
}
CONDITION = {"amd_condition": "amd", "dr_subtype": "dr"}  # where a file tells it; dr_subtype of AMD's too


def cells(values: Mapping[str, str], disease: str) -> dict[str, str]:
    """Column -> text. values: of a row of a table or of a file; disease: of the folder, or empty."""
    result: dict[str, str] = {}
    for key, value in values.items():
        column, text = RENAMED.get(key, key), " ".join(value.split())
        if column in WORDS_OF:
            text = _word(_whole(text), WORDS_OF[column])
        elif column in CLASSES:
            text = CLASSES[column].get(text.lower(), _whole(text))
        result[column] = text or result.get(column, "")
    for key, named in CONDITION.items():
        kind = disease if disease in CONDITIONS else named
        if result.get(key, "") in CONDITIONS[kind]:
            result.setdefault(kind, CONDITIONS[kind][result[key]])
    return result


def _whole(text: str) -> str:
    """A whole number that a program printed with a point, without it."""
    whole, _, fraction = text.partition(".")
    return whole if whole and fraction and not fraction.strip("0") else text


def _word(text: str, words: tuple[str, ...]) -> str:
    if text == UNKNOWN:
        return ""
    return words[int(text)] if text.isascii() and text.isdigit() and int(text) < len(words) else text.lower()

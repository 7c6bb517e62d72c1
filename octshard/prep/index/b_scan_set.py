"""Public data sets of B-scans as they are delivered: whose scan a path is, its eye, split and labels.

OCTA-500 (https://ieee-dataport.org/open-access/octa-500): `OCTA_6mm/OCT/10001/1.bmp` to `400.bmp`, a person
each; sizes and splits as in its paper (arXiv 2012.07261). OLIVES (https://zenodo.org/records/7105232):
`Prime_FULL/01-001/W0/OD/` and `TREX DME/GILA/0201GOD/V1/OD/`, 49 TIFFs and a fundus picture in each. OCTDL
(https://data.mendeley.com/datasets/sncdhf53xc): single JPEGs in a folder for each disease. Duke, AMD 2013
(https://people.duke.edu/~sf59/RPEDC_Ophth_2013_dataset.htm): a .mat for each person; and classification 2014
(https://people.duke.edu/~sf59/Srinivasan_BOE_2014_dataset.htm): `AMD1/TIFFs/8bitTIFFs/001.tif`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from octshard.errors import UsageError
from octshard.prep.index import label_table
from octshard.prep.index.label_table import Labels
from octshard.prep.index.layout_names import DUKE_2013, DUKE_2014, OCTA_500, OCTDL, OLIVES
from octshard.prep.index.path_pattern import PathPattern

Fields = Mapping[str, str]
_FLAGS = re.DOTALL | re.ASCII | re.IGNORECASE
OCTA_SPLITS = {  # the last number of each split, of 6 mm and of 3 mm
    10180: "train", 10200: "val", 10300: "test", 10440: "train", 10450: "val", 10500: "test",
}  # fmt: skip
OCTA_3MM = 10301  # from this number on
DEPTH_MM = 2 / 640
NO_LABELS = ("", "patient_id", "eye_id", "scan (n/49)")  # columns that say which scan a row is of


@dataclass(frozen=True)
class Kind:
    """path: of a scan; its group `person` is what `fields` makes a person of.

    tables: names of its tables, without their ending, in lower case; join: columns that may name scans, as
    the group `scan` does. singles: an image alone is listed, as one B-scan.
    """

    path: re.Pattern[str]
    fields: Callable[[re.Match[str], Fields], Fields]  # of the path, and of the row of a table
    tables: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(
        default_factory=dict
    )  # column of a table -> of ours; empty: all of them
    folders: bool = False
    singles: bool = False
    spacing: bool = False  # `fields` tells one
    needs_table: bool = False


@dataclass(frozen=True)
class BScanSet(PathPattern):
    """As a pattern of paths. rows: of its tables, by what names a scan there."""

    kind: Kind
    rows: Labels

    def match(self, path: str) -> Fields | None:
        """Person, eye, protocol, split, pixel_spacing, slice_thickness, as far as they are known."""
        match = self.regex.fullmatch(path.rstrip("/"))
        if match is None:
            return None
        return self.kind.fields(match, self._row(match))

    def split(self, path: str) -> str:
        """train | val | test; empty where the data set has none."""
        return (self.match(path) or {}).get("split", "")

    def labels(self, path: str) -> Fields:
        """Column -> text."""
        match = self.regex.fullmatch(path.rstrip("/"))
        if match is None:
            return {}
        row, named = self._row(match), self.kind.labels
        cells = {ours: row.get(theirs, "") for theirs, ours in named.items()} if row and named else dict(row)
        cells = {name: cell for name, cell in cells.items() if name not in NO_LABELS}
        group = match.groupdict().get("group")
        return {"group": group.lower(), **cells} if group else cells

    def _row(self, match: re.Match[str]) -> Fields:
        return self.rows.get(label_table.name_of(match["scan"]), {})


def _octa(match: re.Match[str], row: Fields) -> Fields:
    number = int(match["person"])
    mm, count = (3, 304) if number >= OCTA_3MM else (6, 400)
    return {
        "person": match["person"],
        "eye": row.get("os/od", ""),
        "protocol": f"{mm}mm",
        "split": next((split for last, split in OCTA_SPLITS.items() if number <= last), ""),
        "pixel_spacing": f"[{DEPTH_MM:.6f}, {mm / count:.6f}]",
        "slice_thickness": f"{mm / count:.6f}",
    }


def _olives(match: re.Match[str], row: Fields) -> Fields:
    """A study eye of TREX is called as its person, with letters for arm and eye behind the number."""
    trial, *_, person = match["person"].lower().replace("trex dme", "trex_dme").split("/")
    return {"person": f"{trial.partition('_')[0]}-{person}", "eye": match["eye"], "protocol": match["visit"]}


def _octdl(match: re.Match[str], row: Fields) -> Fields:
    return {"person": row.get("patient_id", ""), "eye": row.get("eye", "")}


def _duke(match: re.Match[str], row: Fields) -> Fields:
    return {"person": match["person"].replace("_Subject_", "-")}


KINDS = {
    OCTA_500: Kind(
        re.compile(r"(?:.*/)?(?:OCT|[^/]*_OCT_[^/]*)/(?P<scan>(?P<person>10[0-5]\d\d))", _FLAGS),
        _octa,
        ("text labels",),
        ("id",),
        {"sex": "sex", "age": "age", "disease": "disease"},
        folders=True,
        spacing=True,
    ),
    OLIVES: Kind(
        re.compile(
            r"(?:.*/)?(?P<scan>(?P<person>Prime_FULL/\d\d-\d\d\d|TREX[ _]DME/[^/]+/\d{4})[^/]*"
            r"/(?P<visit>[WV]\d+)/(?P<eye>OD|OS))",
            _FLAGS,
        ),
        _olives,
        ("biomarker_clinical_data_images", "clinical_data_images"),
        ("path (trial/arm/folder/visit/eye/image name)", "file_path"),
        folders=True,
    ),
    OCTDL: Kind(
        re.compile(r"(?:.*/)?[A-Z]+/(?P<scan>(?P<person>[^/]+))\.(?:jpe?g|png)", _FLAGS),
        _octdl,
        ("octdl_labels",),
        ("file_name",),
        {name: name for name in ("disease", "subcategory", "condition", "sex", "year")},
        singles=True,
        needs_table=True,
    ),
    DUKE_2013: Kind(
        re.compile(
            r"(?:.*/)?Farsiu_Ophthalmology_2013_(?P<scan>(?P<person>(?P<group>AMD|Control)_Subject_\d+))\.mat",
            _FLAGS,
        ),
        _duke,
    ),
    DUKE_2014: Kind(
        re.compile(r"(?:.*/)?(?P<scan>(?P<person>(?P<group>AMD|DME|NORMAL)\d+))/TIFFs/8bitTIFFs", _FLAGS),
        _duke,
        folders=True,
    ),
}


def of(name: str, folder: str) -> BScanSet:
    """The data set of this name, one of KINDS, that lies below `folder`, with its tables read."""
    kind = KINDS[name]
    rows, digest = label_table.read(folder, kind.tables, kind.join, folders=kind.folders)
    if kind.needs_table and not rows:
        raise UsageError(
            f"{folder}: no {kind.tables[0]}.csv, which says whose image is whose; want it as it is delivered"
        )
    return BScanSet(f"{name} {digest}", kind.path, kind, rows)

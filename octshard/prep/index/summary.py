"""What an index found, in counts and a few names: what a user looks at before anything is built."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from octshard.dataset.participants import canonical
from octshard.prep.index import person
from octshard.prep.index.row import ManifestRow
from octshard.prep.release import scan_path
from octshard.printable import printable

NAMED = 10  # people, and files of each problem, that are listed by name
KINDS = 30  # of devices, problems, ... that are listed at most
ODD_SHARE = 0.5  # of scans in folders that look like a date: then folders are no people
PRIVATE = (
    "people have pseudonyms; the manifest and the hidden folder beside it have the paths, which may name "
    "somebody: keep them where the salt is, and hand out shards alone, which have source_id in place of paths"
)


@dataclass
class Problem:
    """Files with one problem: how many, the first of them, and whether one is a DICOM file."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    dicom: bool = False

    def add(self, path: str, *, dicom: bool) -> None:
        self.count += 1
        self.dicom |= dicom
        if len(self.first) < NAMED:
            self.first.append(path)


@dataclass
class Summary:
    """Counts over all files. The people are the only thing in it that grows with them."""

    folder: str
    manifest: str
    files: int = 0
    reused: int = 0
    pseudonyms: bool = False
    folder_images: int = 0  # files in folders that are listed as one scan
    image_folders: int = 0  # that are not listed, but might be
    axes: str = ""  # as they were given
    arrays: int = 0  # rows that have them
    by_folder: bool = False  # the folder above a scan is its person
    formats: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)
    eyes: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    people: dict[str, int] = field(default_factory=dict)  # scans of each, the first seen first
    odd: Counter[str] = field(default_factory=Counter)  # what folders above scans look like, but for people
    first_odd: dict[str, str] = field(default_factory=dict)  # a path of each
    dated: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)

    @property
    def scans(self) -> int:
        """Rows of the manifest."""
        return sum(self.formats.values())

    def add_row(self, row: ManifestRow, path: str) -> None:
        self.formats[row.format] += 1
        self.devices[row.device] += 1
        self.eyes[row.laterality] += 1
        who = canonical(row.person_id)  # as prep shard tells people apart
        self.people[who] = self.people.get(who, 0) + 1
        self.dated += bool(row.date)
        self.arrays += bool(row.axes)
        if self.by_folder:
            look = person.looks_like((scan_path.folders_above(path)[-1:] or [""])[0])
            self.odd[look] += 1
            self.first_odd.setdefault(look, path)

    def add_problem(self, problem: str, path: str, *, dicom: bool = False) -> None:
        self.problems.setdefault(problem, Problem()).add(path, dicom=dicom)

    def record(self) -> dict[str, Any]:
        """For a JSON file, as `read` takes it."""
        return {**vars(self), "problems": {name: vars(problem) for name, problem in self.problems.items()}}

    @property
    def folders_text(self) -> str:
        """What is said of folders of images; empty if there are none."""
        if self.folder_images:
            return f"folders of B-scans: {self.formats['images']:,}, of {self.folder_images:,} images"
        many = (
            f"{self.image_folders:,} of numbered images, not listed; --b-scan-folders lists each as one scan"
        )
        return f"folders: {many}" if self.image_folders else ""

    def odd_folders(self) -> str:
        """What the folders above most scans look like, if that is no person; else empty."""
        look, count = max(self.odd.items(), key=lambda item: item[1], default=("", 0))
        return look if count > ODD_SHARE * self.scans else ""


def read(record: dict[str, Any]) -> Summary:
    """Of `Summary.record`."""
    counters = {name: Counter(record[name]) for name in ("formats", "devices", "eyes", "others", "odd")}
    problems = {name: Problem(**problem) for name, problem in record["problems"].items()}
    return Summary(**{**record, **counters, "problems": problems})


def text(summary: Summary) -> str:
    """Some lines for a terminal; names in them break none."""
    people = ", ".join(list(summary.people)[:NAMED])
    more = f" and {len(summary.people) - NAMED:,} more" if len(summary.people) > NAMED else ""
    lines = [
        f"{summary.folder}: {summary.files:,} files, {summary.scans:,} scans of "
        f"{len(summary.people):,} people in {summary.manifest}",
        f"  looked at now: {summary.files - summary.reused:,}, known from an earlier run: {summary.reused:,}",
        f"  formats: {_counts(summary.formats)}",
        f"  devices: {_counts(summary.devices)}",
        f"  eyes: {_counts(summary.eyes)}",
        f"  with a date: {summary.dated:,}",
        f"  people: {people}{more}",
    ]
    odd = Counter({f"scans in a folder that looks like {look}": n for look, n in summary.odd.items() if look})
    if odd:
        lines.append(f"  is that a person? {_counts(odd)}")
    if summary.pseudonyms:
        lines.append(f"  {PRIVATE}")
    if summary.axes:
        lines.append(f"  axes {summary.axes}: of {summary.arrays:,} scans, in formats of arrays")
    if summary.folders_text:
        lines.append(f"  {summary.folders_text}")
    if summary.others:
        lines.append(f"  no scans: {_counts(summary.others)}")
    problems = Counter({problem: files.count for problem, files in summary.problems.items()})
    for problem in sorted(dict(problems.most_common(KINDS))):
        files = summary.problems[problem]
        dots = ", ..." if files.count > len(files.first) else ""
        lines.append(f"  not listed, {files.count:,}: {problem}: {', '.join(files.first)}{dots}")
    if len(problems) > KINDS:
        rest = sum(count for _, count in problems.most_common()[KINDS:])
        lines.append(f"  not listed, {rest:,}: for {len(problems) - KINDS:,} other reasons")
    return "\n".join(map(printable, lines))


def _counts(counts: Counter[str]) -> str:
    """The most frequent, by their names."""
    named = sorted(counts.most_common(KINDS))
    more = f" and {len(counts) - KINDS:,} more" if len(counts) > KINDS else ""
    return ", ".join(f"{name or 'not told'} {n:,}" for name, n in named) + more or "none"

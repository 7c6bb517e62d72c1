"""Findings as rows of a manifest, and the count of what is in it."""

from collections.abc import Iterator, Mapping

from octshard.dataset import visit_date
from octshard.dataset.eyes import EYES
from octshard.prep.index import image_folders, pseudonym, row, scan_parts
from octshard.prep.index.companions import Others
from octshard.prep.index.image_folders import SeriesFolders
from octshard.prep.index.journal import Journal
from octshard.prep.index.look import IMAGE, SCAN, UNREAD, Finding
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.person import OTHER_FORM
from octshard.prep.index.row import ManifestRow
from octshard.prep.index.scan_parts import IndexedScan
from octshard.prep.index.summary import Summary
from octshard.prep.release import device_name, file_name

ARRAYS = ("npy", "npz", "mat", "nifti", "metaimage", "nrrd")  # formats that say of no axis what it is
NO_PROTOCOL = "scan"  # the name of a file may be a number, or that of a person
UNNAMEABLE = "its name cannot stand in a table; rename the file"


def lines(findings: Journal, options: IndexOptions, result: Summary) -> Iterator[str]:
    """The manifest, line by line; `result` is counted up on the way."""
    first = _first_visits(findings, options)
    salt = options.people.salt
    names = row.columns(
        spacing=options.tells_spacing,
        default=options.spacing is not None,
        axes=bool(options.axes),
        pseudonyms=bool(salt),
    )
    yield row.header(names)
    for path, finding, scan in scan_parts.joined(_counted(findings, options, result)):
        if scan.date and scan.person_id in first:
            days = (visit_date.ordinal(scan.date) or 0) - first[scan.person_id]
            scan = scan._replace(date=str(days))
        for one in _scans(scan, finding):
            result.add_row(one, path)
            private = one._replace(source_id=pseudonym.of_path(one.filepath, salt)) if salt else one
            yield row.of(private, names)


def _counted(findings: Journal, options: IndexOptions, result: Summary) -> Iterator[IndexedScan]:
    """The scans that can be listed; what is none, or cannot, is counted."""
    folders = image_folders.find(findings.records()) if options.folders else SeriesFolders()
    unlisted, others = SeriesFolders(), Others(result.others)
    for file, looked in findings.records():
        result.files += 1
        if looked.kind == IMAGE:
            unlisted.add(file.path)
        if (listed := image_folders.as_listed(file, looked, folders, options.singles)) is None:
            continue
        place, finding = listed
        others.add(file.path, finding)
        if finding.kind == UNREAD:
            result.add_problem(finding.what, place.path)
        elif finding.kind == SCAN:
            scan, problem = _row(place.path, finding, options)
            if problem:
                result.add_problem(problem, place.path, dicom=finding.what == "dicom")
                continue
            if finding.what == image_folders.FORMAT:
                result.folder_images += place.size
            yield IndexedScan(place.path, finding, scan)
    others.finish()
    result.image_folders = len(unlisted.finish()) - len(folders.closed)


def _scans(scan: ManifestRow, finding: Finding) -> Iterator[ManifestRow]:
    """The row of a file, or one for each scan in it.

    A DICOM file whose volumes are of two eyes tells each: what else is known of an eye is of the file.
    """
    if not finding.series or scan.parts:
        yield scan
        return
    for series in finding.series.split():
        number, _, eye = series.partition(":")
        eyes = (eye, scan.laterality) if finding.what == "dicom" else (scan.laterality, eye)
        yield scan._replace(filepath=f"{scan.filepath}#{number}", laterality=next(filter(None, eyes), ""))


def _first_visits(findings: Journal, options: IndexOptions) -> Mapping[str, int]:
    """Person -> the day of their first dated scan; empty where dates are written as they are."""
    first: dict[str, int] = {}
    if not (options.people.salt and options.has_dates):
        return first
    folders = image_folders.find(findings.records()) if options.folders else SeriesFolders()
    for file, looked in findings.records():
        place, finding = image_folders.as_listed(file, looked, folders, options.singles) or (file, looked)
        if finding.kind == SCAN:
            scan, problem = _row(place.path, finding, options)
            day = None if problem else visit_date.ordinal(scan.date)
            if day is not None:
                first[scan.person_id] = min(day, first.get(scan.person_id, day))
    return first


def _row(path: str, finding: Finding, options: IndexOptions) -> tuple[ManifestRow, str]:
    """The row of a scan, with its date as it is known, and why it cannot be listed, or empty."""
    people = options.people
    fields = people.pattern.match(path) if people.pattern else {}
    person, problem = people.of(path, fields or {}, finding.person)
    if fields is None:
        fields, problem = {}, OTHER_FORM
    cell = row.path_cell(path)
    if not cell or not row.survives(person):
        problem = problem or UNNAMEABLE
    scan = ManifestRow(
        person_id=person,
        filepath=cell,
        device=_device(path, fields, finding.device) or options.device or device_name.UNKNOWN,
        laterality=EYES.get(fields.get("eye", "").lower(), "") or finding.eye,
        region=_text(fields, "region") or finding.region,
        protocol=_text(fields, "protocol") or _protocol(path, person, options),
        date=visit_date.date(fields.get("date", "")) or finding.date,
        format=finding.what,
        pixel_spacing="" if options.spacing else fields.get("pixel_spacing", ""),
        slice_thickness="" if options.spacing else fields.get("slice_thickness", ""),
        default_spacing=options.default_spacing,
        axes=options.axes if finding.what in ARRAYS else "",
        sop_instance_uid=finding.uid,
    )
    return scan, problem


def _protocol(path: str, person: str, options: IndexOptions) -> str:
    """Empty where the name of the file may tell it: something else than a person or an eye."""
    text = file_name.protocol_of(path, person)
    is_none = person in text or text.lower() in EYES
    return NO_PROTOCOL if options.people.salt or is_none else ""


def _device(path: str, fields: Mapping[str, str], in_file: str) -> str:
    """By the pattern, else the file, else a folder that is called as one of our devices; else empty."""
    named = device_name.of_text(fields.get("device", ""))
    return named or in_file or device_name.of_scan(path, "")


def _text(fields: Mapping[str, str], name: str) -> str:
    """A field of the pattern, if a table can hold it."""
    value = fields.get(name, "")
    return value if row.survives(value) else ""

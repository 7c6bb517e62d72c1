"""A public data set by its name, whatever it is made of."""

from octshard.prep.index import b_scan_set, layout, layout_names
from octshard.prep.index.b_scan_set import BScanSet
from octshard.prep.index.layout import Layout


def of(name: str, folder: str) -> Layout | BScanSet:
    """The data set that lies below `folder`."""
    return layout.of(name, folder) if name in layout_names.OF_FILES else b_scan_set.of(name, folder)


def images_of(rule: Layout | BScanSet | None) -> tuple[bool, bool]:
    """Whether folders of images, and images alone, are scans of it."""
    return (rule.kind.folders, rule.kind.singles) if isinstance(rule, BScanSet) else (False, False)

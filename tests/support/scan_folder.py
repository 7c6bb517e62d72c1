"""Folders of small scans for tests: DICOM heads by `writer.write`, at any path."""

import dataclasses
from functools import cache
from pathlib import Path

from octshard.prep.dicom import writer
from tests.support.made_release import scan


@cache
def dicom(patient: str = "1001", model: str = "Triton", number: int = 1) -> bytes:
    """A whole OCT scan of the left retina, made on 2023-07-18 by its own words."""
    return writer.write(dataclasses.replace(scan(number), participant=patient, model=model))


def write(root: Path, data_of: dict[str, bytes]) -> Path:
    """Files at paths below `root`."""
    for path, data in data_of.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root

"""Features with a known answer: a share of the class, a share of the device, and noise."""

import numpy as np

from octshard.probes.grouped_scans import Scans
from octshard.rng import rng_for

SPLITS = ("train", "val", "test")


def made_scans(
    biology: float,
    device: float,
    people: int = 120,
    *,
    classes: int = 2,
    groups: int = 2,
    goes_with: float | None = None,
    seed: int = 0,
) -> Scans:
    """values (N, 8): `biology` along the axis of the class, `device` along that of the device, noise of 1.

    goes_with: None, and everybody is scanned on every device; else one device a person, at 0 whichever, at 1
    that of their class.
    """
    rng = rng_for("made scans", seed)
    rows, participants, y_N, group_N, splits = [], [], [], [], []
    for person in range(people):
        y = person % classes
        own = y % groups if rng.random() < (goes_with or 0) else int(rng.integers(groups))
        for group in range(groups) if goes_with is None else [own]:
            row = rng.normal(size=8)
            row[y] += biology
            row[4 + group] += device
            rows.append(row)
            participants.append(f"p{person:04}")
            y_N.append(y)
            group_N.append(group)
            splits.append(SPLITS[person // classes % 3])
    names = tuple("abcdef"[:classes]), tuple("ABCDEF"[:groups])
    return Scans(
        np.array(rows, np.float32), np.array(y_N), np.array(group_N),
        tuple(participants), tuple(participants), tuple(splits), *names,
    )  # fmt: skip

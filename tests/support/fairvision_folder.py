"""Harvard-FairVision in small, made up from its published description: an NPZ of arrays for each person."""

import io

import numpy as np

from octshard.rng import rng_for

SPLITS = ("Training",) * 6 + ("Validation",) * 2 + ("Test",) * 2  # of people 1 to 10
SHAPE = (20, 40, 40)
HEADING = "filename,age,gender,race,ethnicity,language,maritalstatus,md,glaucoma,use\n"


def scan(number: int, shape: tuple[int, int, int] = SHAPE, **labels: object) -> bytes:
    """data_0000N.npz: B-scans with a bright band as of a retina, a fundus picture, and single values."""
    noise = rng_for("fairvision", str(number)).integers(0, 60, shape, dtype=np.uint8)
    noise[:, shape[1] // 3 : 2 * shape[1] // 3] += 120
    file = io.BytesIO()
    np.savez_compressed(
        file,
        oct_bscans=noise,
        slo_fundus=noise[:, 0],
        tds=np.zeros(52),
        **{name: np.array(value) for name, value in labels.items()},  # type: ignore[arg-type]
    )
    return file.getvalue()


def people() -> dict[str, bytes]:
    """Ten people with glaucoma or without, at their paths below Glaucoma."""
    return {
        f"{split}/data_{number:05}.npz": scan(number, glaucoma=number % 2, race=number % 3, male=1, age=50.5)
        for number, split in enumerate(SPLITS, start=1)
    }


def table() -> str:
    """data_summary_glaucoma.csv of the same people."""
    rows = [
        f"data_{number:05}.npz,50.5,male,{('asian', 'black', 'white')[number % 3]},non-hispanic,english,"
        f"single,-1,{('no', 'yes')[number % 2]},{split.lower()}\n"
        for number, split in enumerate(SPLITS, start=1)
    ]
    return HEADING + "".join(rows)

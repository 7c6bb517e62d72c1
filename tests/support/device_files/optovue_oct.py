"""An Optovue .OCT file and the text beside it, as readers of the field take them apart.

The sizes, keys and sections are those that these readers ask for; the numbers of a B-scan are
those that they turn by 90 degrees against the clock.
"""

from collections.abc import Mapping, Sequence

import numpy as np

NAME = "DOE, JANE _27_3D Retina_OS_2014-09-12_10.21.36_1"
OCT, TEXT = f"{NAME}.OCT", f"{NAME}.txt"


def numbers(voxels_DHW: np.ndarray) -> bytes:
    """The bytes of B-scans: A-scan by A-scan, each from its deepest voxel."""
    return b"".join(np.rot90(frame_HW, -1).astype("<f4").tobytes() for frame_HW in voxels_DHW)


def text(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    others: Sequence[tuple[int, int]] = (),
    **values: str | None,
) -> bytes:
    """others: A-scans and B-scans of further steps; values: of keys with _ for a blank; None: left out."""
    frames, rows, cols = shape
    dz, dy, dx = spacing_mm
    top = {
        "Patient Name": "DOE, JANE", "Patient DOB": "1950-01-01", "Eye Scanned": "OS",
        "OCT Window Height": f"{rows}", "Scan Depth": f"{rows * dy:.6f} mm",
        "Frames Per Data Group": str(frames + sum(n for _, n in others)), "Total Data Groups": "1",
        "Video Height": "-480", "Physical video Height": " 4.5 mm",
    }  # fmt: skip
    step = {
        "XY Scan Length": f"{cols}", "XY Scan Usage": f"{frames}", "XY Scan Size1": f" {cols * dx:.6f} mm",
        "XY Scan Interval1": f" {dz:.6f} mm",
    }  # fmt: skip
    changed = {key.replace("_", " "): value for key, value in values.items()}
    step_keys = ("XY Scan Length", "XY Scan Usage")
    lines = [*_lines(top, changed), "[CL - 3D Retina Step 1]"]
    lines += [*_lines({key: step[key] for key in step_keys}, changed), "[CL - 3D Retina Step 1 Detail]"]
    lines += _lines({key: step[key] for key in step if key not in step_keys}, changed)
    for number, (cols, usage) in enumerate(others, start=2):
        lines += [f"[CL - 3D Retina Step {number}]", f"XY Scan Length={cols}", f"XY Scan Usage={usage}"]
        lines += [
            f"[CL - 3D Retina Step {number} Detail]",
            "XY Scan Size1= 4.00 mm",
            "XY Scan Interval1= 0.09 mm",
        ]
    return "\r\n".join(lines).encode("latin-1")


def _lines(values: Mapping[str, str], changed: Mapping[str, str | None]) -> list[str]:
    merged = {key: changed.get(key, value) for key, value in values.items()}
    return [f"{key}={value}" for key, value in merged.items() if value is not None]

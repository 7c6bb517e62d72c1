"""The retinal band on the report: its lines over a B-scan, their key, and how much of each device has one."""

from collections.abc import Iterable, Sequence

import numpy as np

from octshard.dataset.tables import SampleRow
from octshard.imaging.retina_band import BLOCK
from octshard.imaging.volume import Shape
from octshard.report.numbers import Rounded
from octshard.report.page import Cell, Content, Html, breakable, escaped, table

LINES = {"inner limiting membrane": (255, 214, 0), "lower edge of the RPE": (0, 190, 255)}
NOTE = (
    "Lines: where the retina was found, in each B-scan and block of 8 columns, drawn just outside of it. "
    "Masks of kind retina are drawn by them; nothing else reads them."
)
TABLE_NOTE = (
    "Found: share of all places (B-scan and block of 8 columns) of a volume, mean over the volumes that were "
    "looked at; those stored by octshard 0.1 were not. It is the column retina_found of samples.parquet."
)


def key() -> Html:
    """Which colour is which line."""
    names = "".join(
        f'<span><b style="color:rgb{colour};background:#333">&#9644;</b> {escaped(name)}</span>'
        for name, colour in LINES.items()
    )
    return Html(f'<div class="legend">{names}</div>')


def with_lines(bscan_HW: np.ndarray, rows_Q2: np.ndarray, stored: Shape) -> np.ndarray:
    """(H, W, 3): the picture of a B-scan, of a volume of the shape `stored`, with both lines of its band."""
    (high, wide), (_, height, width) = bscan_HW.shape, stored
    image_HW3 = np.repeat(bscan_HW[..., None], 3, axis=2)
    across, down = -(-width // wide), -(-height // high)  # as pictures are averaged down
    column_W = np.arange(wide)
    rows_W2 = rows_Q2[np.minimum(column_W * across + across // 2, width - 1) // BLOCK].astype(np.int64)
    for i, colour in enumerate(LINES.values()):
        row_W = rows_W2[:, i] // down - (i == 0)  # the row above the first one, and that behind the last one
        is_there_W = rows_W2[:, i] >= 0
        image_HW3[np.clip(row_W, 0, high - 1)[is_there_W], column_W[is_there_W]] = colour
    return image_HW3


def counts(rows: Sequence[SampleRow], devices: Iterable[str]) -> Content:
    """The table by device; a sentence where no volume was looked at."""
    lines: list[list[Cell]] = []
    for device in devices:
        stored = [row for row in rows if row.device == device and row.status == "ok"]
        shares = np.array([row.retina_found for row in stored if row.retina_found is not None])
        if len(shares):
            mean = Rounded(100 * float(shares.mean()), 1)
            less, none = int((shares < 0.5).sum()), int((shares == 0).sum())
            lines.append([breakable(device), len(stored), len(shares), mean, less, none])
    if not lines:
        return "Where the retina lies was not looked for: the volumes were stored by octshard 0.1."
    header = ["device", "volumes", "looked at", "retina found, %", "less than half", "nowhere"]
    return table(header, lines, TABLE_NOTE, stacked=True)

"""What a run learned: its losses and their references, skill, and probes, over one demo run.

`python docs/figures/learning.py` draws learning.png from learning.jsonl beside this file; with a run folder,
`python docs/figures/learning.py RUN`, it first takes the numbers from there. The same numbers give the same
bytes in the same environment.
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from octshard.pictures import drawing
from octshard.pictures.figure import METADATA
from octshard.train import metrics_log

FOLDER = Path(__file__).parent
WIDTH_IN, HEIGHT_IN, DPI = 7.2, 3.0, 200
# Okabe and Ito's palette
BLUE, SKY, ORANGE, GREEN, GREY = "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#5b6577"
LOSSES = {  # name in the log: label, colour, line
    "loss": ("train", SKY, "-"),
    "val_loss": ("val", BLUE, "-"),
    "val_loss_other_context": ("val, context of\nanother volume", ORANGE, "-"),
    "val_loss_position_only": ("position-only\npredictor", GREY, "--"),
}
SKILL = {"skill": ("skill", BLUE, "-")}
PROBES = {
    "probe_linear": ("linear", GREEN, "-"),
    "probe_knn": ("k-NN", ORANGE, "-"),
    "probe_random_linear": ("linear, untrained", GREEN, ":"),
    "probe_random_knn": ("k-NN, untrained", ORANGE, ":"),
}
NAMES = ("step", "samples_seen", "probe", *LOSSES, *SKILL, *PROBES)
Styles = Mapping[str, tuple[str, str, str]]
Lines = Sequence[Mapping[str, Any]]


def read_lines() -> Lines:
    """The numbers of learning.jsonl."""
    return [json.loads(line) for line in (FOLDER / "learning.jsonl").read_text().splitlines()]


def write_lines(lines: Lines) -> None:
    """Keeps of a run's metrics what is drawn, to four digits."""
    rows = [{name: _short(line[name]) for name in NAMES if line.get(name) is not None} for line in lines]
    (FOLDER / "learning.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def draw(lines: Lines) -> bytes:
    """The PNG."""
    with drawing.style():
        figure = Figure((WIDTH_IN, HEIGHT_IN), facecolor="white", layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _panel(left, "Loss", LOSSES, lines)
        _panel(middle, "Skill on validation volumes", SKILL, lines)
        middle.axhline(0, color=GREY, lw=0.8, ls="--")
        probe = next((str(line["probe"]) for line in lines if "probe" in line), "none")
        _panel(right, "Probe: " + ", ".join(probe.split(", ")[:2]), PROBES, lines)  # without its digest
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI, metadata=METADATA["png"])
    return out.getvalue()


def _panel(axes: Axes, title: str, styles: Styles, lines: Lines) -> None:
    axes.set_title(title, fontsize=drawing.LARGE, loc="left", color=drawing.INK)
    for name, (label, colour, line_style) in styles.items():
        points = sorted((line["samples_seen"], line[name]) for line in lines if name in line)
        if points:
            marker = "" if name == "loss" or ":" in line_style else "o"
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, line_style, color=colour, label=label, lw=1.2, marker=marker, ms=2.5)
    axes.set_xlabel("samples seen", fontsize=drawing.NORMAL, color=drawing.SOFT)
    axes.tick_params(labelsize=drawing.SMALL, colors=drawing.SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e9ecf1", lw=0.6)
    axes.set_axisbelow(True)
    if len(styles) > 1 and axes.lines:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
        axes.legend(fontsize=drawing.SMALL, frameon=False, **below)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(runs: Sequence[str]) -> None:
    """Writes learning.png, and with a run learning.jsonl."""
    for run in runs[:1]:
        write_lines(metrics_log.read(run))
    (FOLDER / "learning.png").write_bytes(draw(read_lines()))


if __name__ == "__main__":
    main(sys.argv[1:])

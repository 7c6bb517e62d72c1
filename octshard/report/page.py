"""Self-contained HTML: the frame, tables, pictures and plots that every report shares.

Text is escaped, `Html` is trusted; pictures are data URIs and plots inline SVG, so that one file holds the
page and nothing is fetched: the page itself forbids it. How it looks is in `style`.
"""

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.report.numbers import NOTHING, Rounded, decimal, integer
from octshard.report.style import SCRIPT, STYLE

ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Html:
    """Markup that is safe as it stands; a plain str is text and is escaped wherever it enters."""

    markup: str


Part = Html | str
Cell = Html | Rounded | str | int | float | None


@dataclass(frozen=True)
class Section:
    """A headed box of the page: str parts become paragraphs."""

    title: str
    parts: tuple[Part, ...]


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A whole HTML document; the script comes along only where there is a table to sort."""
    boxes = "\n".join(
        f"<section><h2>{escaped(box.title)}</h2>\n{_flow(box.parts)}\n</section>" for box in sections
    )
    script = f"<script>{SCRIPT}</script>" if '<table class="sortable">' in boxes else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{ALLOWED}">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        f'<h1>{escaped(title)}</h1>\n<p class="lead">{escaped(lead)}</p>\n'
        f"{boxes}\n</main>{script}</body></html>\n"
    )


def table(
    headers: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str, *, sortable: bool = False
) -> Html:
    """A table; a column of nothing but numbers (or None) is aligned right. `caption` may be empty.

    sortable: the headings become buttons that sort by their column.
    """
    wanted = len(headers)
    for row in rows:
        if len(row) != wanted:
            raise ValueError(f"table: a row of {len(row)} cells, want {wanted} as in {list(headers)}")
    aligned = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(wanted)]
    mark = [' class="number"' if right else "" for right in aligned]
    kept = _sort_value if sortable else (lambda cell: "")
    head = "".join(f'<th scope="col"{mark[i]}>{escaped(name)}</th>' for i, name in enumerate(headers))
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{mark[i]}{kept(cell)}>{_cell(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    rows_of = f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>"
    start = '<table class="sortable">' if sortable else "<table>"
    return figure(f'<div class="wide">{start}{rows_of}</table></div>', caption)


def grid(
    row_names: Sequence[str], column_names: Sequence[str], values: Sequence[Sequence[int]], caption: str
) -> Html:
    """Counts as a table whose cells are shaded by their share of the row: a confusion matrix."""
    head = "".join(f'<th scope="col" class="number">{escaped(name)}</th>' for name in column_names)
    body = ""
    for name, counts in zip(row_names, values, strict=True):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td class="number" style="background:rgba(31,95,168,{0.9 * n / total:.2f})'
            f'{";color:#fff" if n / total > 0.7 else ""}">{_cell(n)}</td>'
            for n in counts
        )
        body += f'<tr><th scope="row">{escaped(name)}</th>{cells}</tr>\n'
    rows_of = f"<thead><tr><td></td>{head}</tr></thead><tbody>\n{body}</tbody>"
    return figure(f'<div class="wide"><table class="grid">{rows_of}</table></div>', caption)


def numeral(text: str) -> Html:
    """A number already formatted, such as "0.71 [0.60, 0.80]": it is aligned as a number."""
    return Html(f'<span class="number">{escaped(text)}</span>')


def breakable(name: str) -> Html:
    """A name that may be broken after its underscores, so that it fits a narrow screen; it copies whole."""
    return Html(escaped(name).replace("_", "_<wbr>"))


def picture(image: np.ndarray, alt: str, caption: str, aspect: float | None = None) -> Html:
    """uint8 image (H, W) or (H, W, 3) as an inline PNG; `alt` says it in words, `caption` may be empty.

    aspect: width / height as it is shown, where pixels are not square; it then fills the width it is given.
    """
    from PIL import Image  # only reports draw

    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"picture {alt!r}: {image.dtype}{image.shape}, want uint8 (H, W) or (H, W, 3)")
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(data, format="PNG", optimize=True)
    shown = "" if aspect is None else f' style="width:100%;aspect-ratio:{aspect:.4f}"'
    source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    return figure(f'<img alt="{escaped(alt)}"{shown} src="{source}">', caption)


def side_by_side(parts: Sequence[Html]) -> Html:
    """Parts in a row, wrapped where the screen is narrow."""
    return Html('<div class="row">' + "\n".join(part.markup for part in parts) + "</div>")


def group(parts: Sequence[Html], caption: str) -> Html:
    """Parts one below the other that share a caption."""
    return figure("\n".join(part.markup for part in parts), caption)


def columns(parts: Sequence[Html]) -> Html:
    """Parts of one width, such as small plots, as many side by side as there is room for."""
    return Html('<div class="columns">' + "\n".join(part.markup for part in parts) + "</div>")


def heading(text: str) -> Html:
    """A heading below a section's own."""
    return Html(f"<h3>{escaped(text)}</h3>")


def details(name: str, summary: str, lines: Sequence[str]) -> Html:
    """A list that opens below its name and summary."""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    head = f"<summary><b>{breakable(name).markup}</b> {escaped(summary)}</summary>"
    return Html(f"<details>{head}<ul>{items}</ul></details>")


def figure(content: str, caption: str) -> Html:
    """Markup in a frame of its own; `caption` may be empty."""
    note = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{content}{note}</figure>")


def escaped(text: str) -> str:
    """Text that can stand in markup, within quotes too."""
    return html.escape(text, quote=True)


def _flow(parts: Sequence[Part]) -> str:
    return "\n".join(part.markup if isinstance(part, Html) else f"<p>{escaped(part)}</p>" for part in parts)


def _is_number(cell: Cell) -> bool:
    if isinstance(cell, Html):
        return cell.markup.startswith('<span class="number">')
    return cell is None or (isinstance(cell, int | float | Rounded) and not isinstance(cell, bool))


def _sort_value(cell: Cell) -> str:
    value = cell.value if isinstance(cell, Rounded) else cell
    if isinstance(value, bool | str | Html) or value is None or not math.isfinite(value):
        return ""
    return f' data-value="{value!r}"'


def _cell(cell: Cell) -> str:
    """Ints with thin groups of three, floats with three decimals at most, None and nan as a dash."""
    if isinstance(cell, Html):
        return cell.markup
    if cell is None:
        return NOTHING
    if isinstance(cell, Rounded):
        return decimal(cell.value, cell.decimals)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return integer(cell)
    if isinstance(cell, float):
        return decimal(cell, 3 if abs(cell) < 1000 else 0)
    return escaped(cell if isinstance(cell, str) else str(cell))

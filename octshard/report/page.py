"""Self-contained HTML: the document, tables, pictures and plots that all reports share.

Text is escaped, `Html` is trusted. Pictures are data URIs and plots inline SVG, so that one file holds the
page; its Content-Security-Policy forbids to fetch anything. The CSS is in `style`, what moves in `script`.
"""

import base64
import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from octshard.printable import printable
from octshard.report.numbers import NOTHING, Rounded, decimal, integer
from octshard.report.script import SEARCH, SORT
from octshard.report.style import STYLE

ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
LONG = 20  # rows; a table with more has a box that searches them, and scrolls in a box of its own
SEVERAL = 3  # sections; so many have a list of contents
_LONG = "wide long"


@dataclass(frozen=True)
class Html:
    """Markup that is inserted unchanged; a plain str is text and is escaped."""

    markup: str


Content = Html | str
Cell = Html | Rounded | str | int | float | None


@dataclass(frozen=True)
class Section:
    """A headed box of the page: str parts become paragraphs. anchor: its id, by default from the title."""

    title: str
    parts: tuple[Content, ...]
    anchor: str = ""


def page(title: str, lead: str, sections: Sequence[Section], *, style: str = "", script: str = "") -> str:
    """A whole HTML document: the first section, which says what came out, the contents, the other sections.

    Scripts only where a table can be sorted or searched. style, script: of the page, besides.
    """
    anchors = _anchors(sections)
    boxes = [
        f'<section id="{anchor}"><h2>{escaped(box.title)}</h2>\n{_flow(box.parts)}\n</section>'
        for anchor, box in zip(anchors, sections, strict=True)
    ]
    if len(sections) >= SEVERAL:
        boxes.insert(1, _contents(anchors[1:], sections[1:]))
    body = "\n".join(boxes)
    sort = SORT if '<table class="sortable' in body else ""
    search = SEARCH if f'"{_LONG}"' in body else ""
    scripts = f"<script>{sort}{search}{script}</script>" if sort or search or script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{ALLOWED}">'
        f"<title>{escaped(title)}</title><style>{STYLE}{style}</style></head>\n<body><main>\n"
        f'<h1>{escaped(title)}</h1>\n<p class="lead">{escaped(lead)}</p>\n'
        f"{body}\n</main>{scripts}</body></html>\n"
    )


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    caption: str,
    *,
    sortable: bool = False,
    stacked: bool = False,
) -> Html:
    """A table; a column with only numbers (or None) is aligned right. `caption` may be empty.

    sortable: the headings become buttons that sort by their column. stacked: on a narrow screen each row is a
    card, a line for each cell. More than LONG rows can be searched. ValueError if rows differ in width.
    """
    width = len(headers)
    for row in rows:
        if len(row) != width:
            raise ValueError(f"table: a row of {len(row)} cells, want {width} as in {list(headers)}")
    right_aligned = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(width)]
    cell_class = [' class="number"' if numeric else "" for numeric in right_aligned]
    sort_attribute = _sort_value if sortable else (lambda cell: "")
    label = [f' data-label="{escaped(name)}"' if stacked else "" for name in headers]
    shown = (lambda name: breakable(name).markup) if stacked else escaped
    head = "".join(f'<th scope="col"{cell_class[i]}>{shown(name)}</th>' for i, name in enumerate(headers))
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{cell_class[i]}{label[i]}{sort_attribute(cell)}>{_cell(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    table_body = f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>"
    kinds = " ".join(name for name, wanted in (("sortable", sortable), ("stacked", stacked)) if wanted)
    start = f'<table class="{kinds}">' if kinds else "<table>"
    box = f'<div class="{_LONG}" tabindex="0">' if len(rows) > LONG else '<div class="wide">'
    return figure(f"{box}{start}{table_body}</table></div>", caption)


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
    table_body = f"<thead><tr><td></td>{head}</tr></thead><tbody>\n{body}</tbody>"
    return figure(f'<div class="wide"><table class="grid">{table_body}</table></div>', caption)


def numeral(text: str) -> Html:
    """Formatted text such as "0.71 [0.60, 0.80]" that is aligned as a number."""
    return Html(f'<span class="number">{escaped(text)}</span>')


def breakable(name: str) -> Html:
    """A name that may wrap after its underscores and slashes on a narrow screen; copied text is unchanged."""
    return Html(escaped(name).replace("_", "_<wbr>").replace("/", "/<wbr>"))


def picture(image: np.ndarray, alt: str, caption: str, aspect: float | None = None) -> Html:
    """uint8 image (H, W) or (H, W, 3) as an inline PNG with text `alt`; `caption` may be empty.

    aspect: displayed width / height if pixels are not square; the image then fills the available width.
    """
    shown = "" if aspect is None else f' style="width:100%;aspect-ratio:{aspect:.4f}"'
    source = _inline(image, alt, "PNG", optimize=True)
    return figure(f'<img alt="{escaped(alt)}"{shown} src="{source}">', caption)


def photograph(image: np.ndarray, alt: str, caption: str) -> Html:
    """As `picture`, in its own size and as a JPEG: of a scan a third of the bytes, and not exact."""
    return figure(f'<img alt="{escaped(alt)}" src="{jpeg(image, alt)}">', caption)


def jpeg(image: np.ndarray, alt: str) -> str:
    """The data URI of a photograph."""
    return _inline(image, alt, "JPEG", quality=75)


def side_by_side(parts: Sequence[Html]) -> Html:
    """Parts in a row, which wraps on a narrow screen."""
    return Html('<div class="row">' + "\n".join(part.markup for part in parts) + "</div>")


def group(parts: Sequence[Html], caption: str) -> Html:
    """Parts below each other with one caption."""
    return figure("\n".join(part.markup for part in parts), caption)


def columns(parts: Sequence[Html]) -> Html:
    """Parts of equal width, such as small plots, in as many columns as fit."""
    return Html('<div class="columns">' + "\n".join(part.markup for part in parts) + "</div>")


def tiles(parts: Sequence[Html]) -> Html:
    """Pictures in their own sizes, as many in a row as fit."""
    return Html('<div class="tiles">' + "\n".join(part.markup for part in parts) + "</div>")


def strip(parts: Sequence[Html]) -> Html:
    """Small pictures of one kind in columns of equal width, two on a phone."""
    return Html('<div class="strip">' + "\n".join(part.markup for part in parts) + "</div>")


def banner(text: str, tone: str) -> Html:
    """The sentence that a reader must not miss. tone: good, unsure or bad, its colour."""
    return Html(f'<p class="banner {tone}">{escaped(text)}</p>')


def verdict(word: str, text: str, tone: str) -> Html:
    """As `banner`, after a word or two that say what its colour says."""
    return Html(f'<p class="banner {tone}"><b>{escaped(word)}:</b> {escaped(text)}</p>')


def heading(text: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{escaped(text)}</h3>")


def details(name: str, summary: str, lines: Sequence[str]) -> Html:
    """A list that opens below its name and summary."""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    head = f"<summary><b>{breakable(name).markup}</b> {escaped(summary)}</summary>"
    return Html(f"<details>{head}<ul>{items}</ul></details>")


def figure(content: str, caption: str) -> Html:
    """Markup in a <figure>; `caption` may be empty."""
    note = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{content}{note}</figure>")


def escaped(text: str) -> str:
    """Text escaped for markup and quoted attributes, and what would turn or hide letters on the page."""
    return html.escape(printable(text, keep="\n\t"), quote=True)


def _anchors(sections: Sequence[Section]) -> list[str]:
    """The id of each section; of two that are equal the second one gets a number."""
    anchors: list[str] = []
    for number, box in enumerate(sections, start=1):
        words = "-".join(re.findall(r"[a-z0-9]+", (box.anchor or box.title).lower()))
        name = words if words[:1].isalpha() else f"section-{number}"
        while name in anchors:
            name = f"{name}-{number}"
        anchors.append(name)
    return anchors


def _contents(anchors: Sequence[str], sections: Sequence[Section]) -> str:
    """Links to the sections, in one flowing line: short on a phone too."""
    links = (
        f'<li><a href="#{anchor}">{escaped(box.title)}</a></li>'
        for anchor, box in zip(anchors, sections, strict=True)
    )
    return f'<nav aria-label="Contents">Contents: <ol>{" ".join(links)}</ol></nav>'


def _inline(image: np.ndarray, alt: str, form: str, **options: Any) -> str:
    """A data URI of the image. ValueError if it is none."""
    from PIL import Image  # only reports draw

    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"picture {alt!r}: {image.dtype}{image.shape}, want uint8 (H, W) or (H, W, 3)")
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(data, format=form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


def _flow(parts: Sequence[Content]) -> str:
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
    """Ints in groups of three, floats with at most three decimals, None and nan as a dash."""
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

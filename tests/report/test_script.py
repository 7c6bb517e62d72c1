"""What the scripts of a page do in a browser: a long table is searched and sorted, on a desk and a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from octshard.report import page, steps
from octshard.report.page import Section, table
from octshard.report.steps import Step
from tests.support.chromium_page import Page, browser

SEARCH = """(words => {
  const field = document.querySelector(".search input");
  field.value = words;
  field.dispatchEvent(new Event("input"));
  const rows = [...document.querySelectorAll(".long tbody tr")].filter(row => row.checkVisibility());
  return [rows.map(row => row.cells[0].textContent), document.querySelector(".search output").textContent];
})"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 30 rows and one of 20, and more sections than a phone is wide."""
    rows = [[page.breakable(f"Scan_{i}"), 1000 * i, "a <b> of -3"] for i in range(30)]
    long = table(["name", "number", "what"], rows, "", sortable=True, stacked=True)
    short = table(["name", "n"], [["x", i] for i in range(20)], "")
    sections = [Section("Verdict", (page.verdict("In order", "All is well. " * 9, "good"),))]
    sections += [Section(f"Section of number {i}", (long if i == 3 else short,)) for i in range(12)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page.page("Title", "Lead", sections))
    return path


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_table_is_searched_by_words_in_any_case(chromium: Page, made: Path, width: int) -> None:
    chromium.open(made, width)
    assert chromium.value("document.querySelectorAll('.search').length") == 1
    for words, names in (
        ("scan_17", ["Scan_17"]),
        ("  SCAN_2 -3 ", ["Scan_2", *(f"Scan_{i}" for i in range(20, 30))]),
        ("23000", ["Scan_23"]),  # shown as 23 000 with a thin space
        ("<b> scan_4", ["Scan_4"]),
        ("absent", []),
    ):
        assert chromium.value(f"{SEARCH}({words!r})") == [names, f"{len(names)} of 30 rows"]
    shown, count = chromium.value(f"{SEARCH}('')")
    assert (len(shown), count) == (30, "30 rows")
    assert chromium.errors == []
    assert chromium.value("document.documentElement.scrollWidth") <= width


@pytest.mark.chromium
def test_what_was_searched_can_be_sorted(chromium: Page, made: Path) -> None:
    chromium.open(made, 1280)
    chromium.value(f"{SEARCH}('scan_2')")
    chromium.value("document.querySelectorAll('.long th button')[1].click()")
    shown, _ = chromium.value(f"{SEARCH}('scan_2')")
    assert shown == [*(f"Scan_{i}" for i in range(29, 19, -1)), "Scan_2"]


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_the_contents_lead_to_their_sections_and_stay_short(chromium: Page, made: Path, width: int) -> None:
    chromium.open(made, width)
    assert chromium.value(
        """[...document.querySelectorAll("nav a")].every(a =>
          document.querySelector(a.getAttribute("href")).querySelector("h2").textContent === a.textContent)"""
    )
    assert chromium.value("document.querySelectorAll('nav a').length") == 12
    assert chromium.value("document.querySelector('nav').clientHeight") < (220 if width == 390 else 80)
    chromium.value("document.querySelectorAll('nav a')[7].click()")
    assert chromium.value("location.hash") == "#section-of-number-7"
    assert chromium.value("document.documentElement.scrollWidth") <= width


@pytest.mark.chromium
def test_commands_are_copied_as_they_are_and_broken_between_words(chromium: Page, tmp_path: Path) -> None:
    commands = tuple(
        steps.command("octshard", "train", "--config", "a-b-" * 5, f"{name}=x y") for name in "ab"
    )
    path = tmp_path / "steps.html"
    path.write_text(page.page("t", "l", [Section("s", (steps.html([Step("Do:", commands)]),))]))
    chromium.open(path, 390)
    copied = """(() => {
      getSelection().selectAllChildren(document.querySelector("pre"));
      return getSelection().toString();
    })()"""
    assert chromium.value(copied) == "\n".join(commands)
    heights = chromium.value("[...document.querySelectorAll('pre span')].map(word => word.clientHeight)")
    assert len(set(heights)) == 1  # no word stands in two lines


@pytest.mark.chromium
def test_the_colour_of_a_verdict_is_not_alone(chromium: Page, made: Path) -> None:
    chromium.open(made, 390)
    assert chromium.value("document.querySelector('.banner b').textContent") == "In order:"
    sign = chromium.value("getComputedStyle(document.querySelector('.banner'), '::before').content")
    assert sign == '"✓"'

"""The page: escaped, self-contained, well-formed, aligned."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from octshard.report import page, steps
from octshard.report.chart import Chart
from octshard.report.numbers import Rounded
from octshard.report.script import SEARCH, SORT

VOID = {"meta", "img", "br", "wbr"}


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn or never; keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    return parser


def full_page(word: str) -> str:
    parts = (
        word,
        page.table([word, "n"], [[word, 1], [word, None]], word),
        page.side_by_side([page.picture(np.zeros((4, 5), np.uint8), word, word)] * 2),
        Chart(Figure((1, 1)), word, (), ()).html(word),
        page.heading(word),
        page.details(word, word, [word, word]),
        page.columns([page.group([page.picture(np.zeros((4, 5), np.uint8), word, word, 2.0)], word)]),
        page.breakable(word),
        page.banner(word, "good"),
        page.verdict(word, word, "bad"),
        steps.html([steps.Step(word, (word, steps.command("octshard", word)))]),
        page.table([word], [[word]] * 30, word),
    )
    return page.page(word, word, [page.Section(word, parts), *[page.Section(word, (), word)] * 3])


@settings(deadline=None)  # a busy machine draws slowly
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))))
def test_any_text_is_escaped_and_every_tag_closed(word):
    evil = f'{word}<script>alert(1)</script>" onload="x&'
    text = full_page(evil)
    read(text)
    assert text.count("<script") == text.count(f"<script>{SEARCH}</script>") == 1
    assert 'onload="x' not in text


def test_names_cannot_turn_or_hide_letters_of_the_page():
    assert page.escaped("a\x1b[1m\u202eb\nc") == "a\\x1b[1m\\u202eb\nc"


def test_a_table_to_sort_brings_the_one_script_and_the_values_behind_the_words():
    rows = [["a", 1234, Rounded(0.126, 1), None], ["<b>", 5, float("nan"), 2.5]]
    table = page.table(["name", "n", "x", "y"], rows, "", sortable=True)
    assert '<td class="number" data-value="1234">1\u202f234</td>' in table.markup
    assert '<td class="number" data-value="0.126">0.1</td>' in table.markup
    assert table.markup.count("data-value") == 4
    text = page.page("t", "l", [page.Section("s", (table, table))])
    read(text)
    assert text.count("<script") == text.count(f"<script>{SORT}</script>") == 1
    assert "<script" not in page.page("t", "l", [page.Section("s", (page.table(["a"], [[1]], ""),))])


def rows(number: int) -> list[list[page.Cell]]:
    return [[f"name {i}", i] for i in range(number)]


@pytest.mark.parametrize(("number", "boxes"), [(20, 0), (21, 1)])
def test_only_a_long_table_can_be_searched(number, boxes):
    text = page.page("t", "l", [page.Section("s", (page.table(["name", "n"], rows(number), ""),))])
    read(text)
    assert text.count('<div class="wide long" tabindex="0">') == boxes
    assert text.count(f"<script>{SEARCH}</script>") == text.count("<script") == boxes


def test_a_page_of_several_sections_lists_them_behind_the_first():
    titles = ["Verdict", "What & why", "What & why", "42", "Ωmega"]
    text = page.page("t", "l", [*(page.Section(title, ()) for title in titles), page.Section("x", (), "own")])
    read(text)
    assert re.findall(r'<section id="([^"]+)">', text) == [
        "verdict", "what-why", "what-why-3", "section-4", "mega", "own",
    ]  # fmt: skip
    links = re.findall(r'<li><a href="#([^"]+)">([^<]+)</a></li>', text)
    assert [anchor for anchor, _ in links] == ["what-why", "what-why-3", "section-4", "mega", "own"]
    assert [name for _, name in links] == ["What &amp; why", "What &amp; why", "42", "Ωmega", "x"]
    assert text.index("<h2>Verdict") < text.index("<nav") < text.index("<h2>What")
    assert "<nav" not in page.page("t", "l", [page.Section("a", ()), page.Section("b", ())])


def test_sections_of_any_titles_have_ids_of_their_own():
    titles = ["a", "a-2", "a", "a-3", "a", "", "", '"><script>']
    ids = re.findall(r'<section id="([^"]*)">', page.page("t", "l", [page.Section(t, ()) for t in titles]))
    assert len(set(ids)) == len(titles)
    assert all(re.fullmatch("[a-z][a-z0-9-]*", one) for one in ids)


def test_a_verdict_says_in_words_what_its_colour_says():
    assert page.verdict("In order", "3 < 4", "good").markup == (
        '<p class="banner good"><b>In order:</b> 3 &lt; 4</p>'
    )


def test_a_page_forbids_itself_to_fetch():
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', full_page("plain"))[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "http" not in policy


def test_a_name_breaks_after_underscores_and_copies_whole():
    markup = page.breakable("a_b<_c").markup
    assert markup == "a_<wbr>b&lt;_<wbr>c"
    assert "".join(read(markup).text) == "a_b<_c"


def test_a_picture_of_other_pixels_is_shown_in_its_aspect():
    shown = page.picture(np.zeros((4, 5), np.uint8), "x", "", 2.5).markup
    assert "aspect-ratio:2.5000" in shown
    assert "aspect-ratio" not in page.picture(np.zeros((4, 5), np.uint8), "x", "").markup


def test_nothing_is_fetched_and_a_phone_is_served():
    text = full_page("plain")
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\((?!#)|@import|https?:", text)
    assert 'name="viewport"' in text


def test_numbers_stand_right_and_words_left():
    rows = [["a", 1, page.numeral("0.5 [0.4, 0.6]")], ["b", None, page.numeral("1")]]
    text = page.table(["name", "n", "x"], rows, "").markup
    assert '<th scope="col">name</th><th scope="col" class="number">n</th>' in text
    assert '<td class="number">1</td>' in text
    assert "<td>a</td>" in text
    assert "–" in text


def test_numbers_are_written_for_people():
    text = page.table(["n", "x", "y"], [[1234567, -0.5, float("nan")]], "").markup
    assert "1\u202f234\u202f567" in text
    assert "−0.500" in text
    assert "nan" not in text


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="a row of 1 cells, want 2"):
        page.table(["a", "b"], [["x"]], "")


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
def test_a_picture_comes_back_as_it_was(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    data = re.search(r"base64,([^\"]+)", page.picture(image, "x", "").markup)[1]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)


def test_a_photograph_comes_back_almost_as_it_was_in_fewer_bytes():
    rng = np.random.default_rng(0)
    image = np.add.outer(np.linspace(0, 150, 90), np.linspace(0, 60, 200)) + rng.normal(0, 12, (90, 200))
    image = image.clip(0, 255).astype(np.uint8)
    photograph, picture = page.photograph(image, "x", "").markup, page.picture(image, "x", "").markup
    data = re.search(r"data:image/jpeg;base64,([^\"]+)", photograph)[1]
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.abs(back.astype(int) - image).mean() < 8
    assert len(photograph) < 0.5 * len(picture)


def test_a_picture_of_floats_is_an_error():
    with pytest.raises(ValueError, match="want uint8"):
        page.picture(np.zeros((2, 2)), "x", "")

"""All pictures of an evaluation on one page: what it weighs at worst, and how it looks on a phone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from octshard.eval.pictures import attention, near_scans, scan_reader, sections, token_maps, wrong_people
from octshard.report import page
from octshard.report.page import photograph
from tests.eval.pictures.test_attention import HEAD_OF_ANY
from tests.support.chromium_page import browser
from tests.support.picture_request import made_request

PAGE_BYTES = 3e6  # of pictures


def test_pictures_of_noise_keep_within_what_a_page_may_weigh() -> None:
    """Noise as strong as the signal in every pixel, in the largest box: no scan is worse."""

    def weight(box: tuple[int, int], colours: int) -> int:
        noise = np.random.default_rng(0).gamma(2, 40, (box[1], box[0], 1)).clip(0, 255)
        image = np.rint(noise * np.array([0.9, 0.62, 0.2])[:colours]).astype(np.uint8).squeeze()
        return len(photograph(image, "", "").markup)

    scan, coloured = weight(scan_reader.LARGE, 1), weight(scan_reader.LARGE, 3)
    small = weight(scan_reader.SMALL, 3)
    total = token_maps.SHOWN * (scan + token_maps.ENCODERS * (coloured + small))
    total += attention.SHOWN * (scan + coloured + small)
    total += near_scans.SHOWN * (1 + near_scans.NEIGHBOURS) * small
    total += wrong_people.SHOWN * scan
    assert total < PAGE_BYTES


def test_every_kind_has_its_section_and_nothing_is_cut_on_a_phone(tmp_path: Path, monkeypatch) -> None:
    for kind in (token_maps, attention, near_scans, wrong_people):
        monkeypatch.setattr(kind, "SHOWN", 2)
    request = made_request(tmp_path)
    made = sections.pictures(dataclasses.replace(request, attentive={"ours": HEAD_OF_ANY}))
    assert [section.title for section in made.sections] == [
        token_maps.TITLE, attention.TITLE, near_scans.TITLE, wrong_people.TITLE,
    ]  # fmt: skip
    stems = {name.partition(".")[0] for name in made.files}
    assert stems == {"token-maps", "attention", "near-scans", "wrong-people"}
    place = tmp_path / "page.html"
    place.write_text(page.page("Pictures", "", made.sections))
    with browser(tmp_path / "profile") as opened:
        for width in (390, 1280):
            opened.open(place, width)
            assert opened.value("document.documentElement.scrollWidth <= innerWidth"), width
            assert opened.value("[...document.images].every(image => image.naturalWidth > 0)")
            wider = "image.getBoundingClientRect().width > image.naturalWidth + 1"
            assert opened.value(f"[...document.images].filter(image => {wider}).length") == 0
            assert not opened.errors


@pytest.mark.parametrize("missing", ["predictions", "values", "encoders"])
def test_what_cannot_be_drawn_is_left_out(tmp_path: Path, missing: str, monkeypatch) -> None:
    for kind in (token_maps, near_scans, wrong_people):
        monkeypatch.setattr(kind, "SHOWN", 1)
    request = dataclasses.replace(made_request(tmp_path), **{missing: () if missing == "encoders" else {}})
    titles = {section.title for section in sections.pictures(request).sections}
    gone = {"predictions": wrong_people, "values": near_scans, "encoders": token_maps}[missing].TITLE
    assert titles == {token_maps.TITLE, near_scans.TITLE, wrong_people.TITLE} - {gone}

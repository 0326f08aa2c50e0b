"""The page of pictures: where they lie, what is written, and that nothing overflows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from seewhy.draw import Cell, Row, gallery
from seewhy.draw.galleries import TITLE, _font, shorten

COLOURS = [(200, 0, 0), (0, 150, 0), (0, 0, 200), (200, 0, 200), (0, 150, 150), (150, 150, 0)]


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, colour)


def box_of(page: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    y, x = np.nonzero((np.asarray(page) == colour).all(-1))
    assert len(x), f"{colour} is not on the page"
    left, top, right, bottom = x.min(), y.min(), x.max() + 1, y.max() + 1
    assert len(x) == (right - left) * (bottom - top), f"{colour} is not one whole rectangle"
    return int(left), int(top), int(right), int(bottom)


def row(*colours: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Row:
    cells = [Cell("grad_cam", "87.1 % cat", picture(colour, size)) for colour in colours[1:]]
    return Row(picture(colours[0], size), "cat.jpg", cells)


def test_rows_below_each_other_and_columns_aligned() -> None:
    page = gallery([row(*COLOURS[:3]), row(*COLOURS[3:], size=(48, 64))])
    boxes = [box_of(page, colour) for colour in COLOURS]
    for first, second in ((0, 3), (1, 4), (2, 5)):
        assert boxes[first][0] == boxes[second][0]
        assert boxes[first][3] < boxes[second][1]
    for group in (boxes[:3], boxes[3:]):
        assert len({(top, bottom) for _, top, _, bottom in group}) == 1
        assert group[0][2] < group[1][0] < group[1][2] < group[2][0]
    for left, top, right, bottom in boxes[:3]:
        assert (right - left) * 48 == pytest.approx((bottom - top) * 64, abs=64)
    pixels = np.asarray(page)
    for edge in (pixels[:40], pixels[-40:], pixels[:, :40], pixels[:, -40:]):
        assert (edge == 255).all(), "a white margin"


def test_captions_stand_above_their_pictures() -> None:
    written, blank = row(*COLOURS[:2]), row(*COLOURS[:2])
    blank = blank._replace(title="", cells=[Cell("", "", blank.cells[0].image)])
    difference = (np.asarray(gallery([written])) != np.asarray(gallery([blank]))).any(-1)
    y, x = np.nonzero(difference)
    for colour in COLOURS[:2]:
        left, top, right, _ = box_of(gallery([written]), colour)
        mine = (x >= left) & (x < right)
        assert mine.sum() > 500
        assert y[mine].max() < top
    assert gallery([written]).size == gallery([blank]).size


def test_long_rows_wrap_beside_the_photo() -> None:
    page = gallery([row(*COLOURS[:5])], columns=3)
    boxes = [box_of(page, colour) for colour in COLOURS[:5]]
    assert [boxes[3][0], boxes[4][0]] == [boxes[1][0], boxes[2][0]]
    assert boxes[3][1] > boxes[1][3]
    assert page.width < gallery([row(*COLOURS[:5])]).width


def test_an_empty_place_stays_empty() -> None:
    full = row(*COLOURS[:3])
    gap = full._replace(cells=[None, full.cells[1]])
    assert box_of(gallery([gap]), COLOURS[2]) == box_of(gallery([full]), COLOURS[2])
    with pytest.raises(AssertionError, match="not on the page"):
        box_of(gallery([gap]), COLOURS[1])
    nothing_left = full._replace(cells=[full.cells[0], None])
    assert gallery([nothing_left], columns=2).size == gallery([row(*COLOURS[:2])], columns=2).size


def test_pictures_of_any_size_and_shape_are_shown_large() -> None:
    for size in ((1, 1), (128, 128), (3000, 2000), (4000, 10), (10, 4000)):
        page = gallery([row(*COLOURS[:2], size=size)])
        left, top, right, bottom = box_of(page, COLOURS[1])
        assert max(right - left, bottom - top) == 640
    with pytest.raises(ValueError, match="rows is empty"):
        gallery([])
    with pytest.raises(ValueError, match="columns=1"):
        gallery([row(*COLOURS[:2])], columns=1)


def test_long_captions_do_not_reach_the_neighbour() -> None:
    cells = [Cell("gig_cam(steps=20)" * 9, "coonhound " * 30, picture(c)) for c in COLOURS[1:3]]
    page = gallery([Row(picture(COLOURS[0]), "photo " * 40, cells)])
    gap = slice(box_of(page, COLOURS[1])[2], box_of(page, COLOURS[2])[0])
    assert (np.asarray(page)[:, gap] == 255).all()


@pytest.fixture(scope="module")
def font() -> ImageFont.FreeTypeFont:
    return _font(*TITLE[:2])


@given(text=st.text(max_size=80), width=st.integers(40, 900))
@settings(max_examples=100, deadline=None)
def test_shorten_fits_and_keeps_what_it_can(
    font: ImageFont.FreeTypeFont, text: str, width: int
) -> None:
    short = shorten(text, font, width)
    line = " ".join(text.split())
    assert font.getlength(short) <= width
    if font.getlength(line) <= width:
        assert short == line
    else:
        assert short.endswith("…")
        kept = short[:-1]
        assert line.startswith(kept)
        assert font.getlength(line[: len(kept) + 2].rstrip() + "…") > width * 0.5

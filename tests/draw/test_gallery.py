"""The page of pictures: where they lie, what is written, and that nothing overflows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from seewhy.draw import Key, Tile, gallery, keys
from seewhy.draw.galleries import TITLE
from seewhy.draw.words import font as font_of
from seewhy.draw.words import shorten

COLOURS = [(200, 0, 0), (0, 150, 0), (0, 0, 200), (200, 0, 200), (0, 150, 150), (150, 150, 0)]


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, colour)


def box_of(page: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    y, x = np.nonzero((np.asarray(page) == colour).all(-1))
    assert len(x), f"{colour} is not on the page"
    left, top, right, bottom = x.min(), y.min(), x.max() + 1, y.max() + 1
    assert len(x) == (right - left) * (bottom - top), f"{colour} is not one whole rectangle"
    return int(left), int(top), int(right), int(bottom)


def row(*colours: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> list[Tile]:
    cells = [Tile("grad_cam", "87.1 % cat", picture(colour, size)) for colour in colours[1:]]
    return [Tile("cat.jpg", "", picture(colours[0], size)), *cells]


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
    blank = [Tile("", "", one.image) for one in blank]
    difference = (np.asarray(gallery([written])) != np.asarray(gallery([blank]))).any(-1)
    y, x = np.nonzero(difference)
    for colour in COLOURS[:2]:
        left, top, right, _ = box_of(gallery([written]), colour)
        mine = (x >= left) & (x < right)
        assert mine.sum() > 500
        assert y[mine].max() < top
    assert gallery([written]).size == gallery([blank]).size


def test_long_rows_go_on_below_in_lines_of_equal_length() -> None:
    page = gallery([row(*COLOURS[:4])], columns=3)
    boxes = [box_of(page, colour) for colour in COLOURS[:4]]
    assert [boxes[2][0], boxes[3][0]] == [boxes[0][0], boxes[1][0]]
    assert boxes[2][1] > boxes[0][3]
    assert page.width == gallery([row(*COLOURS[:2])]).width, "two and two, not three and one"


def test_short_rows_stand_beside_each_other() -> None:
    rows = [row(*COLOURS[:2]), row(*COLOURS[2:4]), row(*COLOURS[4:])]
    boxes = [box_of(gallery(rows), colour) for colour in COLOURS]
    assert [boxes[4][0], boxes[5][0]] == [boxes[0][0], boxes[1][0]]
    assert {box[1] for box in boxes[:4]} == {boxes[0][1]}
    assert boxes[4][1] > boxes[0][3]
    assert [box[0] for box in boxes[:4]] == sorted({box[0] for box in boxes})


def test_the_legend_stands_below_and_inside() -> None:
    legend = [Key(Image.new("RGB", (120, 28), colour), "what it means") for colour in COLOURS[2:5]]
    for rows in ([row(*COLOURS[:2])], [row(*COLOURS[:2], *COLOURS[:2], *COLOURS[:2])]):
        plain, page = gallery(rows), gallery(rows, legend=legend)
        assert page.width == plain.width
        for colour in COLOURS[2:5]:
            left, top, right, bottom = box_of(page, colour)
            assert (right - left, bottom - top) == (120, 28)
            assert plain.height - 72 < top < bottom < page.height - 40
            assert 72 <= left < right < page.width - 72


def test_keys_show_what_overlays_do() -> None:
    strong, signed, unseen = keys(positive=True, signed=True, unseen=True)
    left, right = (np.asarray(strong.swatch).astype(int)[14, x].sum() for x in (2, -3))
    assert right > left + 200, "brighter is more"
    blue, red = (np.asarray(signed.swatch).astype(int)[14, x] for x in (2, -3))
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60
    assert np.ptp(np.asarray(unseen.swatch), axis=2).max() == 0, "grey"
    assert "not seen" in unseen.meaning
    assert keys(positive=False) == []


def test_an_empty_place_stays_empty() -> None:
    full = row(*COLOURS[:3])
    gap = [full[0], None, full[2]]
    assert box_of(gallery([gap]), COLOURS[2]) == box_of(gallery([full]), COLOURS[2])
    with pytest.raises(AssertionError, match="not on the page"):
        box_of(gallery([gap]), COLOURS[1])
    nothing_left = [*full[:2], None]
    assert gallery([nothing_left], columns=2).size == gallery([row(*COLOURS[:2])], columns=2).size


def test_pictures_of_any_size_and_shape_are_shown_large() -> None:
    for size in ((1, 1), (128, 128), (3000, 2000), (4000, 10), (10, 4000)):
        page = gallery([row(*COLOURS[:2], size=size)])
        left, top, right, bottom = box_of(page, COLOURS[1])
        assert max(right - left, bottom - top) == min(640, max(360, *size))
    for nothing in ([], [[]], [[None]], [[], [None, None]]):
        with pytest.raises(ValueError, match="rows is empty"):
            gallery(nothing)
    with pytest.raises(TypeError, match="rows holds 'A'; give rows of tiles"):
        gallery(["A"])  # type: ignore[list-item]
    for columns in (1, 2.5, float("nan"), "5"):
        with pytest.raises(ValueError, match="columns="):
            gallery([row(*COLOURS[:2])], columns=columns)  # type: ignore[arg-type]


def test_long_captions_do_not_reach_the_neighbour() -> None:
    cells = [Tile("gig_cam(steps=20)" * 9, "coonhound " * 30, picture(c)) for c in COLOURS[1:3]]
    page = gallery([[Tile("photo " * 40, "", picture(COLOURS[0])), *cells]])
    gap = slice(box_of(page, COLOURS[1])[2], box_of(page, COLOURS[2])[0])
    assert (np.asarray(page)[:, gap] == 255).all()


def test_names_that_begin_alike_are_told_apart() -> None:
    """They are written smaller, and not cut before the end."""
    pages = []
    for name in ("grad_cam+multiscale+sharpen", "grad_cam+multiscale+sharper"):
        cells = [Tile("cat.jpg", "", picture(COLOURS[0])), Tile(name, "", picture(COLOURS[1]))]
        pages.append(np.asarray(gallery([cells])))
    assert (pages[0] != pages[1]).any()


def test_letters_that_the_usual_font_lacks_are_written_in_another() -> None:
    """DejaVu draws the same box for both; STIX, which also comes with matplotlib, has them."""
    pages = []
    for letter in "\u20ec\u20ed":
        photo, cell = row(*COLOURS[:2])
        pages.append(np.asarray(gallery([[photo, cell._replace(title=letter)]])))
    assert (pages[0] != pages[1]).any()
    assert font_of(*TITLE[:2], "grad_cam").getname() == ("DejaVu Sans", "Bold")


def test_letters_that_no_font_has_do_not_change_the_font() -> None:
    assert font_of(*TITLE[:2], "cat \U0010fffe").getname() == ("DejaVu Sans", "Bold")


@pytest.fixture(scope="module")
def font() -> ImageFont.FreeTypeFont:
    return font_of(*TITLE[:2], "grad_cam")


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

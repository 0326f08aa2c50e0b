"""One picture of many: photos down the page, their explanations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

# In pixels. The page is meant to be shown at half its size, which is sharp on dense screens.
PICTURE = 640  # longer side of a picture
GAP = 40  # between columns
ROW_GAP = 68
MARGIN = 72
LINE = 40  # of a caption's two
CAPTION = 2 * LINE + 20
TITLE = ("DejaVuSans-Bold.ttf", 30, "#15181e")  # font, size, colour
SUBTITLE = ("DejaVuSans.ttf", 26, "#626a76")


class Cell(NamedTuple):
    """One explanation: what made it, of what, and its picture."""

    title: str
    subtitle: str
    image: Image.Image


class Row(NamedTuple):
    """One photo and its explanations; None leaves a place empty."""

    photo: Image.Image
    title: str
    cells: Sequence[Cell | None]
    subtitle: str = ""


def gallery(rows: Sequence[Row], *, columns: int = 5) -> Image.Image:
    """Arrange photos and their explanations on a white page, with captions.

    Every row begins with its photo. Explanations beyond `columns` pictures go on below, so that the
    same place means the same thing in all rows. Pictures keep their proportions; a caption that is
    too long is shortened with an ellipsis.

    Args:
        rows: each a photo, its title and its cells (title, subtitle, picture).
        columns: pictures beside each other at most, the photo included; at least 2.

    Returns:
        An RGB image; show it at half its size for sharp print.

    Raises:
        ValueError: no rows, or fewer than 2 columns.
    """
    if not rows:
        raise ValueError("rows is empty; give at least one photo with its explanations")
    if columns < 2:
        raise ValueError(f"columns={columns}; give at least 2, the photo takes one")
    strips = [strip for row in rows for strip in _strips(row, columns - 1)]
    images = [[cell.image for cell in strip if cell] for strip in strips]
    # Very slim pictures still leave room for their captions.
    width = max(PICTURE // 2, *(image.width for strip in images for image in strip))
    heights = [CAPTION + max(image.height for image in strip) for strip in images]
    places = max(map(len, strips))
    page_width = 2 * MARGIN + places * width + (places - 1) * GAP
    page_height = 2 * MARGIN + sum(heights) + (len(strips) - 1) * ROW_GAP
    page = Image.new("RGB", (page_width, page_height), "white")
    draw = ImageDraw.Draw(page)
    top = MARGIN
    for strip, height in zip(strips, heights, strict=True):
        for place, cell in enumerate(strip):
            if cell:
                left = MARGIN + place * (width + GAP)
                _write(draw, left, top, cell.title, width, *TITLE)
                _write(draw, left, top + LINE, cell.subtitle, width, *SUBTITLE)
                page.paste(cell.image, (left, top + CAPTION))
        top += height + ROW_GAP
    return page


def shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text` on one line, cut with an ellipsis where it would be wider than `width` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1].rstrip()
    return text + "…"


def _strips(row: Row, cells_per_strip: int) -> list[list[Cell | None]]:
    """The row cut to the page's width; below the photo its column stays free."""
    strips: list[list[Cell | None]] = [[_fitted(Cell(row.title, row.subtitle, row.photo))]]
    cells = [cell and _fitted(cell) for cell in row.cells]
    strips[0] += cells[:cells_per_strip]
    for start in range(cells_per_strip, len(cells), cells_per_strip):
        if any(rest := cells[start : start + cells_per_strip]):
            strips.append([None, *rest])
    return strips


def _fitted(cell: Cell) -> Cell:
    factor = PICTURE / max(cell.image.size)
    width, height = (max(1, round(side * factor)) for side in cell.image.size)
    image = cell.image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return cell._replace(image=image)


def _write(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    text: str,
    width: int,
    font_name: str,
    size: int,
    colour: str,
) -> None:
    font = _font(font_name, size)
    draw.text((left, top), shorten(text, font, width), font=font, fill=colour)


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)

"""One picture of many: photos down the page, their explanations side by side."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, NamedTuple

from PIL import Image, ImageDraw

from seewhy.draw.legend import Key
from seewhy.draw.words import BOLD, PLAIN, font, shorten
from seewhy.options import Range, settled, shown

# In pixels. The page is meant to be shown at half its size, which is sharp on dense screens.
LEAST, PICTURE = 360, 640  # the longer side of a picture: that of the largest, within these
GAP = 40  # between columns
ROW_GAP = 68
MARGIN = 72
LINE = 40  # of a caption's two
CAPTION = 2 * LINE + 20
Style = tuple[str, int, str]  # font, size, colour
TITLE: Style = (BOLD, 30, "#15181e")
SMALLEST = 18  # a title's font
SUBTITLE: Style = (PLAIN, 26, "#626a76")


class Tile(NamedTuple):
    """A picture with its caption: of an explanation, what made it and of what."""

    title: str
    subtitle: str
    image: Image.Image


Row = Sequence[Tile | None]
"""A photo and its explanations; None leaves a place empty."""


def gallery(
    rows: Sequence[Row], *, columns: Annotated[int, Range(least=2)] = 5, legend: Sequence[Key] = ()
) -> Image.Image:
    """Arrange photos and their explanations on a white page, with captions.

    Every row begins with its photo. Explanations beyond `columns` pictures go on below, in lines of
    about equal length; the same place means the same thing in all rows. Rows that are short stand
    beside each other. Pictures keep their proportions, and are as large as the largest one, within
    bounds. Titles get smaller where explanations' would not fit; captions that are too long even
    then are shortened with an ellipsis.

    rows: each a photo and its explanations, as tiles (title, subtitle, picture).
    columns: pictures beside each other at most, the photo included; at least 2.
    legend: what colours mean, below all rows; see `seewhy.draw.legend`.

    Returns an RGB image; show it at half its size for sharp print.

    Raises ValueError if there are no rows, or fewer than 2 columns.
    """
    tiles = [tile for row in rows for tile in row if tile is not None]
    if not tiles:
        raise ValueError("rows is empty; give at least one photo with its explanations")
    for tile in tiles:
        if not isinstance(tile, Tile):
            raise TypeError(f"rows holds {shown(tile)}; give rows of tiles")
    columns = settled("gallery", gallery, {"columns": columns})["columns"]
    lines = _lines(rows, columns)
    longest = max(max(tile.image.size) for tile in tiles)
    side = min(max(LEAST, longest), PICTURE)
    strips = [[cell and _fitted(cell, side) for cell in line] for line in lines]
    # Very slim pictures still leave room for their captions.
    width = max(LEAST - GAP, *(cell.image.width for strip in strips for cell in strip if cell))
    heights = [CAPTION + max(cell.image.height for cell in strip if cell) for strip in strips]
    title = _title(rows, width)
    places = max(map(len, strips))
    page_width = 2 * MARGIN + places * width + (places - 1) * GAP
    keys = _keys(legend, page_width - 2 * MARGIN)
    page_height = 2 * MARGIN + sum(heights) + (len(strips) - 1 + bool(keys)) * ROW_GAP
    page = Image.new("RGB", (page_width, page_height + 2 * LINE * len(keys)), "white")
    draw = ImageDraw.Draw(page)
    top = MARGIN
    for strip, height in zip(strips, heights, strict=True):
        for place, cell in enumerate(strip):
            if cell:
                left = MARGIN + place * (width + GAP)
                _write(draw, (left, top), cell.title, width, title)
                _write(draw, (left, top + LINE), cell.subtitle, width, SUBTITLE)
                page.paste(cell.image, (left, top + CAPTION))
        top += height + ROW_GAP
    for line in keys:
        for left, key in line:
            page.paste(key.swatch, (MARGIN + left, top))
            beside = (MARGIN + left + key.swatch.width + 16, top)
            _write(draw, beside, key.meaning, page_width, SUBTITLE)
        top += 2 * LINE
    return page


def _lines(rows: Sequence[Row], columns: int) -> list[Row]:
    """What stands beside each other, so that lines are about equally long."""
    longest = max(map(len, rows))
    if longest <= columns // 2:  # whole rows beside each other
        many = math.ceil(len(rows) / math.ceil(len(rows) / (columns // longest)))
        filled = [[*row, *[None] * (longest - len(row))] for row in rows]
        parts = range(0, len(rows), many)
        return [list(chain(*filled[start : start + many])) for start in parts]
    length = math.ceil(longest / math.ceil(longest / columns))
    cut = [row[start : start + length] for row in rows for start in range(0, len(row), length)]
    return [line for line in cut if any(line)]


def _keys(legend: Sequence[Key], width: int) -> list[list[tuple[int, Key]]]:
    """The keys in lines of a width, each with its place."""
    lines: list[list[tuple[int, Key]]] = []
    left = width
    for key in legend:
        needed = key.swatch.width + 16 + round(_length(key.meaning, SUBTITLE))
        if not lines or left + needed > width:
            lines.append([])
            left = 0
        lines[-1].append((left, key))
        left += needed + GAP
    return lines


def _title(rows: Sequence[Row], width: int) -> Style:
    """The style in which the names of what made the explanations fit, which often begin alike."""
    name, size, colour = TITLE
    lengths = [_length(cell.title, TITLE) for row in rows for cell in row[1:] if cell]
    return name, max(SMALLEST, int(size * width / max([width, *lengths]))), colour


def _length(text: str, style: Style) -> float:
    name, size, _ = style
    return font(name, size, text).getlength(text)


def _fitted(cell: Tile, side: int) -> Tile:
    factor = side / max(cell.image.size)
    width, height = (max(1, round(length * factor)) for length in cell.image.size)
    image = cell.image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return cell._replace(image=image)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, style: Style
) -> None:
    name, size, colour = style
    chosen = font(name, size, text)
    draw.text(at, shorten(text, chosen, width), font=chosen, fill=colour)

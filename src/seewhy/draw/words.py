"""Words in pictures."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PLAIN, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"


def font(name: str, size: int, text: str) -> ImageFont.FreeTypeFont:
    """The font in which to write a text, at a size in pixels.

    It is the named one, of those that come with matplotlib, unless it lacks letters of the text
    (Chinese, Japanese, Korean, …): then the installed font that has most of them.
    """
    import matplotlib

    ours = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    letters = np.unique([ord(letter) for letter in text if not letter.isspace()])
    if _lacking(ours, letters) == 0:
        return _opened(ours, size)
    return _opened(min([ours, *_installed(name)], key=lambda one: _lacking(one, letters)), size)


@cache
def _opened(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _lacking(path: Path, letters: np.ndarray) -> int:
    """How many of the letters a font does not have."""
    return len(letters) - int(np.isin(letters, _letters(path)).sum())


@cache
def _letters(path: Path) -> np.ndarray:
    """The code points that a font has; none where the file is no font that can be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return np.fromiter(FT2Font(path).get_charmap(), dtype=np.int64)
    except (OSError, RuntimeError):
        return np.empty(0, dtype=np.int64)


@cache
def _installed(like: str) -> list[Path]:
    """The upright fonts of this machine, those with the weight of the named one first."""
    from matplotlib.font_manager import fontManager

    # The last resort has a sign for every letter, each a box.
    fonts = [one for one in fontManager.ttflist if "last resort" not in one.name.lower()]
    bold = like == BOLD
    found = {
        Path(one.fname): ("Bold" in Path(one.fname).stem) != bold
        for one in sorted(fonts, key=lambda one: one.fname)
        if one.style == "normal"
    }
    return sorted(found, key=found.__getitem__)


def shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text` on one line, cut with an ellipsis where it would be wider than `width` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1].rstrip()
    return text + "…"


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """`text` as lines of at most `width` pixels; a word that is wider is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, font, width))
    return lines


def write_over(image: Image.Image, text: str) -> Image.Image:
    """The image with a text on a dark band across its middle, in a size that fits it."""
    picture = image.convert("RGB")
    size = max(9, round(min(picture.width / 16, picture.height / 9)))
    chosen = font(PLAIN, size, text)
    lines = wrapped(text, chosen, 0.94 * picture.width)
    height = round(1.3 * size)
    block = height * len(lines)
    top = (picture.height - block) // 2
    band = (0, top - size // 2, picture.width, top + block + size // 2)
    shade = Image.new("L", picture.size)
    ImageDraw.Draw(shade).rectangle(band, fill=190)
    picture.paste((16, 18, 24), (0, 0), shade)
    draw = ImageDraw.Draw(picture)
    for place, line in enumerate(lines):
        left = (picture.width - chosen.getlength(line)) / 2
        draw.text((left, top + place * height), line, font=chosen, fill="white")
    return picture

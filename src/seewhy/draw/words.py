"""Words in pictures."""

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PLAIN, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """One of the fonts that come with matplotlib, at a size in pixels."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


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
    chosen = font(PLAIN, size)
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

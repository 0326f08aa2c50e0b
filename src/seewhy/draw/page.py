"""A page for the browser: galleries and a table, with nothing fetched from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

WIDTH = 256  # pixels of a picture in a strip, at most

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #15181e; background: #fafafa;
       max-width: 1200px; margin: 0 auto; padding: 2rem 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { color: #4a515c; max-width: 46rem; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
figure { margin: 0; background: #fff; border-radius: 8px; overflow: hidden;
         box-shadow: 0 1px 3px #0002; }
figure img { display: block; width: 100%; }
figcaption { font-size: .8rem; padding: .35rem .6rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; background: #fff; box-shadow: 0 1px 3px #0002; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child { text-align: left; }
"""


def strip(title: str, pictures: Sequence[tuple[str, Image.Image]]) -> str:
    """A row of captioned pictures, as HTML."""
    figures = "".join(
        f'<figure><img alt="{escape(caption)}" src="{_embedded(picture)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, picture in pictures
    )
    return f'<h2>{escape(title)}</h2><div class="strip">{figures}</div>'


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, as HTML."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>"


def write_page(path: Path, title: str, introduction: str, parts: Sequence[str]) -> None:
    """Write one self-contained HTML file."""
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(introduction)}</p>{''.join(parts)}</html>",
        encoding="utf-8",
    )


def _embedded(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    stream = BytesIO()
    small.save(stream, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()

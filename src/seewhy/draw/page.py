"""A page for the browser: galleries, tables and choosers, with nothing fetched from elsewhere.

Parts are HTML. Every text that they are given is escaped here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from seewhy.draw.legend import Key

WIDTH = 256  # pixels of a picture in a strip, at most


class Entry(NamedTuple):
    """What a table's cell holds beyond plain text.

    html: what is shown. value: by what its column is sorted; None goes last. kind: its CSS class.
    hint: shown while the pointer is over it.
    """

    html: str
    value: float | None = None
    kind: str = ""
    hint: str = ""


class Heading(NamedTuple):
    """A column's heading with a remark below; a click first sorts by the `highest` or lowest."""

    text: str
    remark: str = ""
    highest: bool = False


def strip(
    title: str, pictures: Sequence[tuple[str, Image.Image | bytes]], width: int = WIDTH
) -> str:
    """A row of captioned pictures, `width` pixels wide and high at most; "" for no title.

    Bytes are of a picture that `webp` made small already. What follows a caption's first line is
    set smaller.
    """
    figures = "".join(_figure(caption, picture, width) for caption, picture in pictures)
    count = f"--count:{len(pictures)}"
    return f'{_title(title)}<div class="strip" style="{count}">{figures}</div>'


def spread(
    first: tuple[str, Image.Image | bytes],
    pictures: Sequence[tuple[str, Image.Image | bytes]],
    width: int = 2 * WIDTH,
) -> str:
    """One large captioned picture, and others of half its size two by two beside it."""
    large, *small = (_figure(*one, width) for one in (first, *pictures))
    return f'<div class="spread">{large}<div>{"".join(small)}</div></div>'


def legend(keys: Sequence[Key]) -> str:
    """What the colours of the pictures mean."""
    items = "".join(
        f'<li><img alt="" src="{_embedded(key.swatch, WIDTH)}">{escape(key.meaning)}</li>'
        for key in keys
    )
    return f'<ul class="legend">{items}</ul>'


def table(
    title: str,
    header: Sequence[str | Heading],
    rows: Sequence[Sequence[str | Entry]],
    *,
    kind: str = "sortable",
) -> str:
    """A table; a click on a heading sorts it. Without a header there is nothing to click on."""
    head = f"<thead><tr>{''.join(map(_heading, header))}</tr></thead>" if header else ""
    body = "".join("<tr>" + "".join(map(_entry, row)) + "</tr>" for row in rows)
    return (
        f'{_title(title)}<div class="scroll"><table class="{kind}">{head}'
        f"<tbody>{body}</tbody></table></div>"
    )


def folded(title: str, *parts: str) -> str:
    """Parts that a click on the title shows."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def notice(text: str) -> str:
    """A remark that must not be missed."""
    return f'<div class="notice">{escape(text)}</div>'


def highlights(sentences: Sequence[str]) -> str:
    """What a reader should know first."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="findings">{items}</ul>'


def labels(words: Sequence[tuple[str, bool]]) -> str:
    """Short facts side by side; True marks one that is a warning."""
    items = "".join(f"<li{' class=warn' * warning}>{escape(word)}</li>" for word, warning in words)
    return f'<ul class="chips">{items}</ul>'


def tabs(name: str, panels: Sequence[tuple[str, str]]) -> str:
    """One of several (label, part) at a time; `name` is unlike other choosers' on the page."""
    if len(panels) == 1:
        return panels[0][1]
    group = escape(name)
    choices = "".join(
        f'<input type="radio" name="{group}" id="{group}-{place}"{" checked" * (place == 0)}>'
        f'<label for="{group}-{place}">{escape(label)}</label>'
        f'<div class="panel"><h3 class="only-print">{escape(label)}</h3>{part}</div>'
        for place, (label, part) in enumerate(panels)
    )
    return f'<div class="tabs">{choices}</div>'


def page(title: str, introduction: str, parts: Sequence[str]) -> str:
    """One self-contained page, which a browser keeps from fetching anything."""
    style, script = (
        files("seewhy.draw").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(introduction)}</p>{"".join(parts)}'
        f"<script>{script}</script></body></html>"
    )


def write_page(path: Path, title: str, introduction: str, parts: Sequence[str]) -> None:
    """Write `page` as one file."""
    path.write_text(page(title, introduction, parts), encoding="utf-8")


def webp(picture: Image.Image, width: int) -> bytes:
    """A picture as a small WebP file, `width` pixels wide and high at most."""
    small = picture.convert("RGB")
    small.thumbnail((width, width), Image.Resampling.LANCZOS)
    stream = BytesIO()
    small.save(stream, format="WEBP", quality=80)
    return stream.getvalue()


def _figure(caption: str, picture: Image.Image | bytes, width: int) -> str:
    return (
        f'<figure><img alt="{escape(caption)}" src="{_embedded(picture, width)}">'
        f"<figcaption>{_lines(caption)}</figcaption></figure>"
    )


def _title(title: str) -> str:
    return f"<h2>{escape(title)}</h2>" if title else ""


def _lines(caption: str) -> str:
    first, _, rest = caption.partition("\n")
    return _breakable(first) + (f"<small>{escape(rest)}</small>" if rest else "")


def _breakable(text: str) -> str:
    """Names of methods may go on in a new line behind what joins their parts."""
    return escape(text).replace("_", "_<wbr>").replace("+", "+<wbr>")


def _heading(heading: str | Heading) -> str:
    if isinstance(heading, str):
        heading = Heading(heading)
    remark = f"<small>{escape(heading.remark)}</small>" if heading.remark else ""
    first = "high" if heading.highest else "low"
    return f'<th data-first="{first}"><span>{_breakable(heading.text)}</span>{remark}</th>'


def _entry(entry: str | Entry) -> str:
    if isinstance(entry, str):
        return f"<td>{_breakable(entry)}</td>"
    value = "" if entry.value is None else repr(entry.value)
    kind = f' class="{entry.kind}"' if entry.kind else ""
    hint = f' title="{escape(entry.hint)}"' if entry.hint else ""
    return f'<td{kind}{hint} data-value="{value}">{entry.html}</td>'


def _embedded(picture: Image.Image | bytes, width: int) -> str:
    data = picture if isinstance(picture, bytes) else webp(picture, width)
    return "data:image/webp;base64," + base64.b64encode(data).decode()

"""Pages for the browser, made of the templates in `seewhy/templates`, with nothing fetched.

Templates escape every text that they are given. A page is one file: its style, script and pictures
are in it, and its policy keeps the browser from asking anyone for anything.
"""

import base64
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from seewhy.data.images import encoded
from seewhy.writing import write_whole

_MARK = b'<meta name="generator" content="Seewhy">'  # near the beginning of every page
WIDTH = 256  # pixels of a picture, at most


def render(template: str, **values: Any) -> Markup:
    """A template as HTML, every value in it escaped that is no HTML of a template itself."""
    return Markup(_templates().get_template(template).render(values))


def part(template: str, name: str, *values: Any, **functions: Any) -> str:
    """A macro of a template as HTML; `functions` are those that the template calls."""
    module = _templates().get_template(template).make_module(functions)
    return str(getattr(module, name)(*values))


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write the page of a template as one file. Raises OSError that names it."""
    write_whole(path, render(template, **values).encode())


def check_page(path: Path) -> None:
    """Raise ValueError where the path holds anything but a page of ours, or has no folder."""
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}; make it, or give another --out")
    if path.exists() and not (path.is_file() and _MARK in path.read_bytes()[:1000]):
        raise ValueError(f"{path} is there already and is no page of Seewhy; give another --out")


def webp(picture: Image.Image, width: int) -> bytes:
    """A picture as a small WebP file, `width` pixels wide and high at most."""
    small = picture.convert("RGB")
    small.thumbnail((width, width), Image.Resampling.LANCZOS)
    return encoded(small, "WEBP", quality=80)


def embedded(picture: Image.Image | bytes, width: int = WIDTH) -> str:
    """A picture as an address that holds it; bytes are of one that `webp` made already."""
    data = picture if isinstance(picture, bytes) else webp(picture, width)
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def breakable(text: str) -> Markup:
    """A name that may go on in a new line behind what joins its parts."""
    return Markup(str(escape(text)).replace("_", "_<wbr>").replace("+", "+<wbr>"))


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("seewhy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (found.get_template(f"page.{kind}").render() for kind in ("css", "js"))
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    found.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": Markup(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'"
        ),
    }
    found.filters |= {"embedded": embedded, "breakable": breakable}
    return found

"""Write a page per method and refinement to docs/methods, from the registry and notes.toml.

    python scripts/make_method_pages.py             # text and pictures of everything
    python scripts/make_method_pages.py --text      # text alone, in a second
    python scripts/make_method_pages.py rise tsgb   # pictures of these alone, and all text

Formula, options, source and cost are what the code says; `notes.toml` has the title and what a
person wrote: when to use the method, and when not. The pictures show the same three scenes on every
page, explained with the default options.
"""

from __future__ import annotations

import argparse
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

from PIL import Image

import seewhy
from seewhy.data.scenes import SAMPLES, Scene, Scenes
from seewhy.naming import METHODS, REFINEMENTS, Entry

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "methods"
SCENES = SAMPLES[:3]
MODEL = "scenes:resnet"
TILE, GAP = 224, 8  # pixels
BASE = "grad_cam"  # the method that refinements are shown on

# What options mean where the method's own documentation takes it for granted.
USUAL = {
    "seed": "of the random numbers.",
    "steps": "points on the path.",
    "baseline": "where the path begins, see `seewhy.baselines.baseline`.",
    "batch_size": 'images per pass; "auto" as many as fit.',
    "eps": "keeps the denominator away from zero.",
}
COSTS = (
    "F is a forward pass of the network, B a backward pass through all of it, h one from the score "
    "to the layer; K the number of channels at the layer, N and T those of samples and steps."
)


def entries() -> dict[str, Entry]:
    """All methods and refinements by name."""
    return {**dict(sorted(METHODS.items())), **dict(sorted(REFINEMENTS.items()))}


def notes() -> dict[str, Any]:
    """What a person wrote on each: title, use, avoid, and why it has no picture."""
    return tomllib.loads((FOLDER / "notes.toml").read_text())


def spelled(name: str) -> str:
    """How the method, or the refinement of a method, is asked for."""
    return f"{BASE}+{name}" if name in REFINEMENTS else name


def scenes() -> list[Scene]:
    """The scenes of all pictures."""
    return [Scenes(max(SCENES) + 1, size=384)[index] for index in SCENES]


def page(name: str, entry: Entry, note: dict[str, str]) -> str:
    """The page of one method or refinement."""
    first, described, rest = sections(entry)
    kind = "refinement" if name in REFINEMENTS else "method"
    labels = [scene.labels[0] for scene in scenes()]
    why = ", ".join(f"“{label}”" for label in labels)
    shown = [
        f"![{note['title']} on three scenes](images/{name}.jpg)",
        "",
        f"*Why {why}? Above the scenes, below the maps of the bundled `{MODEL}`.*",
        "",
    ]
    if "no_picture" in note:
        shown = [f"*No picture: {note['no_picture']}*", ""]
    lines = [
        f"# {note['title']}",
        "",
        f"`{spelled(name)}` · {kind} · {entry.source} · cost: {entry.passes}",
        "",
        f"> {first}",
        "",
        *shown,
        *(f"{paragraph}\n" for paragraph in rest),
        "## When to use it",
        "",
        note["use"].strip(),
        "",
        "## When not",
        "",
        note["avoid"].strip(),
        "",
        "## How to ask for it",
        "",
        "```python",
        f'seewhy.explain(model, images, "{spelled(name)}")',
        "```",
        "",
    ]
    if entry.options:
        lines += ["| option | default | meaning |", "|---|---|---|"]
        for option, default in entry.options.items():
            meaning = described.get(option, USUAL.get(option, "see above.")).replace("|", "\\|")
            lines.append(f"| `{option}` | `{default!r}` | {meaning} |")
        lines.append("")
    lines += [f"[All methods](README.md) · {COSTS}", ""]
    return "\n".join(lines)


def sections(entry: Entry) -> tuple[str, dict[str, str], list[str]]:
    """The documentation's first sentence, what it says of each option, and its other paragraphs."""
    first, *paragraphs = (inspect.getdoc(entry.function) or "").split("\n\n")
    described: dict[str, str] = {}
    rest: list[str] = []
    for paragraph in paragraphs:
        parts = re.split(r"^(\w+): ", paragraph, flags=re.MULTILINE)
        if parts[0].strip() or parts[1] not in entry.options:
            if not paragraph.startswith("Raises"):
                rest.append(joined(paragraph))
            continue
        for option, text in zip(parts[1::2], parts[2::2], strict=True):
            described[option] = joined(text)
    return joined(first), described, rest


def joined(text: str) -> str:
    """One line of text that Markdown will not take for emphasis."""
    return " ".join(text.split()).replace("*", "\\*")


def index(written: dict[str, Any]) -> str:
    """The table of all pages."""
    lines = [
        "# Methods and refinements",
        "",
        "A method makes a map of one question; a refinement makes a better one of any method, as "
        f"in `{BASE}+multiscale`. `seewhy methods` prints the same table.",
        "",
    ]
    for title, registry in (("method", METHODS), ("refinement", REFINEMENTS)):
        lines += [f"| {title} | name | source | cost |", "|---|---|---|---|"]
        for name, entry in sorted(registry.items()):
            link = f"[{written[name]['title']}]({name}.md)"
            lines.append(f"| {link} | `{name}` | {entry.source} | {entry.passes} |")
        lines.append("")
    lines += [
        COSTS,
        "",
        "`random`, `center_gaussian` and `edges` know nothing of the network: what a method gains "
        "over them is what it has learnt of it. Other libraries' methods join by "
        "[adapters](../adapters.md).",
        "",
        "These pages are written by `python scripts/make_method_pages.py`.",
        "",
    ]
    return "\n".join(lines)


def texts() -> dict[str, str]:
    """All files of text: name of the file -> content."""
    written = notes()
    pages = {f"{name}.md": page(name, entry, written[name]) for name, entry in entries().items()}
    return {"README.md": index(written), **pages}


def picture(name: str, model: seewhy.models.LoadedModel) -> Image.Image:
    """Three scenes above, their maps below."""
    sheet = Image.new("RGB", (3 * TILE + 2 * GAP, 2 * TILE + GAP), "white")
    for column, scene in enumerate(scenes()):
        (answer,) = seewhy.explain_photos(model, [scene.image], [spelled(name)], [scene.labels[0]])
        (one,) = answer.explanations
        for row, tile in enumerate((scene.image, one.overlay())):
            place = (column * (TILE + GAP), row * (TILE + GAP))
            sheet.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), place)
    return sheet


def main() -> None:
    """Write text and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="whose pictures; all without any")
    parser.add_argument("--text", action="store_true", help="no pictures")
    options = parser.parse_args()
    for file, content in texts().items():
        (FOLDER / file).write_text(content)
    if options.text:
        return
    model = seewhy.load_model(MODEL)
    written = notes()
    for name in options.names or [name for name in entries() if "no_picture" not in written[name]]:
        path = FOLDER / "images" / f"{name}.jpg"
        picture(name, model).save(path, quality=82, optimize=True, progressive=True)
        print(f"{path.relative_to(FOLDER)}: {path.stat().st_size / 1024:.0f} KB", flush=True)


if __name__ == "__main__":
    main()

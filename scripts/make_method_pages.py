"""Write a page per method and refinement to docs/methods, from the registry and notes.toml.

    python scripts/make_method_pages.py             # text and pictures of everything
    python scripts/make_method_pages.py --text      # text alone, in a second
    python scripts/make_method_pages.py rise tsgb   # pictures of these alone, and all text

Formula, options, source and cost are what the code says; `notes.toml` has the title and what a
person wrote: when to use the method, and when not. The pictures show the same two photos, explained
with the default network, and a scene, where the truth is known; methods that take a pass for each
of hundreds of masks or channels show scenes alone, whose network is small. All takes less than
three minutes on one core.
"""

from __future__ import annotations

import argparse
import inspect
import re
import tomllib
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from PIL import Image, ImageOps

import seewhy
from seewhy.data.samples import sample_photos
from seewhy.data.scenes import SAMPLES, Scenes
from seewhy.models import DEFAULT_MODEL
from seewhy.naming import METHODS, REFINEMENTS, Entry

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "methods"
PHOTOS = ("chelsea", "camera")
SCENES = SAMPLES[:3]
SCENE_MODEL = "scenes:resnet"
TILE, GAP = 224, 8  # pixels
BASE = "grad_cam"  # the method that refinements are shown on
# Shown on scenes alone, and where minutes would pass even there, with fewer samples.
COSTLY = {
    "ablation_cam": "ablation_cam",
    "guided_integrated_gradients": "guided_integrated_gradients",
    "is_cam": "is_cam(steps=2)",
    "occlusion": "occlusion",
    "rise": "rise(masks=500)",
    "score_cam": "score_cam",
    "ss_cam": "ss_cam(samples=2)",
}

# What options mean where the method's own documentation takes it for granted.
USUAL = {
    "seed": "of the random numbers.",
    "steps": "points on the path.",
    "baseline": "where the path begins, see `seewhy.fills.filled`.",
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


class Shown(NamedTuple):
    """A picture on a page, the class that it is asked for, and the network that is asked."""

    image: Image.Image
    asked: str
    model: str


def shown(name: str) -> list[Shown]:
    """What the page of a method or refinement shows."""
    numbers = SCENES if name in COSTLY else SCENES[:1]
    drawn = [Scenes(max(SCENES) + 1, size=384)[number] for number in numbers]
    scenes = [Shown(scene.image, scene.labels[0], SCENE_MODEL) for scene in drawn]
    if name in COSTLY:
        return scenes
    photos = [sample_photos()[photo] for photo in PHOTOS]
    return [*(Shown(one.image, one.classes[0], DEFAULT_MODEL) for one in photos), *scenes]


def page(name: str, entry: Entry, note: dict[str, str]) -> str:
    """The page of one method or refinement."""
    first, described, rest = sections(entry)
    kind = "refinement" if name in REFINEMENTS else "method"
    if "no_picture" in note:
        pictures = [f"*No picture: {note['no_picture']}*", ""]
    else:
        asked = shown(name)
        why = ", ".join(f"“{one.asked}”" for one in asked)
        kinds = "three scenes" if name in COSTLY else "two photos and a scene"
        networks = " and ".join(f"`{model}`" for model in dict.fromkeys(one.model for one in asked))
        settings = COSTLY.get(name, name)
        by = "" if settings == name else f", by `{settings}`"
        pictures = [
            f"![{note['title']} on {kinds}](images/{name}.jpg)",
            "",
            f"*Why {why}? Above the pictures, below the maps of {networks}{by}.*",
            "",
        ]
    lines = [
        f"# {note['title']}",
        "",
        f"`{spelled(name)}` · {kind} · {entry.source} · cost: {entry.passes}",
        "",
        f"> {first}",
        "",
        *pictures,
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


def picture(name: str, models: dict[str, seewhy.models.LoadedModel]) -> Image.Image:
    """What is shown above, its maps below."""
    sheet = Image.new("RGB", (3 * TILE + 2 * GAP, 2 * TILE + GAP), "white")
    method = COSTLY.get(name) or spelled(name)
    for column, one in enumerate(shown(name)):
        image = ImageOps.fit(one.image, (384, 384))
        (answer,) = seewhy.explain_photos(models[one.model], image, method, one.asked)
        (found,) = answer.explanations
        for row, tile in enumerate((image, found.overlay())):
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
    whole = {"resize": (224, 224), "crop": None}  # nothing of a photo stays unseen
    models = {
        DEFAULT_MODEL: seewhy.load_model(DEFAULT_MODEL, preprocess=whole),
        SCENE_MODEL: seewhy.load_model(SCENE_MODEL),
    }
    written = notes()
    for name in options.names or [name for name in entries() if "no_picture" not in written[name]]:
        path, begun = FOLDER / "images" / f"{name}.jpg", perf_counter()
        picture(name, models).save(path, quality=82, optimize=True, progressive=True)
        size, seconds = path.stat().st_size / 1024, perf_counter() - begun
        print(f"{path.relative_to(FOLDER)}: {size:.0f} KB, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()

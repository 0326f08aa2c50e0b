"""Write a page per method and refinement to docs/methods, from the registry and notes.toml.

    python scripts/make_method_pages.py             # text and pictures of everything
    python scripts/make_method_pages.py --text      # text alone, in a second
    python scripts/make_method_pages.py rise tsgb   # pictures of these alone, and all text

Formula, options, source and cost come from the code; title, when to use the method and when not to
come from `notes.toml`. The pictures show the same two photos, explained with the default network,
and a scene. Methods that need hundreds of passes, and those of attention, show three scenes, whose
networks are small. All pictures take less than three minutes on one core.
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
SCENE_MODEL, ATTENTION_MODEL = "scenes:resnet", "scenes:vit"
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

ATTENTION = ("attention_gradient", "attention_rollout", "attention_x_gradient", "le_grad")

# Meanings of options that the methods' docstrings do not describe.
USUAL = {
    "seed": "seed of the random numbers.",
    "steps": "number of points on the path.",
    "baseline": 'start of the path: a number in units of the input, "black", "darkest", "blurred", '
    '"blur", "random" or a tensor, see `seewhy.fills.filled`.',
    "batch_size": 'images per pass; "auto": as many as fit.',
    "eps": "keeps the denominator away from zero.",
}
COSTS = (
    "F is a forward pass of the network, B a backward pass through all of it, h a backward pass "
    "from the score to the layer, a rule pass a backward pass with the method's own rules; K is "
    "the number of channels at the layer, N that of samples, T that of steps."
)


def entries() -> dict[str, Entry]:
    """All methods and refinements by name."""
    return {**dict(sorted(METHODS.items())), **dict(sorted(REFINEMENTS.items()))}


def notes() -> dict[str, Any]:
    """Of each: title, use, avoid."""
    return tomllib.loads((FOLDER / "notes.toml").read_text())


def spelled(name: str) -> str:
    """The name of the method, or of a method with the refinement."""
    return f"{BASE}+{name}" if name in REFINEMENTS else name


class Shown(NamedTuple):
    """A picture on a page, the class that is explained, and the network."""

    image: Image.Image
    label: str
    model: str


def shown(name: str) -> list[Shown]:
    """What the page of a method or refinement shows."""
    only_scenes = name in COSTLY or name in ATTENTION
    numbers = SCENES if only_scenes else SCENES[:1]
    drawn = [Scenes(max(SCENES) + 1, size=384)[number] for number in numbers]
    model = ATTENTION_MODEL if name in ATTENTION else SCENE_MODEL
    scenes = [Shown(scene.image, scene.labels[0], model) for scene in drawn]
    if only_scenes:
        return scenes
    photos = [sample_photos()[photo] for photo in PHOTOS]
    return [*(Shown(one.image, one.classes[0], DEFAULT_MODEL) for one in photos), *scenes]


def page(name: str, entry: Entry, note: dict[str, str]) -> str:
    """The page of one method or refinement."""
    first, described, rest = sections(entry)
    kind = "refinement" if name in REFINEMENTS else "method"
    pictures = shown(name)
    labels = ", ".join(f"“{one.label}”" for one in pictures)
    kinds = "two photos and a scene" if pictures[0].model == DEFAULT_MODEL else "three scenes"
    networks = " and ".join(f"`{model}`" for model in dict.fromkeys(one.model for one in pictures))
    settings = COSTLY.get(name, name)
    by = "" if settings == name else f" Method: `{settings}`."
    lines = [
        f"# {note['title']}",
        "",
        f"`{spelled(name)}` · {kind} · {entry.source} · cost: {entry.passes}",
        "",
        f"> {first}",
        "",
        f"![{note['title']} on {kinds}](images/{name}.jpg)",
        "",
        f"*Explained classes: {labels}. Networks: {networks}.{by}*",
        "",
        *(f"{paragraph}\n" for paragraph in rest),
        "## When to use it",
        "",
        note["use"].strip(),
        "",
        "## When not to use it",
        "",
        note["avoid"].strip(),
        "",
        "## Usage",
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
        "A method computes a saliency map. A refinement improves the map of any method, as in "
        f"`{BASE}+multiscale`. `seewhy methods` and `seewhy refinements` print the same tables.",
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
        "`random`, `center_gaussian` and `edges` do not use the network. A method is informative "
        "only if it is better than they are. For methods of other libraries, see "
        "[adapters](../adapters.md).",
        "",
        "`python scripts/make_method_pages.py` writes these pages.",
        "",
    ]
    return "\n".join(lines)


def texts() -> dict[str, str]:
    """All files of text: name of the file -> content."""
    written = notes()
    pages = {f"{name}.md": page(name, entry, written[name]) for name, entry in entries().items()}
    return {"README.md": index(written), **pages}


def picture(name: str, models: dict[str, seewhy.models.LoadedModel]) -> Image.Image:
    """The pictures, and their maps below them."""
    sheet = Image.new("RGB", (3 * TILE + 2 * GAP, 2 * TILE + GAP), "white")
    method = COSTLY.get(name) or spelled(name)
    for column, one in enumerate(shown(name)):
        image = ImageOps.fit(one.image, (384, 384))
        (answer,) = seewhy.explain_photos(models[one.model], image, method, one.label)
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
        **{name: seewhy.load_model(name) for name in (SCENE_MODEL, ATTENTION_MODEL)},
    }
    for name in options.names or entries():
        path, begun = FOLDER / "images" / f"{name}.jpg", perf_counter()
        picture(name, models).save(path, quality=82, optimize=True, progressive=True)
        size, seconds = path.stat().st_size / 1024, perf_counter() - begun
        print(f"{path.relative_to(FOLDER)}: {size:.0f} KB, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()

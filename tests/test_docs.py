"""The documentation runs: every Python block, page by page; `seewhy` command lines parse.

A page's blocks share one namespace, which begins with `seewhy`, `torch`, a small `model` of a
thousand classes, two `images` for it and their `labels`; the working directory holds the files that
the pages name. A block below `<!-- not run: reason -->` is only compiled.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import typer
from PIL import Image
from torch import Tensor, nn

import hugging
import seewhy
from registries import forgotten
from seewhy.cli import app
from seewhy.data.scenes import SAMPLES, Scenes
from seewhy.models import import_torchvision

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MODULE = """
import torch


def net():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(4, 2),
    )


class Segmenter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.head = torch.nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return {"out": self.head(self.body(x))}
"""
RUN = {
    "name": "scenes-small",
    "networks": [{"model": "scenes:resnet"}],
    "datasets": [{"dataset": "scenes:3"}],
    "methods": ["grad_cam", "random"],
    "metrics": ["energy_pointing_game", "insertion"],
    "steps": 2,
}


class Block(NamedTuple):
    """A fenced block: its language, its text, the line of its first line, why it is not run."""

    language: str
    text: str
    line: int
    excuse: str | None


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, indented ones (in tabs, in lists) too."""
    text = page.read_text()
    fence = r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```"
    for found in re.finditer(fence, text, re.MULTILINE | re.DOTALL):
        above = text[: found.start()].rstrip().rpartition("\n")[2]
        excuse = re.fullmatch(r"\s*<!-- not run: (.+) -->", above)
        body = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, found.start("text"))
        yield Block(found["language"], body, line, excuse and excuse[1])


class Tiny(nn.Module):
    """A convolutional network with the usual names, of a thousand classes."""

    def __init__(self) -> None:
        super().__init__()
        for number, (inner, outer) in enumerate(((3, 4), (4, 6), (6, 8), (8, 8)), 1):
            stride = 1 if number == 4 else 2
            convolution = nn.Conv2d(inner, outer, 3, stride, 1)
            layers = nn.Sequential(convolution, nn.BatchNorm2d(outer), nn.ReLU())
            self.add_module(f"layer{number}", layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 1000)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(self.avgpool(x).flatten(1))


def test_the_definitions_of_the_plugin_are_a_module_by_themselves():
    """Without what the tests of pages give to every page."""
    names: dict[str, Any] = {"__name__": "mycam"}
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    with forgotten():
        for block in blocks(ROOT / "docs" / "guides" / "plugins.md"):
            if block.language == "python":
                body = [one for one in ast.parse(block.text).body if isinstance(one, kept)]
                exec(compile(ast.Module(body, []), "mycam.py", "exec"), names)
        assert names["read_shelf"]("2").read("1").annotations[0].label == "apple"
        assert names["rack"]("small", pretrained=False, num_classes=None).classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pages name."""
    there = tmp_path_factory.mktemp("reader")
    scene = Scenes(SAMPLES[0] + 1, size=384)[SAMPLES[0]].image
    (there / "holiday").mkdir()
    for name in ("photo.jpg", "cat.jpg", "part.png", "holiday/beach.jpg"):
        scene.save(there / name)
    (there / "docs").symlink_to(ROOT / "docs")
    (there / "mynets.py").write_text(MODULE)
    (there / "mycam.py").touch()
    (there / "names.txt").write_text("dust\ncrack\n")
    scope: dict[str, Any] = {}
    exec(MODULE, scope)
    torch.save({"state_dict": scope["net"]().state_dict()}, there / "last.ckpt")
    return there


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A small benchmark, for the pages that read one."""
    from typer.testing import CliRunner

    (folder / "small.yaml").write_text(json.dumps(RUN))
    with chdir(folder):
        answer = CliRunner().invoke(app, ["bench", "small.yaml", "--workers", "1"])
    assert answer.exit_code == 0, answer.output
    shutil.copytree(folder / "runs" / "scenes-small", folder / "run")
    shutil.copytree(folder / "run", folder / "later")
    return folder / "run"


@pytest.fixture(scope="module")
def captioning(folder: Path) -> dict[str, Any]:
    """A folder with CLIP, and a network that writes captions: what the page on transformers has."""
    hugging.save("CLIP", folder / "clip")
    ids = torch.tensor([[1, 4, 5, 8, 9, 6, 7]])  # [CLS] a dog on the skate ##board
    pixels = torch.randn(1, 3, 32, 32)
    tokenizer = hugging.caption_tokenizer()
    return {"blip": hugging.blip(), "tokenizer": tokenizer, "ids": ids, "pixels": pixels}


class Vit(nn.Module):
    """A vision transformer of 4 x 4 patches and a class token, of a thousand classes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 1000)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.blocks(torch.cat([self.token.expand(len(x), -1, -1), patches], 1))
        return self.head(tokens[:, 0])


class Siamese(Tiny):
    """A network of two images."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return super().forward(left) * super().forward(right)


class Clip(nn.Module):
    """A network of an image and words."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Tiny()

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        return self.body(pixel_values) * input_ids.float().flatten(1).mean(1, keepdim=True)


def namespace(page: Path) -> dict[str, Any]:
    """What a page's reader has: a convolutional network, or where it is of attention a ViT."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32)
    return {
        "__name__": "page",
        "seewhy": seewhy,
        "torch": torch,
        "model": (Vit() if re.search("attention|le_grad|transf", page.stem) else Tiny()).eval(),
        "images": images,
        "left": images,
        "right": images,
        "words": torch.ones(2, 5, dtype=torch.int64),
        "clip": Clip().eval(),
        "siamese": Siamese().eval(),
        "labels": torch.tensor([281, 282]),
        "target": 281,
        "rgb": torch.rand(32, 32, 3).numpy(),
    }


@pytest.fixture(autouse=True)
def registered():
    """What a page registers is forgotten after it."""
    with forgotten():
        yield


def title(path: Path) -> str:
    return str(path.relative_to(ROOT))


def with_python(page: Path) -> bool:
    return any(block.language == "python" for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if with_python(page)], ids=title)
def test_a_page_runs(page, folder, request, monkeypatch):
    if re.search(r'"(run|runs/scenes-small[^"]*)"', page.read_text()):
        request.getfixturevalue("run")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    scope = namespace(page)
    if "hf:./clip" in page.read_text():
        scope |= request.getfixturevalue("captioning")
    import_torchvision()  # which other libraries import by themselves
    for block in blocks(page):
        if block.language == "python":
            code = compile("\n" * block.line + block.text, str(page), "exec")
            if block.excuse is None:
                exec(code, scope)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=title)
def test_a_notebook_runs_and_has_no_outputs(path, folder, monkeypatch):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    monkeypatch.chdir(folder)
    scope: dict[str, Any] = {"__name__": "notebook"}
    for cell in code:
        text = "".join(cell["source"])
        if not text.startswith("%"):
            exec(compile(text, str(path), "exec"), scope)


def commands() -> Iterator[tuple[str, str]]:
    """Each page's `seewhy` command lines, without their comments."""
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("", "bash", "sh", "console"):
                for line in block.text.replace("\\\n", " ").splitlines():
                    if re.match(r"(\$ )?seewhy ", line):
                        yield title(page), line.removeprefix("$ ").partition(" #")[0].strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_line_parses(page, line, folder, monkeypatch):
    monkeypatch.chdir(folder)  # where the plugins are that a line names
    group: Any = typer.main.get_command(app)
    _, *words = shlex.split(line)
    context = group.make_context("seewhy", list(words), resilient_parsing=False)
    while hasattr(group, "commands"):
        name, group, words = group.resolve_command(context, words)
        context = group.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=title)
def test_links_lead_somewhere(page):
    # `make docs` checks anchors, too.
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"`[^`]*`", "", prose)):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=title)
def test_a_table_ends_with_an_empty_line(page):
    # What follows without one is a row of the table.
    assert re.findall(r"^\|.*\n(?!\||\n|\Z).*", page.read_text(), re.MULTILINE) == []


def test_the_readme_has_the_costs_of_the_page_on_costs():
    """Grad-CAM's time and memory on an accelerator, in the order of the table's libraries."""
    named = r"^\| (`grad_cam`|all eight together|\S+ (?:GradCAM|LayerGradCam))"
    page = (ROOT / "docs" / "cost.md").read_text().split("## Gradients and TSGB")[0]
    found = re.findall(named + r" \| ([\d.]+) .* (\d+) \|$", page, re.MULTILINE)
    times = [f"{float(time):.1f}" for _, time, _ in found]
    many, one = times[:5], times[5:]
    own, _, *others = zip(many, one, strict=True)
    readme = (ROOT / "README.md").read_text()
    row = " | ".join(f"{a} / {b}" for a, b in [own, *others])
    assert f"| Grad-CAM, accelerator, 64 images / one | {row} |" in readme
    assert f"| several CAMs, accelerator, one image | **{one[1]}** (eight) |" in readme
    own_memory, _, *peaks = [memory for *_, memory in found[:5]]
    memories = " | ".join([f"**{own_memory} MiB**", *(f"{peak} MiB" for peak in peaks)])
    assert f"| peak memory, accelerator, 64 images | {memories} |" in readme


def test_the_page_on_the_probe_has_the_ratios_of_the_page_on_costs():
    page = (ROOT / "docs" / "cost.md").read_text().split("## What Python does")[1]
    rows = re.findall(r"^\| (.+?) \| (\d+) \| ([\d,]+) \|$", page, re.MULTILINE)
    counts = {name: (int(made), int(calls.replace(",", ""))) for name, made, calls in rows}
    made, calls = counts["forward and backward, plain torch"]
    prose = " ".join((ROOT / "docs" / "probe.md").read_text().split())
    assert f"{counts['`grad_cam`'][1] / calls:.1f} times the Python calls" in prose
    assert f"TSGB runs {counts['`tsgb`'][0] / made:.1f} times the operators" in prose


def test_the_blocks_are_found():
    assert sum(with_python(page) for page in PAGES) > 40
    assert len(set(commands())) > 15
    (block,) = [one for one in blocks(ROOT / "docs" / "methods" / "rise.md") if one.language]
    assert block.text == 'seewhy.explain(model, images, "rise")\n'


def described(source: str) -> Iterator[tuple[str, str, set[str]]]:
    """Functions and classes with a docstring: name, docstring, and what it may describe."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        arguments = {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
        fields = {
            one.target.id
            for one in ast.walk(node)
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        own = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
        yield node.name, ast.get_docstring(node) or "", arguments | fields | own


def style_faults(source: str) -> list[str]:
    """What is not in the style of CONTRIBUTING.md: headings, and `name: …` lines of no argument."""
    found = []
    for name, text, known in described(source):
        for paragraph in text.split("\n\n"):
            first, *parts = re.split(r"^([a-z_]\w*(?:, \w+)*): ", paragraph, flags=re.MULTILINE)
            names = {one for group in parts[::2] for one in group.split(", ")}
            if names and (first.strip() or not names <= known):
                found.append(f"{name}: {sorted(names)}")
            if re.search("^(Args|Attributes|Parameters|Returns|Raises|Yields):$", paragraph, re.M):
                found.append(f"{name}: a heading")
    return found


def test_docstrings_are_in_one_style():
    sources = {title(path): path.read_text() for path in (ROOT / "src").rglob("*.py")}
    assert {path: faults for path, text in sources.items() if (faults := style_faults(text))} == {}
    for fault in ("Args:\n        x: a number.", "y: no such argument.", "Text.\n    x: a number."):
        assert style_faults(f'def f(x):\n    """One.\n\n    {fault}\n    """\n')


def test_pictures_are_pictures():
    for path in (ROOT / "docs").rglob("*.jpg"):
        Image.open(path).verify()

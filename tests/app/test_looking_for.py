"""Text-image networks in the viewer: what a visitor looks for is part of the query."""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from viewers import LIMITS, opened, png

import seewhy
from hugging import save
from seewhy.app.code import as_command, as_python
from seewhy.app.page import Viewer
from seewhy.app.query import LONGEST_TEXT, MOST_TEXTS, NOTHING, PREDICTED, Network, query_of
from seewhy.app.view import record_of
from seewhy.cli import app
from seewhy.cli.serve import TEXTS, allowed

KINDS = ("CLIP", "Siglip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def looking(folders, networks) -> dict[str, Network]:
    """Text-image networks, and one with its own classes."""
    found = {
        kind: Network(seewhy.load_model(f"hf:{folder}", texts=["a dog", "a car"]))
        for kind, folder in folders.items()
    }
    return {**found, "thousand": networks["thousand"]}


@pytest.fixture(scope="module")
def viewer(looking) -> Iterator[Viewer]:
    with opened(looking) as viewer:
        yield viewer


@pytest.mark.parametrize("kind", KINDS)
def test_each_question_has_its_own_texts(kind, viewer, folders, scene):
    """Whatever others look for at the same time, the maps are those of a network loaded so."""
    asked = [["the cat", "a dog", "a red car"], ["a dog"], ["a car", "the cat"]]
    views = []
    for number, texts in enumerate(asked):
        token = viewer.photos.add(scene, f"visitor {number}")
        last = len(texts) - 1
        views.append(viewer.explain(token, kind, texts, ["grad_cam"], [], PREDICTED, last)[0])
    for texts, view in zip(asked, views, strict=True):
        model = seewhy.load_model(f"hf:{folders[kind]}", texts=texts)
        (wanted,) = seewhy.explain_photos(
            model, [scene.image], "grad_cam", [None, seewhy.targets.Class(len(model.names) - 1)]
        )
        result = viewer.results[view["result"]]
        assert [one["target"] for one in view["maps"]] == [
            one.target for one in wanted.explanations
        ]
        assert view["maps"][1]["target"] == texts[-1]
        for found, expected in zip(result.answer.explanations, wanted.explanations, strict=True):
            assert torch.allclose(found.saliency, expected.saliency, atol=1e-5)
            assert found.saliency.std() > 1e-4
        seen = [texts.index(name) for _, name, _ in wanted.top if name in texts]
        assert view["top"] == seen
        assert record_of(result, 1)["texts"] == texts
    assert viewer.networks[kind].model.classes == ("a dog", "a car")


@pytest.mark.parametrize(
    ("texts", "target", "words"),
    [
        (None, PREDICTED, "no text yet"),
        ([], PREDICTED, "no text yet"),
        ("a dog", PREDICTED, "give a list"),
        ([1], PREDICTED, "give a list"),
        ([{"path": "/etc/passwd"}], PREDICTED, "give a list"),
        ([f"a dog {n}" for n in range(MOST_TEXTS + 1)], PREDICTED, f"at most {MOST_TEXTS}"),
        (["a" * (LONGEST_TEXT + 1)], PREDICTED, f"at most {LONGEST_TEXT}"),
        (["a dog", " "], PREDICTED, "empty"),
        (["a\x1b[2Jdog"], PREDICTED, "cannot be printed"),
        (["a\ndog"], PREDICTED, "cannot be printed"),
        (["a dog", "a dog"], PREDICTED, "twice"),
        (["a dog"], 1, "not in the list"),
        (["a dog"], -3, "not in the list"),
        (["a dog"], True, "not in the list"),
        (["a dog " * 20], PREDICTED, "tokens long, and the network reads 12"),
    ],
)
def test_texts_that_cannot_be_looked_for(viewer, scene, texts, target, words):
    token = viewer.photos.add(scene)
    with pytest.raises(gr.Error, match=words):
        viewer.explain(token, "CLIP", texts, ["grad_cam"], [], target, NOTHING)


def test_a_text_is_escaped_wherever_it_is_shown(viewer, scene):
    text = "<img src=x>"
    token = viewer.photos.add(scene)
    view, sees, _, command = viewer.explain(
        token, "CLIP", [text, "a dog"], ["grad_cam"], [], 0, NOTHING
    )
    assert view["maps"][0]["target"] == text, "which the page shows as text alone"
    assert text not in sees
    assert text in shlex.split(command)
    assert text not in next(viewer.check({"result": view["result"], "chosen": 0}))


def test_a_single_text_has_no_percentage(viewer, scene):
    """CLIP was trained to tell one text of several; of a single one there is the logit."""
    token = viewer.photos.add(scene)
    view, sees, *_ = viewer.explain(token, "CLIP", ["a dog"], ["grad_cam"], [], 0, NOTHING)
    ((_, name, logit),) = viewer.results[view["result"]].answer.top
    assert name == "a dog"
    assert f"<em>{logit:.4g}</em>" in sees
    mask = Image.new("L", (160, 120), 255)
    drawn = "data:image/png;base64," + b64encode(png(mask)).decode()
    moved = viewer.ask({"photo": token, "mask": drawn}, "CLIP", ["a dog"], "grey")
    assert f"<em>{logit:.4g} →" in moved


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_names_the_texts(kind, looking, folders, scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene.image.save(scene.name)
    query = query_of(looking[kind], scene, ["le_grad"], [], (1,), LIMITS, ["a dog", "the cat"])
    assert shlex.split(as_command(query))[3:11] == [
        "--model", f"hf:{folders[kind]}", "--text", "a dog", "--text", "the cat", "--method",
        "le_grad",
    ]  # fmt: skip
    scope: dict[str, Any] = {}
    exec(as_python(query).split("for number")[0], scope)  # the program that the page shows
    assert scope["answer"].explanations[0].target == "the cat"


def test_the_command_line_begins_with_texts(folders):
    spec = f"hf:{folders['CLIP']}"
    network, *others = allowed([spec], []).values()
    assert network.texts == TEXTS
    assert not any(one.texts for one in others)
    networks = allowed([spec, "scenes:vgg"], [], texts=["a dog"])
    assert networks[spec].texts == ("a dog",)
    for given, words in ((["--text", "a dog"], "need a --model"), (
        ["--model", "scenes:vgg", "--text", "a dog"], "needs a text-image network"
    )):  # fmt: skip
        refused = CliRunner().invoke(app, ["serve", *given])
        assert refused.exit_code == 2
        assert words in " ".join(refused.output.split())


def test_checks_and_hidden_parts_are_about_these_texts(viewer, scene):
    texts = ["the cat", "a red car"]
    token = viewer.photos.add(scene)
    view, *_ = viewer.explain(token, "CLIP", texts, ["grad_cam"], [], 1, NOTHING)
    mask = Image.new("L", (160, 120))
    mask.paste(255, (40, 0, 120, 60))
    drawn = "data:image/png;base64," + b64encode(png(mask)).decode()
    shown = viewer.ask({"photo": token, "mask": drawn}, "CLIP", texts, "grey")
    assert all(text in shown for text in texts)
    checking = viewer.check({"result": view["result"], "chosen": 0})
    assert ["a red car" in panel for _, panel in zip(range(2), checking, strict=False)] == [
        True
    ] * 2
    checking.close()
